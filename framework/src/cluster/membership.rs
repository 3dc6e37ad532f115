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

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, thread};

use futures_util::future::{Either, join_all, select};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cluster::handle::Notice;
use crate::cluster::{
    BootClock, ClusterError, Disturbance, Event, Handle, Lease, Loss, Probe, Probed, Renewal, Suspicions, Table,
};
use crate::store::{Beat, Incarnation, Joined, Member, Members, Pending, Roster, Status, StoreError};
use crate::wire::Partition;

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

/// What a silo tells the others about itself, and what it is told from outside.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where others reach it.
    pub(crate) address: String,
    /// Its share of the partitions.
    pub(crate) weight: u32,
    /// The kinds that it hosts.
    pub(crate) kinds: Vec<String>,
    /// The version of the wire protocol.
    pub(crate) protocol: u16,
    /// Its program's version.
    pub(crate) build: String,
    /// Into how many partitions the ids are divided.
    pub(crate) partitions: Partition,
    /// How long the first join may take.
    pub(crate) join: Duration,
    /// The boot clock, or a simulation's.
    pub(crate) clock: BootClock,
    /// The only source of randomness: a fresh incarnation.
    pub(crate) fresh: Arc<dyn Fn() -> Incarnation + Send + Sync>,
    /// A mistake planted on purpose, to see that the tests find it.
    #[cfg(feature = "testing")]
    pub(crate) mutant: Option<Mutant>,
}

/// Mistakes that must be found.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A silo that was declared dead goes on as if nothing had happened.
    DeadRevives,
    /// An error of the store is taken for the death of the others.
    ErrorsKill,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, weight {}, {:?})", self.address, self.weight, self.kinds)
    }
}

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

