//! The cluster of a simulation, as its body sees it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::faults::{Injected, PAUSE, RESTART};
use super::network::Network;
use super::process::Process;
use super::stage::Stage;
use super::store::{Way, fail_over};
use super::{Describe, Simulation};
use crate::cluster::Scatter;
use crate::entity::Named;
use crate::store::{MemoryStore, Partitions, Store};
use crate::world::World;
use crate::{Client, Error, Reference, Result, Silo};

/// How long silos may take to agree on who there is, without faults.
const AGREE: Duration = Duration::from_secs(60);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Silos that died by a fault are started again.
async fn restart(cluster: Simulated, mut crashes: mpsc::UnboundedReceiver<String>) {
    while let Some(name) = crashes.recv().await {
        let cluster = cluster.clone();
        drop(tokio::task::spawn_local(async move {
            tokio::time::sleep(RESTART).await;
            let number = cluster.silos().iter().position(|seat| seat.process.name == name && seat.process.is_dead());
            if let Some(number) = number {
                while cluster.restart(number).await.is_err() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }));
    }
}

/// The cluster of a simulation, for its body. Clones are the same one.
#[derive(Clone)]
pub struct Simulated(Arc<Inner>);

struct Inner {
    stage: Arc<Stage>,
    network: Arc<Network>,
    store: Arc<MemoryStore>,
    describe: Describe,
    clocks: bool,
    scatter: Option<Arc<Scatter>>,
    silos: Mutex<Vec<Seat>>,
    client: Mutex<Option<Client>>,
    crashed: mpsc::UnboundedSender<String>,
}

/// Where a silo is, or was.
struct Seat {
    address: String,
    process: Arc<Process>,
    silo: Option<Silo>,
    /// Another life of it begins.
    is_starting: bool,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulated({} silos, at {} ms)", self.silos().len(), self.now().as_millis())
    }
}

impl Simulated {
    /// With so many silos, which know each other, and a client.
    pub(super) async fn start(stage: Arc<Stage>, settings: &Simulation) -> Result<Self> {
        let (crashed, crashes) = mpsc::unbounded_channel();
        let network = Network::new(stage.clone());
        let store = Arc::new(MemoryStore::sharded((0..settings.shards.max(1)).map(|_| stage.draw() >> 12).collect()));
        let (seats, client) = (Mutex::new(Vec::new()), Mutex::new(None));
        let (describe, clocks) = (settings.describe.clone(), settings.clocks);
        let scatter = settings.scatter.then(Arc::default);
        let inner = Inner { stage, network, store, describe, clocks, scatter, silos: seats, client, crashed };
        let cluster = Self(Arc::new(inner));
        for _ in 0..settings.silos {
            cluster.add().await?;
        }
        cluster.connect().await?;
        drop(tokio::task::spawn_local(restart(cluster.clone(), crashes)));
        Ok(cluster)
    }

    fn silos(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.0.silos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, name: &str) -> Arc<Process> {
        let stage = &self.0.stage;
        let rate = if self.0.clocks { stage.between(900, 1_100) } else { 1_000 };
        let rate = if name.starts_with("silo") { rate } else { 1_000 };
        Process::start(name.to_owned(), rate, stage.clone(), self.0.network.clone(), self.0.crashed.clone())
    }

    fn world(&self, process: &Arc<Process>) -> World {
        World::simulated(process.clone()).scattered(self.0.scatter.clone())
    }

    async fn seat(&self, address: &str, name: &str) -> Result<Seat> {
        let process = self.process(name);
        let way = Way::new(process.clone(), self.0.store.clone())
            .ok_or_else(|| Error::Config("the store of a simulation knows no silos".into()))?;
        let described = (self.0.describe)(Silo::builder().workers(2));
        let silo = described.store(Arc::new(way)).cluster("simulation").listen(address);
        self.0.stage.note(name, "starts");
        let starting = std::pin::pin!(silo.in_world(self.world(&process)).start());
        let silo = match select(starting, std::pin::pin!(process.died())).await {
            Either::Left((silo, _)) => silo,
            Either::Right(_) => Err(Error::Stopped("it died while it started".into())),
        };
        if silo.is_err() {
            process.kill();
        }
        Ok(Seat { address: address.to_owned(), process, silo: Some(silo?), is_starting: false })
    }

    /// The client: a process of its own, beside the silos.
    ///
    /// # Panics
    /// In a cluster without silos.
    #[track_caller]
    pub fn client(&self) -> Client {
        let client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().expect("a simulation with silos has a client")
    }

    /// Another client, a process of its own, that knows only these silos at first.
    ///
    /// # Errors
    /// What [`Client::connect`] says.
    pub async fn client_of(&self, silos: &[usize]) -> Result<Client> {
        let gateways: Vec<String> = {
            let seats = self.silos();
            silos.iter().filter_map(|silo| seats.get(*silo)).map(|seat| seat.address.clone()).collect()
        };
        self.client_at(&format!("client-{}", self.0.stage.draw() % 1_000), gateways).await
    }

