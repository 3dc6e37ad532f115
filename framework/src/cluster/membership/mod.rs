//! The loop that keeps a silo in its cluster.
//!
//! # From the death of a silo to its entities answering elsewhere
//!
//! In ms after its last renewal, while the store answers at once and the host of the dead one refuses connections:
//!
//! | until | what |
//! |---|---|
//! | 1,000 | nothing: a renewal may be late |
//! | 1,400 | each other silo has renewed its own lease and read that this one is overdue; from here on it looks every 100 ms. A connection that breaks makes it look so from the start |
//! | 1,500 | the address was probed: refused |
//! | 1,600 | the first look after 1,500 finds the missed renewals enough; the store checks it and writes the row; the same silo places the partitions |
//! | 1,700 | every other silo has looked again, seen that the table moved, and read it |
//!
//! What the store needs for five commands comes on top. The process died up to 400 ms after its last renewal, so that
//! callers wait for less.

mod inbox;
mod life;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io, thread};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

#[cfg(feature = "testing")]
use crate::cluster::Mutant;
use crate::cluster::handle::Notice;
use crate::cluster::{
    ClusterError, Disturbance, Event, Handle, Lease, Loss, Probe, Probed, Renewal, Settings, Suspicions, Table, Vitals,
};
use crate::store::{Beat, Incarnation, Members, Pending, Roster, Status, StoreError};

/// How often the lease is renewed: three renewals may fail before it ends.
const BEAT: Duration = Duration::from_millis(400);
/// How often instead, while somebody is suspected, or the store failed.
const LOOK: Duration = Duration::from_millis(100);
/// How long the store may take to answer: there is time for two more tries before the lease ends.
const STORE: Duration = Duration::from_millis(600);
/// How long a look at an address may take, in ms.
pub(crate) const PROBE_MS_MAX: u64 = 500;
/// How long a leaving silo tries to say so, in ms. Others find out by themselves.
pub(crate) const LEAVE_MS_MAX: u64 = 3_000;
/// Changes of the table by others between reading it and placing, in one look.
const PLACE_TRIES: usize = 3;
/// Silos that see the same change don't all write at the same moment.
const JITTER_MS: u64 = 50;
/// Notices that wait while the store is asked: past it, their senders wait, and hints are dropped.
const NOTICES_MAX: usize = 1_024;

/// Keeps a silo in its cluster: joins, renews its lease, watches the others, places, drains, leaves, and joins anew when
/// its life was lost.
pub(crate) struct Membership {
    settings: Settings,
    members: Arc<dyn Members>,
    probe: Arc<dyn Probe>,
    vitals: Vitals,
    lease: Arc<Lease>,
    incarnation: watch::Sender<Incarnation>,
    /// The life before this one: a connection that it answered may still be open.
    former: Option<Incarnation>,
    table: watch::Sender<Arc<Table>>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Notice>,
    /// Nothing of the silo runs any more.
    abandoned: Arc<AtomicBool>,
    /// The store knows that this silo left.
    has_left: Arc<AtomicBool>,
    /// Weak: only handles keep the loop going.
    own: mpsc::WeakSender<Notice>,
    backlog: VecDeque<Notice>,
    suspicions: Suspicions,
    course: Course,
    renounced: bool,
    random: u64,
    /// Since when something fails, for one line in the log and not ten a second.
    troubled: bool,
}

/// Where the silo is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Course {
    Stay,
    Drain,
    /// The others were told.
    Draining,
    Leave,
}

/// How a life, or a step of it, ended.
enum End {
    Left,
    /// Nobody has a handle any more.
    Abandoned,
    Lost(Loss),
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({}, {:?})", self.me(), self.settings)
    }
}

impl Membership {
    /// A membership that has not begun: [`spawn`](Self::spawn) it, or [`run`](Self::run) it. The listener must be up, and
    /// answer probes, before.
    pub(crate) fn new(
        settings: Settings,
        members: Arc<dyn Members>,
        probe: Arc<dyn Probe>,
        vitals: Vitals,
    ) -> (Self, Handle, mpsc::Receiver<Event>) {
        let me = (settings.fresh)();
        let lease = Arc::new(Lease::new(settings.clock.clone()));
        let (incarnation, incarnation_seen) = watch::channel(me);
        let (table, table_seen) = watch::channel(Arc::new(Table::new(Roster::default(), settings.partitions)));
        let (notify, inbox) = mpsc::channel(NOTICES_MAX);
        // A life has two events, and the second waits for an answer.
        let (events, happened) = mpsc::channel(4);
        let membership = Self {
            suspicions: Suspicions::new(me, (settings.clock)()),
            settings,
            members,
            probe,
            vitals,
            lease: lease.clone(),
            incarnation,
            former: None,
            table,
            events,
            inbox,
            abandoned: Arc::default(),
            has_left: Arc::default(),
            own: notify.downgrade(),
            backlog: VecDeque::new(),
            course: Course::Stay,
            renounced: false,
            random: me.as_u64_pair().0,
            troubled: false,
        };
        let (abandoned, has_left) = (membership.abandoned.clone(), membership.has_left.clone());
        let handle =
            Handle { incarnation: incarnation_seen, table: table_seen, lease, inbox: notify, abandoned, has_left };
        (membership, handle, happened)
    }