/// Whether every arbiter of the silo has done something in the last two seconds. The lease is not renewed while one has
/// not: a silo that is stuck must be seen from outside.
pub(crate) type Vitals = Arc<dyn Fn() -> bool + Send + Sync>;

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
            own: notify.downgrade(),
            backlog: VecDeque::new(),
            course: Course::Stay,
            renounced: false,
            random: me.as_u64_pair().0,
            troubled: false,
        };
        (membership, Handle { incarnation: incarnation_seen, table: table_seen, lease, inbox: notify }, happened)
    }

    /// Runs it on a thread of its own, so that no handler can keep it from renewing the lease.
    pub(crate) fn spawn(self) -> io::Result<thread::JoinHandle<Result<(), ClusterError>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("grange-lease".into()).spawn(move || runtime.block_on(self.run()))
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

    /// Joins, tries until it is in; `Some`: it ended before it was.
    async fn join(&mut self, limit: Option<Duration>) -> Result<Option<End>, ClusterError> {
        let started = Instant::now();
        let mut is_in_table = false;
        loop {
            match self.try_join(&mut is_in_table).await {
                Ok(true) => break,
                Ok(false) => return Ok(Some(End::Lost(Loss::Dead))),
                Err(error) if error.is_final() || limit.is_some_and(|limit| started.elapsed() >= limit) => {
                    return Err(error);
                }
                Err(error) => self.trouble(&error),
            }
            if !self.pause_until(Instant::now() + LOOK).await {
                return Ok(Some(End::Abandoned));
            } else if self.course != Course::Stay {
                return Err(ClusterError::Stopped);
            }
        }
        self.suspicions = Suspicions::new(self.me(), self.now());
        self.recovered();
        tracing::info!(target: "grange", silo = %self.me(), address = self.settings.address, "in the cluster");
        let told = self.events.send(Event::Active(self.me())).await;
        Ok(told.is_err().then_some(End::Abandoned))
    }

    /// One try. `false`: this life is over.
    async fn try_join(&mut self, is_in_table: &mut bool) -> Result<bool, ClusterError> {
        let me = self.me();
        if !*is_in_table {
            let (partitions, member) = (self.settings.partitions, self.member());
            match limited(self.members.join(member, partitions)).await? {
                Joined::Done { .. } => *is_in_table = true,
                Joined::Partitions(fixed) => return Err(ClusterError::Partitions { fixed, wanted: partitions }),
            }
        }
        if self.renew().await?.is_none() {
            return Ok(false);
        }
        let address = self.settings.address.clone();
        match probed(&*self.probe, &address).await {
            Probed::Answers(who) if who == me => {}
            Probed::Answers(by) if self.former != Some(by) => return Err(ClusterError::AddressTaken { address, by }),
            probed => return Err(ClusterError::Unreachable { address, probed, limit: self.settings.join }),
        }
        // `false` may be a lost answer's doing: if it means death, the next renewal says so.
        limited(self.members.advance(me, Status::Active)).await?;
        self.read().await?;
        self.place(true).await?;
        Ok(true)
    }

    fn member(&self) -> Member {
        let mut kinds = self.settings.kinds.clone();
        kinds.sort();
        kinds.dedup();
        Member {
            incarnation: self.me(),
            address: self.settings.address.clone(),
            weight: self.settings.weight,
            kinds,
            protocol: self.settings.protocol,
            build: self.settings.build.clone(),
            status: Status::Joining,
            joined: 0,
        }
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
    async fn look(&mut self) -> Result<bool, StoreError> {
        if !(self.vitals)() {
            return Err(StoreError::Failed {
                reason: "an arbiter of this silo is stuck: the lease is not renewed".into(),
            });
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
            Beat::Dead if self.settings.mutant == Some(Mutant::DeadRevives) => {
                self.lease.confirm(sent);
                Ok(Some((Renewal { sent, answered: self.now(), now: sent }, self.table().version(), Vec::new())))
            }
            Beat::Dead => Ok(None),
        }
    }

    #[cfg(feature = "testing")]
    async fn misjudge<T>(&self, renewed: &Result<T, StoreError>) {
        if renewed.is_err() && self.settings.mutant == Some(Mutant::ErrorsKill) {
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
                tracing::warn!(target: "grange", silo = %who, evidence, "a silo is dead: its entities go to others");
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
        for (who, address) in self.suspicions.to_probe(&table) {
            let (probe, own) = (self.probe.clone(), self.own.clone());
            tokio::spawn(async move {
                let probed = probed(&*probe, &address).await;
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Notice::Probed(who, probed)).await;
                }
            });
        }
    }

    /// Lets time pass, and takes what comes. Ends early when there is reason to look, or to go. `false`: nobody has a handle any more.
    async fn pause_until(&mut self, until: Instant) -> bool {
        loop {
            let notice = match self.backlog.pop_front() {
                Some(notice) => Some(notice),
                None => match timeout_at(until, self.inbox.recv()).await {
                    Ok(notice) => notice,
                    Err(_) => return true,
                },
            };
            let Some(notice) = notice else { return false };
            if self.take(notice).await {
                return true;
            }
        }
    }

    /// Says whether to look at once.
    async fn take(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::Suspect(who) => {
                let (was, table) = (self.suspicions.any(), self.table());
                self.suspicions.hint(who, &table, self.now());
                !was && self.suspicions.any()
            }
            Notice::Probed(who, probed) => {
                let table = self.table();
                self.suspicions.probed(who, probed, &table);
                false
            }
            Notice::Reread(asker) => {
                self.reread(asker).await;
                false
            }
            Notice::Renounce(life) => {
                self.renounced |= life == self.me();
                self.renounced
            }
            Notice::Drain => {
                let was = self.course;
                self.course = was.max(Course::Drain);
                was != self.course
            }
            Notice::Leave => {
                self.course = Course::Leave;
                true
            }
        }
    }

    /// One reading for all who have asked before it begins.
    async fn reread(&mut self, first: oneshot::Sender<Result<Arc<Table>, StoreError>>) {
        let mut askers = vec![first];
        let waiting = std::mem::take(&mut self.backlog);
        for notice in waiting.into_iter().chain(std::iter::from_fn(|| self.inbox.try_recv().ok())) {
            match notice {
                Notice::Reread(asker) => askers.push(asker),
                other => self.backlog.push_back(other),
            }
        }
        let table = self.read().await;
        for asker in askers {
            let _ = asker.send(table.clone());
        }
    }

    /// This life is over: everything of it has to be gone before the next one begins. `false`: there will be none.
    async fn begin_anew(&mut self, loss: Loss) -> bool {
        let old = self.me();
        tracing::error!(
            target: "grange",
            silo = %old,
            ?loss,
            "this silo lost its place in the cluster: it drops what is in memory and joins as a new incarnation"
        );
        let (dropped, consent) = oneshot::channel();
        if self.events.send(Event::Lost { incarnation: old, loss, dropped }).await.is_err() {
            return false;
        }
        if !self.until_dropped(consent).await {
            return false;
        }
        if loss == Loss::Renounced {
            // Nothing of it is in memory: others need not wait. If this fails, they find that a younger one is there.
            let _ = limited(self.members.advance(old, Status::Left)).await;
        }
        if self.course != Course::Stay {
            return false;
        }
        self.former = Some(old);
        self.renounced = false;
        self.incarnation.send_replace((self.settings.fresh)());
        true
    }

    async fn until_dropped(&mut self, mut consent: oneshot::Receiver<()>) -> bool {
        loop {
            let notice = {
                let next = pin!(self.inbox.recv());
                match select(&mut consent, next).await {
                    Either::Left((dropped, _)) => return dropped.is_ok(),
                    Either::Right((notice, _)) => notice,
                }
            };
            let Some(notice) = notice else { return false };
            self.take(notice).await;
            if self.course == Course::Leave {
                // Who leaves has given everything back.
                return true;
            }
        }
    }

    /// Says so in the table, if the store answers in time.
    async fn leave(&mut self) {
        let leaving = async {
            while limited(self.members.advance(self.me(), Status::Left)).await.is_err() {
                sleep(LOOK).await;
            }
        };
        if timeout(Duration::from_millis(LEAVE_MS_MAX), leaving).await.is_err() {
            tracing::warn!(target: "grange", "the store was not told that this silo left: others will find out");
        }
    }

    fn trouble(&mut self, error: &dyn std::error::Error) {
        if !std::mem::replace(&mut self.troubled, true) {
            tracing::warn!(target: "grange", %error, "the lease is not renewed, and replies are held when it ends");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.troubled) {
            tracing::info!(target: "grange", "the lease is renewed again");
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