    /// A client in a process of its own, with this name.
    async fn client_at(&self, name: &str, gateways: Vec<String>) -> Result<Client> {
        let world = self.world(&self.process(name));
        Client::connect(gateways).cluster("simulation").in_world(world).await
    }

    async fn connect(&self) -> Result<()> {
        let gateways: Vec<String> = self.silos().iter().map(|seat| seat.address.clone()).collect();
        if gateways.is_empty() {
            return Err(Error::Config("a simulation needs silos: `.silos(3, |silo| silo.entity::<…>())`".into()));
        }
        let client = self.client_at("client", gateways).await?;
        *self.0.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }

    /// An idempotency key, of this moment: the same one in each run of this seed.
    pub fn key(&self) -> Uuid {
        self.0.stage.key()
    }

    /// A number from `0` to `below`, likewise.
    pub fn random(&self, below: u64) -> u64 {
        self.0.stage.draw() % below.max(1)
    }

    /// How long the simulation goes on, in virtual time.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.0.stage.now_ms())
    }

    /// Lets so much virtual time pass. It takes no time.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// A line for the timeline.
    pub fn note(&self, what: impl Into<String>) {
        self.0.stage.note("test", what);
    }

    /// One more silo, which is part of the cluster when this returns; says its number.
    ///
    /// # Errors
    /// What [`SiloBuilder::start`](crate::SiloBuilder::start) says.
    pub async fn add(&self) -> Result<usize> {
        let number = self.silos().len();
        let seat = self.seat(&format!("127.0.0.1:{}", 7_101 + number), &format!("silo-{number}")).await?;
        self.silos().push(seat);
        Ok(number)
    }

    /// This silo dies where it is, as by `kill -9`. It stays dead until [`restart`](Self::restart).
    pub fn crash(&self, silo: usize) {
        if let Some(seat) = self.silos().get_mut(silo) {
            self.0.stage.note(&seat.process.name, "crashes");
            seat.process.kill();
            seat.silo = None;
        }
    }

    /// One that crashed is started again, at its address; one that lives dies first. One that starts already is left alone.
    ///
    /// # Errors
    /// What [`SiloBuilder::start`](crate::SiloBuilder::start) says.
    pub async fn restart(&self, silo: usize) -> Result<()> {
        let (address, name) = {
            let mut silos = self.silos();
            let Some(seat) = silos.get_mut(silo).filter(|seat| !seat.is_starting) else { return Ok(()) };
            seat.process.kill();
            seat.is_starting = true;
            drop(seat.silo.take());
            (seat.address.clone(), seat.process.name.clone())
        };
        let started = self.seat(&address, &name).await;
        let mut silos = self.silos();
        let Some(place) = silos.get_mut(silo) else { return Ok(()) };
        place.is_starting = false;
        *place = started?;
        Ok(())
    }

    /// This silo finishes what it has, gives its entities to the others, and leaves.
    ///
    /// # Errors
    /// What [`Silo::shutdown`] says.
    pub async fn leave(&self, silo: usize) -> Result<()> {
        let leaving = self.silos().get_mut(silo).and_then(|seat| seat.silo.take());
        match leaving {
            Some(silo) => silo.shutdown().await,
            None => Ok(()),
        }
    }

    /// This silo stands still for so long, as by SIGSTOP.
    pub fn pause(&self, silo: usize, time: Duration) {
        if let Some(seat) = self.silos().get(silo) {
            self.0.stage.note(&seat.process.name, format!("stands still for {time:?}"));
            seat.process.pause(time);
        }
    }

    /// The same for longer than its lease, so that others take over.
    pub fn freeze(&self, silo: usize) {
        self.pause(silo, PAUSE);
    }

    /// Nothing goes from one to the other any more; back it does. `"silo-0"`, `"client"`.
    pub fn part(&self, from: &str, to: &str) {
        self.0.stage.note("test", format!("nothing goes from {from} to {to}"));
        self.0.network.part(from, to);
    }

    /// This silo does not reach the store any more; everybody else reaches it.
    pub fn cut_store(&self, silo: usize) {
        if let Some(seat) = self.silos().get(silo) {
            self.0.stage.note(&seat.process.name, "is cut off from the store");
            seat.process.set_reaches_store(false);
        }
    }

    /// At the next point whose line in the timeline has this in it, this goes wrong: `"silo-1: commits version 2 of Ledger/a"`.
    /// Also where nothing else goes wrong any more.
    pub fn inject(&self, at: impl Into<String>, fault: Injected) {
        self.0.stage.script(at.into(), fault);
    }

    /// Where [`inject`](Self::inject) was to inject something, and has not come to it.
    pub fn not_injected(&self) -> Vec<String> {
        self.0.stage.unscripted()
    }

    /// What is left of [`inject`](Self::inject) will not happen.
    pub fn forget_injections(&self) {
        self.0.stage.unscript();
    }

    /// How many faults came that [`inject`](Self::inject) did not ask for.
    pub fn unexpected_faults(&self) -> u64 {
        self.0.stage.unexpected()
    }

    /// How many events the timeline has: for [`happened`](Self::happened).
    pub fn events(&self) -> u64 {
        self.0.stage.events()
    }

    /// Whether an event since there were so many has this in its line.
    pub fn happened(&self, since: u64, what: &str) -> bool {
        self.0.stage.has_happened(since, what)
    }

    /// Waits until something happens from now on whose line in the timeline has this in it. `false`: not within `limit`.
    pub async fn happens(&self, what: &str, limit: Duration) -> bool {
        let since = self.events();
        let end = tokio::time::Instant::now() + limit;
        while tokio::time::Instant::now() < end {
            if self.happened(since, what) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// The silo that has claimed this entity, by its number; `None`: it is active nowhere.
    pub fn host_of(&self, entity: &impl Reference) -> Option<usize> {
        let owner = self.0.store.owner_of(entity.raw().inner.id())?;
        let name = self.0.stage.name_of(owner);
        self.silos().iter().position(|seat| seat.process.name == name)
    }

    /// The store's shard that has this entity. Each fails over by itself.
    pub fn shard_of(&self, entity: &impl Reference) -> usize {
        self.0.store.shard_of(entity.raw().inner.id())
    }

    /// The store fails over to a replica that missed the writes of the last `lost` (up to 10 s): an asynchronous failover. Says
    /// how many writes are gone. What grange promises then holds on what is left.
    pub fn fail_over(&self, lost: Duration) -> usize {
        (0..self.0.store.shards()).map(|shard| self.fail_over_of(shard, lost)).sum()
    }

    /// The same on the shard of the store that has this entity, and on no other.
    pub fn fail_over_at(&self, entity: &impl Reference, lost: Duration) -> usize {
        self.fail_over_of(self.shard_of(entity), lost)
    }

    fn fail_over_of(&self, shard: usize, lost: Duration) -> usize {
        fail_over(&self.0.store, &self.0.stage, shard, lost)
    }

    /// The store is emptied, as by `FLUSHALL`.
    pub fn empty_store(&self) {
        self.0.stage.note("store", "is emptied");
        self.0.stage.writers().forget(|_| true);
        (0..self.0.store.shards()).for_each(|shard| self.0.store.flush(shard, self.0.stage.draw() >> 12));
    }

    /// The clock of the store's server jumps ahead.
    pub fn store_clock_jumps(&self, ahead: Duration) {
        self.0.stage.note("store", format!("its clock jumps {ahead:?} ahead"));
        self.0.store.clock_jumps(ahead);
    }

    /// Everybody reaches everybody.
    pub fn heal(&self) {
        self.0.stage.note("test", "everybody reaches everybody");
        self.0.network.heal();
        self.silos().iter().for_each(|seat| seat.process.set_reaches_store(true));
    }

    /// No more faults; those who crashed are back, and all silos know each other: for what must be so in the end.
    pub async fn calm(&self) {
        self.0.stage.set_active(false);
        self.heal();
        let end = tokio::time::Instant::now() + AGREE;
        loop {
            let versions: Vec<Option<u64>> = {
                let silos = self.silos();
                let up = silos.iter().filter(|seat| seat.silo.is_some() || seat.is_starting);
                up.map(|seat| match seat.process.is_dead() || seat.process.is_paused() {
                    true => None,
                    false => seat.silo.as_ref().and_then(Silo::table_version),
                })
                .collect()
            };
            if versions.iter().all(|version| version.is_some() && *version == versions[0]) {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "the silos do not agree: their tables are {versions:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until nothing is under way: no message that is not applied, no reminder that waits.
    ///
    /// # Panics
    /// After `limit` of virtual time, with the entities that still have something under way.
    pub async fn settled(&self, limit: Duration) {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let names = self.due().await;
            if names.is_empty() {
                return;
            }
            let over = tokio::time::Instant::now() >= end;
            assert!(!over, "something is still under way after {limit:?}, at {}", names.join(", "));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Who still has something under way.
    pub async fn due(&self) -> Vec<String> {
        let due = self.0.store.due(Partitions::All, u64::MAX, usize::MAX).await.unwrap_or_default();
        due.iter().map(|due| due.id.to_string()).collect()
    }

    /// Dead letters: messages that ended without their effect.
    ///
    /// # Panics
    /// When the store does not answer.
    pub async fn dead_letters(&self) -> usize {
        self.0.store.letters(usize::MAX).await.map_or(0, |letters| letters.len())
    }
}
