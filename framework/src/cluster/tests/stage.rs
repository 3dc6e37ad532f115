//! Silos under virtual time, on one table, with a network and clocks that do what a test says.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::cluster::{ClusterError, Event, Handle, Membership, Mutant, Probe, Probed, Settings, Table};
use crate::store::{
    Beat, Incarnation, Joined, Member, Members, MemoryMembers, Pending, Roster, Slice, Status, StoreError,
};

pub(super) const PARTITIONS: u16 = 64;

/// What all silos share.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) started: Instant,
    members: Arc<MemoryMembers>,
    /// How far the store's clock was set, in ms.
    pub(super) set: Arc<AtomicI64>,
    /// Who answers at an address.
    network: Arc<Mutex<HashMap<String, Presence>>>,
    /// Looks at addresses so far.
    pub(super) probes: Arc<AtomicU64>,
    incarnations: Arc<AtomicU64>,
    mutant: Option<Mutant>,
}

#[derive(Clone)]
enum Presence {
    Answers(Handle),
    Refuses,
    Silent,
}

/// One silo's process.
pub(super) struct Silo {
    stage: Stage,
    pub(super) address: String,
    pub(super) handle: Handle,
    pub(super) link: Arc<Link>,
    pub(super) alive: Arc<AtomicBool>,
    frozen: Arc<Mutex<Frozen>>,
    /// What its membership told, and when.
    pub(super) told: Arc<Mutex<Vec<(u64, String)>>>,
    /// It keeps what it has in memory, and gives no consent.
    pub(super) holds_on: Arc<AtomicBool>,
    run: JoinHandle<Result<(), ClusterError>>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    pub(super) fn with(mutant: Option<Mutant>) -> Self {
        let (started, set) = (Instant::now(), Arc::new(AtomicI64::new(0)));
        let by = set.clone();
        let clock = move || 1_000_000_000_u64.saturating_add_signed(by.load(Ordering::Relaxed)) + ms_since(started);
        Self {
            started,
            members: Arc::new(MemoryMembers::with_clock(clock)),
            set,
            network: Arc::default(),
            probes: Arc::default(),
            incarnations: Arc::default(),
            mutant,
        }
    }

    pub(super) fn now(&self) -> u64 {
        ms_since(self.started)
    }

    pub(super) fn settings(&self, address: &str) -> Settings {
        let (started, numbers) = (self.started, self.incarnations.clone());
        Settings {
            address: address.to_owned(),
            weight: 1,
            kinds: vec!["A".into()],
            protocol: 1,
            build: "test".into(),
            partitions: PARTITIONS,
            join: Duration::from_secs(2),
            // Not that of the others: clocks of hosts are never compared.
            clock: Arc::new(move || 77_000 + ms_since(started)),
            fresh: Arc::new(move || Uuid::from_u64_pair(0xa, numbers.fetch_add(1, Ordering::Relaxed) + 1)),
            mutant: self.mutant,
        }
    }

    pub(super) fn silo(&self, address: &str) -> Silo {
        self.start(self.settings(address))
    }

    pub(super) fn start(&self, settings: Settings) -> Silo {
        let link = Arc::new(Link {
            members: self.members.clone(),
            down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            rosters: AtomicU64::new(0),
        });
        let alive = Arc::new(AtomicBool::new(true));
        let (address, vitals) = (settings.address.clone(), alive.clone());
        let probe = Arc::new(Network(self.clone()));
        let (membership, handle, events) =
            Membership::new(settings, link.clone(), probe, Arc::new(move || vitals.load(Ordering::Relaxed)));
        // Whoever listens there already is not moved away.
        self.network.lock().unwrap().entry(address.clone()).or_insert(Presence::Answers(handle.clone()));
        let frozen = Arc::new(Mutex::new(Frozen::default()));
        let run = tokio::spawn(Freezer { inner: Box::pin(membership.run()), frozen: frozen.clone() });
        let (told, holds_on) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        tokio::spawn(Freezer {
            inner: Box::pin(obey(self.clone(), events, told.clone(), holds_on.clone())),
            frozen: frozen.clone(),
        });
        Silo { stage: self.clone(), address, handle, link, alive, frozen, told, holds_on, run }
    }