    /// Runs it on a thread of its own, so that no handler can keep it from renewing the lease.
    pub(crate) fn spawn(self) -> io::Result<oneshot::Receiver<Result<(), ClusterError>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, over) = oneshot::channel();
        let running = async move { drop(end.send(self.run().await)) };
        thread::Builder::new().name("grange-lease".into()).spawn(move || runtime.block_on(running))?;
        Ok(over)
    }

    /// Runs it: ends when it was told to leave, when nobody holds a handle, or when the silo can't be in the cluster.
    ///
    /// # Errors
    /// When it can't join: at first, within the limit for it; after a loss, for reasons that waiting does not mend.
    pub(crate) async fn run(mut self) -> Result<(), ClusterError> {
        let mut limit = Some(self.settings.join);
        loop {
            let ended = match self.join(limit.take()).await {
                Ok(None) => self.live().await,
                Ok(Some(end)) => end,
                Err(error) => {
                    self.lease.revoke();
                    self.leave().await;
                    return Err(error);
                }
            };
            self.lease.revoke();
            match ended {
                End::Abandoned => return Ok(()),
                End::Left => {
                    self.leave().await;
                    return Ok(());
                }
                End::Lost(loss) => {
                    if !self.begin_anew(loss).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn me(&self) -> Incarnation {
        *self.incarnation.borrow()
    }

    fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    fn table(&self) -> Arc<Table> {
        self.table.borrow().clone()
    }

    /// From active to the end of this life.
    async fn live(&mut self) -> End {
        loop {
            let started = Instant::now();
            let looked = self.look().await;
            match looked {
                Ok(false) => return End::Lost(Loss::Dead),
                Ok(true) => self.recovered(),
                Err(ref error) => self.trouble(error),
            }
            let often = looked.is_err() || self.suspicions.any();
            if !self.pause_until(started + if often { LOOK } else { BEAT }).await {
                return End::Abandoned;
            } else if self.renounced {
                return End::Lost(Loss::Renounced);
            } else if self.course == Course::Leave {
                return End::Left;
            }
        }
    }

    /// Renews the lease, and does what the answer calls for. `false`: this life is over.
    async fn look(&mut self) -> Result<bool, ClusterError> {
        if !(self.vitals)() {
            return Err(ClusterError::Stuck);
        }
        let renewed = self.renew().await;
        #[cfg(feature = "testing")]
        self.misjudge(&renewed).await;
        let Some((renewal, version, overdue)) = renewed? else { return Ok(false) };
        if version != self.table().version() {
            self.read().await?;
        }
        let table = self.table();
        if let Some(disturbance) = self.suspicions.renewed(renewal, &overdue, &table) {
            report(disturbance);
        }
        let declared = self.declare_dead().await?;
        let steered = self.steer().await?;
        if declared || steered {
            self.read().await?;
        }
        self.place(declared || steered).await?;
        self.look_at_suspects();
        Ok(true)
    }

    /// `None`: the store has no living row of this silo.
    async fn renew(&mut self) -> Result<Option<(Renewal, u64, Vec<(Incarnation, u64)>)>, StoreError> {
        let sent = self.now();
        match limited(self.members.beat(self.me())).await? {
            Beat::Alive { version, now, overdue } => {
                // From when it was sent: nobody knows when it arrived, but it was not earlier.
                self.lease.confirm(sent);
                Ok(Some((Renewal { sent, answered: self.now(), now }, version, overdue)))
            }
            #[cfg(feature = "testing")]
            Beat::Dead
                if self.settings.mutant == Some(Mutant::DeadRevives)
                    || crate::mutant::Mutant::DeadRevives.is_planted() =>
            {
                self.lease.confirm(sent);
                Ok(Some((Renewal { sent, answered: self.now(), now: sent }, self.table().version(), Vec::new())))
            }
            Beat::Dead => Ok(None),
        }
    }

    #[cfg(feature = "testing")]
    async fn misjudge<T>(&self, renewed: &Result<T, StoreError>) {
        if renewed.is_ok() && self.troubled && self.settings.mutant == Some(Mutant::ErrorsKill) {
            for member in self.table().living().filter(|member| member.incarnation != self.me()) {
                let _ = self.members.declare_dead(member.incarnation, 0).await;
            }
        }
    }

    /// Declares dead whom the evidence of this very renewal condemns. Says whether somebody is dead now.
    async fn declare_dead(&mut self) -> Result<bool, StoreError> {
        let condemned = self.suspicions.condemned();
        let declared = condemned.iter().map(|(who, missed_ms)| limited(self.members.declare_dead(*who, *missed_ms)));
        let mut any = false;
        for ((who, _), dead) in condemned.iter().zip(join_all(declared).await) {
            if dead? {
                any = true;
                let evidence = self.suspicions.evidence(*who);
                let table = self.table();
                let address = table.member(*who).map(|member| member.address.as_str());
                if address == Some(self.settings.address.as_str()) {
                    let what = "an earlier life of this silo is over, which had not left: its entities are taken over";
                    tracing::info!(target: "grange", silo = %who, evidence, "{what}");
                } else {
                    tracing::warn!(target: "grange", silo = %who, address, evidence, "a silo is dead: its entities go to others");
                }
            }
        }
        Ok(any)
    }

    /// Tells the others where this silo is going, until they know. Says whether the table changed by it.
    async fn steer(&mut self) -> Result<bool, StoreError> {
        if self.course != Course::Drain {
            return Ok(false);
        }
        let moved = limited(self.members.advance(self.me(), Status::Draining)).await?;
        self.course = self.course.max(Course::Draining);
        Ok(moved)
    }

    /// Divides the partitions anew, if those who are active call for it. `mine`: by a change that I made.
    async fn place(&mut self, mine: bool) -> Result<(), StoreError> {
        let started = Instant::now();
        for _ in 0..PLACE_TRIES {
            let table = self.table();
            // A slow store must not keep the lease from its renewal: there is another look.
            let Some(slices) = table.to_place().filter(|_| started.elapsed() < STORE) else { break };
            if !mine {
                sleep(Duration::from_millis(self.random() % JITTER_MS)).await;
            }
            // Placed, or not because the table moved: read it in both cases.
            limited(self.members.place(table.version(), slices)).await?;
            self.read().await?;
        }
        Ok(())
    }

    /// Reads the table and publishes it.
    async fn read(&mut self) -> Result<Arc<Table>, StoreError> {
        let roster = limited(self.members.roster()).await?;
        let table = Arc::new(Table::new(roster, self.settings.partitions));
        self.table.send_if_modified(|published| {
            let changed = published.roster() != table.roster();
            if changed {
                *published = table.clone();
            }
            changed
        });
        Ok(table)
    }

    fn look_at_suspects(&mut self) {
        let table = self.table();
        for (who, address) in self.suspicions.choose_probes(&table) {
            let (probe, own) = (self.probe.clone(), self.own.clone());
            tokio::spawn(async move {
                let probed = probed(&*probe, &address).await;
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Notice::Probed(who, probed)).await;
                }
            });
        }
    }

    /// Says so in the table, if the store answers in time.
    async fn leave(&mut self) {
        let leaving = async {
            while limited(self.members.advance(self.me(), Status::Left)).await.is_err() {
                sleep(LOOK).await;
            }
        };
        match timeout(Duration::from_millis(LEAVE_MS_MAX), leaving).await {
            Ok(()) => self.has_left.store(true, Ordering::Release),
            Err(_) => {
                tracing::warn!(target: "grange", "the store was not told that this silo left: others will find out");
            }
        }
    }

    fn trouble(&mut self, error: &ClusterError) {
        if !std::mem::replace(&mut self.troubled, true) {
            tracing::warn!(target: "grange", %error, "this silo can't do its part in the cluster; when its lease ends, replies are held");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.troubled) {
            tracing::info!(target: "grange", "this silo does its part in the cluster again");
        }
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014), from the first incarnation on.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// What the store answers, or an error that says nothing about anybody.
async fn limited<T>(answer: Pending<T>) -> Result<T, StoreError> {
    timeout(STORE, answer)
        .await
        .unwrap_or_else(|_| Err(StoreError::Failed { reason: format!("no answer within {STORE:?}").into() }))
}

async fn probed(probe: &dyn Probe, address: &str) -> Probed {
    let answer = timeout(Duration::from_millis(PROBE_MS_MAX), probe.probe(address)).await;
    answer.map_or(Probed::Silent, |answer| answer.unwrap_or(Probed::Silent))
}

fn report(disturbance: Disturbance) {
    let what = match disturbance {
        Disturbance::Joined => return,
        Disturbance::Gap => "the store was away, or this silo was",
        Disturbance::Jump => "the store's clock was set",
        Disturbance::Crowd => "most other silos seem to be gone at once",
    };
    tracing::warn!(target: "grange", "{what}: nobody is declared dead for a while who was not seen to renew since");
}