    /// So many silos, all active.
    pub(super) async fn silos(&self, count: usize) -> Vec<Silo> {
        let mut silos = Vec::new();
        for number in 0..count {
            let silo = self.silo(&format!("host:{number}"));
            silo.active().await;
            silos.push(silo);
        }
        self.until(1_000, "all see all", || silos.iter().all(|silo| silo.is_owner_of_its_share(count))).await;
        silos
    }

    pub(super) async fn roster(&self) -> Roster {
        self.members.roster().await.unwrap()
    }

    /// The table as the store has it.
    pub(super) fn table(&self) -> Table {
        let roster = self.members.roster();
        let roster = futures_util::FutureExt::now_or_never(roster).unwrap().unwrap();
        Table::new(roster, PARTITIONS)
    }

    pub(super) fn status(&self, silo: Incarnation) -> Option<Status> {
        self.table().status(silo)
    }

    pub(super) fn dead(&self) -> Vec<String> {
        let table = self.table();
        let dead = table.roster().members.iter().filter(|member| member.status == Status::Dead);
        dead.map(|member| format!("{} at {}", member.incarnation, member.address)).collect()
    }

    /// Waits, for so long at most, and says after how many ms it was so.
    pub(super) async fn until(&self, limit_ms: u64, what: &str, is_so: impl Fn() -> bool) -> u64 {
        let started = self.now();
        while !is_so() {
            let waited = self.now() - started;
            assert!(waited < limit_ms, "not within {limit_ms} ms: {what}; the table: {:#?}", self.table().roster());
            sleep(Duration::from_millis(5)).await;
        }
        self.now() - started
    }

    pub(super) async fn pass(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    fn presence(&self, address: &str, presence: Presence) {
        self.network.lock().unwrap().insert(address.to_owned(), presence);
    }
}

fn ms_since(started: Instant) -> u64 {
    started.elapsed().as_millis() as u64
}

/// What the rest of a silo does with what its membership tells.
async fn obey(
    stage: Stage,
    mut events: mpsc::Receiver<Event>,
    told: Arc<Mutex<Vec<(u64, String)>>>,
    holds_on: Arc<AtomicBool>,
) -> Result<(), ClusterError> {
    while let Some(event) = events.recv().await {
        let (what, dropped) = match event {
            Event::Active(_) => ("active".to_owned(), None),
            Event::Lost { loss, dropped, .. } => (format!("lost: {loss:?}"), Some(dropped)),
        };
        told.lock().unwrap().push((stage.now(), what));
        while dropped.is_some() && holds_on.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(10)).await;
        }
        dropped.map(|dropped| dropped.send(()));
    }
    Ok(())
}

impl Silo {
    pub(super) fn me(&self) -> Incarnation {
        self.handle.incarnation()
    }

    pub(super) fn holds(&self) -> bool {
        self.handle.lease().holds()
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(|(_, what)| what.clone()).collect()
    }

    pub(super) async fn active(&self) {
        self.stage.until(2_000, "active", || self.told().last().is_some_and(|last| last == "active")).await;
    }

    pub(super) fn is_owner_of_its_share(&self, of: usize) -> bool {
        let owned = self.handle.table().owned_by(self.me()).len();
        let share = usize::from(PARTITIONS) / of;
        owned == share || owned == share + 1
    }

    /// The process is gone; its host refuses connections.
    pub(super) fn kill(&self) {
        self.run.abort();
        self.stage.presence(&self.address, Presence::Refuses);
    }

    /// The host is gone.
    pub(super) fn vanish(&self) {
        self.run.abort();
        self.stage.presence(&self.address, Presence::Silent);
    }

    /// `SIGSTOP`.
    pub(super) fn freeze(&self) {
        self.frozen.lock().unwrap().is = true;
        self.stage.presence(&self.address, Presence::Silent);
    }

    /// `SIGCONT`.
    pub(super) fn thaw(&self) {
        let mut frozen = self.frozen.lock().unwrap();
        frozen.is = false;
        frozen.wakers.drain(..).for_each(Waker::wake);
        drop(frozen);
        self.stage.presence(&self.address, Presence::Answers(self.handle.clone()));
    }

    /// Looks at its address are refused although it lives: a firewall.
    pub(super) fn wall(&self) {
        self.stage.presence(&self.address, Presence::Refuses);
    }

    /// It is what answers at an address, whoever did before.
    pub(super) fn listens_at(&self, address: &str) {
        self.stage.presence(address, Presence::Answers(self.handle.clone()));
    }

    /// The only handle, and how the membership ends.
    pub(super) fn into_parts(self) -> (Handle, JoinHandle<Result<(), ClusterError>>) {
        (self.handle, self.run)
    }

    /// How the membership ended.
    pub(super) async fn ended(self, limit_ms: u64) -> Result<(), ClusterError> {
        tokio::time::timeout(Duration::from_millis(limit_ms), self.run).await.expect("it ends").unwrap()
    }
}

/// One silo's connection to the store.
pub(super) struct Link {
    members: Arc<MemoryMembers>,
    pub(super) down: AtomicBool,
    pub(super) hangs: AtomicBool,
    /// In ms, before and after.
    pub(super) delay: AtomicU64,
    pub(super) rosters: AtomicU64,
}

impl Link {
    fn answer<T: Send + 'static>(&self, ask: impl FnOnce(&MemoryMembers) -> Pending<T> + Send + 'static) -> Pending<T> {
        let (down, hangs) = (self.down.load(Ordering::Relaxed), self.hangs.load(Ordering::Relaxed));
        let (members, delay) = (self.members.clone(), Duration::from_millis(self.delay.load(Ordering::Relaxed)));
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            } else if down {
                return Err(StoreError::Failed { reason: "the test said so".into() });
            } else if delay > Duration::ZERO {
                sleep(delay).await;
            }
            let answer = ask(&members).await;
            if delay > Duration::ZERO {
                sleep(delay).await;
            }
            answer
        })
    }
}

impl Members for Link {
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined> {
        self.answer(move |members| members.join(member, partitions))
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        self.answer(move |members| members.beat(me))
    }
    fn roster(&self) -> Pending<Roster> {
        self.rosters.fetch_add(1, Ordering::Relaxed);
        self.answer(|members| members.roster())
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.answer(move |members| members.advance(me, to))
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        self.answer(move |members| members.declare_dead(who, missed_ms))
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.answer(move |members| members.place(version, slices))
    }
    fn partitions(&self) -> u16 {
        self.members.partitions()
    }
}

struct Network(Stage);

impl Probe for Network {
    fn probe(&self, address: &str) -> Pending<Probed> {
        self.0.probes.fetch_add(1, Ordering::Relaxed);
        let probed = match self.0.network.lock().unwrap().get(address) {
            Some(Presence::Answers(handle)) => Probed::Answers(handle.incarnation()),
            Some(Presence::Silent) => return Box::pin(std::future::pending()),
            Some(Presence::Refuses) | None => Probed::Refused,
        };
        Box::pin(std::future::ready(Ok(probed)))
    }
}

#[derive(Default)]
struct Frozen {
    is: bool,
    wakers: Vec<Waker>,
}

/// Is not polled while it is frozen, and the time goes on.
struct Freezer<T> {
    inner: Pin<Box<dyn Future<Output = T> + Send>>,
    frozen: Arc<Mutex<Frozen>>,
}

impl<T> Future for Freezer<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut frozen = self.frozen.lock().unwrap();
        if frozen.is {
            frozen.wakers.push(context.waker().clone());
            return Poll::Pending;
        }
        drop(frozen);
        self.inner.as_mut().poll(context)
    }
}
