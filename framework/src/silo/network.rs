//! A silo among others: its listener and the connections that it opens, on a thread of their own; its place in the cluster.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Tick;
use crate::cluster::{
    ClusterError, Courier, Event, Handle, Home, Lease, Lodging, Loss, Membership, Probe, Probed, Settings, Table,
};
use crate::entity::{Placement, Realm};
use crate::silo::gateway::Gateway;
use crate::silo::shared::Shared;
use crate::store::{MemoryMembers, Pending, Status, Store};
use crate::wire::{
    ConnectError, Header, Identity, Inbound, Link, Listener, Role, Running, Security, Violation, WireLimits, WireStats,
};
use crate::world::{Spawner, World};
use crate::{Error, Result};

/// How long a silo may take to become part of its cluster.
const JOIN: Duration = Duration::from_secs(20);

/// An arbiter that has not swept for so long is stuck, and so is its silo.
const STUCK_MS: Tick = 2_000;

/// How long a silo that is looked for may take to connect, and again to say who it is.
const KNOCK: Duration = Duration::from_millis(400);

/// How long a silo that is in waits for its share, which it may not have: its weight may be nothing.
const SHARE: Duration = Duration::from_secs(2);

/// How long each of the others may take to connect, and again to let this silo in.
const GREET: Duration = Duration::from_secs(1);

/// How often the store is asked whether it began a new life.
const LOOK: Duration = Duration::from_millis(50);

/// What a silo is to be among others.
#[derive(Clone)]
pub(crate) struct NetworkSettings {
    pub(crate) cluster: String,
    pub(crate) listen: String,
    pub(crate) advertise: Option<String>,
    pub(crate) security: Security,
    pub(crate) weight: u32,
    pub(crate) world: World,
}

/// The thread of the connections, with a listener that does not listen to anybody yet.
pub(crate) struct Ground {
    runtime: Spawner,
    listener: Listener,
    address: String,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// A silo's part in its cluster.
pub(crate) struct Network {
    pub(crate) address: String,
    handle: Handle,
    courier: Arc<Courier>,
    gateway: Arc<Gateway>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    stats: Arc<WireStats>,
    runtime: Spawner,
}

/// What is decided before the silo's threads are there.
pub(crate) struct Plan {
    ground: Ground,
    membership: Membership,
    handle: Handle,
    events: mpsc::Receiver<Event>,
    identity: Identity,
    shared: Arc<OnceLock<Weak<Shared>>>,
}

impl Ground {
    /// # Errors
    /// When the address can't be listened on, or is open to strangers.
    pub(crate) async fn new(settings: &NetworkSettings) -> Result<Self> {
        #[cfg(feature = "testing")]
        if let Some(simulated) = settings.world.simulation() {
            let listener =
                Listener::bind(&settings.listen, &settings.security, &WireLimits::default(), &settings.world).await;
            let (stop, _) = oneshot::channel();
            let (_, ended) = oneshot::channel();
            let listener = listener.map_err(|error| Error::Config(error.to_string()))?;
            return Self::at(settings, listener, simulated.spawner(), stop, ended);
        }
        let (bound, wait) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let (listen, security, world) = (settings.listen.clone(), settings.security.clone(), settings.world.clone());
        std::thread::Builder::new()
            .name("grange-net".into())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(bound.send(Err(error.to_string()))),
                };
                runtime.block_on(async {
                    match Listener::bind(&listen, &security, &WireLimits::default(), &world).await {
                        Err(error) => drop(bound.send(Err(error.to_string()))),
                        Ok(listener) => {
                            let (stop, stopped) = oneshot::channel::<()>();
                            if bound.send(Ok((listener, Runtime::current(), stop))).is_ok() {
                                let _ = stopped.await;
                            }
                        }
                    }
                });
                // What was queued leaves, if it can.
                runtime.shutdown_timeout(Duration::from_millis(200));
                let _ = over.send(());
            })
            .map_err(|error| Error::Config(format!("no thread can be started: {error}")))?;
        let bound =
            wait.await.map_err(|_| Error::Config("the silo's network thread ended; the log has more".into()))?;
        let (listener, runtime, stop) = bound.map_err(Error::Config)?;
        Self::at(settings, listener, Spawner::Runtime(runtime), stop, ended)
    }

    fn at(
        settings: &NetworkSettings,
        listener: Listener,
        runtime: Spawner,
        stop: oneshot::Sender<()>,
        ended: oneshot::Receiver<()>,
    ) -> Result<Self> {
        let own = listener.address();
        let address = match &settings.advertise {
            Some(address) => address.clone(),
            None if own.ip().is_unspecified() => {
                return Err(Error::Config(format!(
                    "nobody reaches a silo at {own}: say at which address others reach it, by `.advertise(\"host:{}\")` or \
                     GRANGE_ADVERTISE",
                    own.port()
                )));
            }
            None => own.to_string(),
        };
        Ok(Self { runtime, listener, address, stop, ended })
    }
}

impl Plan {
    pub(crate) async fn new(settings: &NetworkSettings, store: &Arc<dyn Store>, kinds: Vec<String>) -> Result<Self> {
        let ground = Ground::new(settings).await?;
        let members = store.members().unwrap_or_else(|| Arc::new(MemoryMembers::new()));
        let identity_of_probe: Arc<OnceLock<Identity>> = Arc::default();
        let shared: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let probe = Knock { runtime: ground.runtime.clone(), identity: identity_of_probe.clone() };
        let renamed = identity_of_probe.clone();
        let world = settings.world.clone();
        let fresh = move || {
            let incarnation = world.fresh();
            if let Some(identity) = renamed.get() {
                identity.rejoin(incarnation);
            }
            incarnation
        };
        let membership = Settings {
            address: ground.address.clone(),
            weight: settings.weight,
            kinds,
            protocol: *crate::wire::PROTOCOLS.end(),
            build: concat!("grange ", env!("CARGO_PKG_VERSION")).into(),
            partitions: members.partitions(),
            join: JOIN,
            clock: Arc::new({
                let world = settings.world.clone();
                move || world.boot_ms()
            }),
            fresh: Arc::new(fresh),
            #[cfg(feature = "testing")]
            mutant: None,
        };
        let roster = members.roster().await?;
        let vitals = vitals(shared.clone(), settings.world.clone());
        let (membership, handle, events) = Membership::new(membership, members, Arc::new(probe), vitals);
        let tables = handle.clone();
        let identity = Identity::new(
            Role::Silo,
            handle.incarnation(),
            settings.cluster.clone(),
            Some(ground.address.clone()),
            settings.security.clone(),
        )
        .in_world(settings.world.clone())
        .admitting(move |_, incarnation| {
            // Dead is final.
            !matches!(tables.table().status(incarnation), Some(Status::Dead | Status::Left))
        });
        let _ = identity_of_probe.set(identity.clone());
        let active = roster.members.into_iter().filter(|member| member.status == Status::Active);
        let others = active.map(|member| member.address).filter(|address| *address != ground.address);
        greet(&ground.runtime, &identity, others.collect()).await?;
        Ok(Self { ground, membership, handle, events, identity, shared })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    pub(crate) fn lease(&self) -> Arc<Lease> {
        self.handle.lease().clone()
    }

    /// Opens the doors and joins the cluster. The silo's kinds are open.
    pub(crate) async fn join(self, shared: &Arc<Shared>, kinds: Vec<(String, Placement)>) -> Result<Network> {
        let Self {
            ground: Ground { runtime, listener, address, stop, ended },
            membership,
            handle,
            events,
            identity,
            ..
        } = self;
        let _ = self.shared.set(Arc::downgrade(shared));
        let random = Arc::downgrade(shared);
        let courier = Courier::new(
            shared.clock.clone(),
            Lodging::own(runtime.clone()),
            identity.clone(),
            WireLimits::default(),
            Vec::new(),
            Box::new(move || random.upgrade().map_or(0, |shared| shared.random())),
        );
        let (draining, loaded, suspects) = (Arc::downgrade(shared), Arc::downgrade(shared), handle.clone());
        courier.settle(Home {
            kinds: kinds.into_iter().collect(),
            closed: Box::new(move || {
                draining.upgrade().is_none_or(|shared| shared.is_draining() || shared.is_homeless())
            }),
            load: Box::new(move || loaded.upgrade().map_or(0, |shared| shared.load())),
            suspect: Box::new(move |silo| suspects.suspect(silo)),
        });
        shared.join(courier.clone(), handle.clone());
        let gateway = Gateway::new(shared, courier.clone());
        let receiving = gateway.clone();
        let stats = identity.stats.clone();
        runtime.spawn(listener.serve(identity, move |link: &Link| receiving.receive(link), spread(shared)));
        runtime.spawn(Courier::run(Arc::downgrade(&courier)));
        runtime.spawn(follow_lives(shared.store.clone(), handle.clone()));
        runtime.spawn(follow_tables(handle.clone(), courier.clone(), gateway.clone()));
        let (joined, is_in) = oneshot::channel();
        let over =
            begin(membership, &runtime).map_err(|error| Error::Config(format!("no thread can be started: {error}")))?;
        runtime.spawn(follow_events(Arc::downgrade(shared), gateway.clone(), events, joined, over));
        let network =
            Network { address, handle, courier, gateway, stop: Some(stop), ended: Some(ended), stats, runtime };
        let (mut tables, me) = (network.handle.tables(), network.handle.clone());
        match is_in.await {
            Ok(Ok(())) => {
                // With its share of the entities, so that whoever waits for this silo has it.
                let shared_out = async move {
                    let has_share = |table: &Arc<Table>| !table.owned_by(me.incarnation()).is_empty();
                    let _ = tokio::time::timeout(SHARE, tables.wait_for(has_share)).await;
                };
                let _ = network.runtime.run(shared_out).await;
                Ok(network)
            }
            Ok(Err(error)) => Err(Error::Config(error.to_string())),
            Err(_) => Err(Error::Config("the silo's network thread ended; the log has more".into())),
        }
    }
}

/// Runs the membership; says how it ended.
fn begin(
    membership: Membership,
    runtime: &Spawner,
) -> std::io::Result<oneshot::Receiver<std::result::Result<(), ClusterError>>> {
    if !runtime.is_simulated() {
        return membership.spawn();
    }
    let (end, over) = oneshot::channel();
    runtime.spawn(async move { drop(end.send(membership.run().await)) });
    Ok(over)
}

/// Where connections run: each on the arbiter that has the fewest, so that a call to an entity on the same one is run where it was
/// read, and no thread has to be woken for it.
fn spread(shared: &Arc<Shared>) -> impl Fn(Running) + Clone + Send + Sync + 'static {
    let shared = Arc::downgrade(shared);
    move |running| {
        let Some(living) = shared.upgrade() else { return };
        let desks = living.arbiters.iter().enumerate();
        let fewest = desks.min_by_key(|(_, desk)| desk.connections.load(Ordering::Relaxed));
        let Some((arbiter, desk)) = fewest else { return };
        let Some(settle) = desk.settle.get() else { return };
        let place = Place::take(shared.clone(), arbiter, &living);
        settle(Box::pin(async move {
            running.await;
            drop(place);
        }));
    }
}

/// A connection's place on its arbiter.
struct Place(Weak<Shared>, usize);

impl Place {
    fn take(shared: Weak<Shared>, arbiter: usize, living: &Shared) -> Self {
        living.arbiters[arbiter].connections.fetch_add(1, Ordering::Relaxed);
        Self(shared, arbiter)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.arbiters[self.1].connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The silos that are there must let this one in: one with another secret would get a share of the entities that nobody
/// reaches. Those that don't answer now say nothing.
async fn greet(runtime: &Spawner, identity: &Identity, others: Vec<String>) -> Result<()> {
    let greetings = others.into_iter().map(|address| {
        let identity = identity.clone();
        let greeting = runtime.run(async move {
            let (connect_timeout, handshake_timeout) = (GREET, GREET);
            let limits = WireLimits { connect_timeout, handshake_timeout, ..WireLimits::default() };
            crate::wire::connect(&address, &identity, &limits, |_| Box::new(Nobody)).await.map(drop)
        });
        async move { greeting.await?.err() }
    });
    for error in futures_util::future::join_all(greetings).await.into_iter().flatten() {
        if matches!(error, ConnectError::Rejected { .. } | ConnectError::Untrusted { .. }) {
            return Err(Error::Config(format!(
                "a silo of this cluster does not take this one for one of its own: {error}; give all of them the same secret, by \
                 `.secret_file(…)` or GRANGE_SECRET_FILE, or certificates of one authority"
            )));
        }
    }
    Ok(())
}

/// Whether every arbiter has swept lately: the membership's thread asks.
fn vitals(shared: Arc<OnceLock<Weak<Shared>>>, world: World) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let seen = std::sync::Mutex::new(Vec::<(u64, u64)>::new());
    Arc::new(move || {
        let Some(shared) = shared.get().and_then(Weak::upgrade) else { return true };
        let now = world.boot_ms();
        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.resize(shared.arbiters.len(), (0, now));
        shared.arbiters.iter().zip(seen.iter_mut()).all(|(desk, (sweeps, since))| {
            let now_swept = desk.sweeps.load(Ordering::Acquire);
            if now_swept != *sweeps {
                (*sweeps, *since) = (now_swept, now);
            }
            now.saturating_sub(*since) < STUCK_MS
        })
    })
}

async fn follow_tables(handle: Handle, courier: Arc<Courier>, gateway: Arc<Gateway>) {
    let mut tables = handle.tables();
    drop(handle);
    loop {
        let table = tables.borrow_and_update().clone();
        gateway.announce(&table);
        courier.learn(&table);
        if tables.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_events(
    shared: Weak<Shared>,
    gateway: Arc<Gateway>,
    mut events: mpsc::Receiver<Event>,
    joined: oneshot::Sender<std::result::Result<(), ClusterError>>,
    over: oneshot::Receiver<std::result::Result<(), ClusterError>>,
) {
    let mut joined = Some(joined);
    while let Some(event) = events.recv().await {
        match event {
            Event::Active(incarnation) => {
                if let Some(shared) = shared.upgrade() {
                    shared.find_place();
                }
                tracing::info!(target: "grange", silo = %incarnation, "the silo is part of its cluster");
                if let Some(joined) = joined.take() {
                    let _ = joined.send(Ok(()));
                }
            }
            Event::Lost { incarnation, loss, dropped } => {
                let Some(shared) = shared.upgrade() else { return };
                let why = match loss {
                    Loss::Dead => "others declared it dead, or the store lost it",
                    Loss::Renounced => "the store began a new life",
                };
                tracing::error!(
                    target: "grange", silo = %incarnation, why,
                    "the silo lost its place in the cluster: it drops what it has in memory, and joins again"
                );
                shared.lose_place();
                if let Some(courier) = shared.courier() {
                    courier.close_links("the silo lost its place in the cluster");
                }
                gateway.close_silos();
                shared.swept_twice().await;
                let _ = dropped.send(());
            }
        }
    }
    // The membership is over; its thread ends now.
    match over.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => match joined.take() {
            Some(joined) => drop(joined.send(Err(error))),
            None => {
                tracing::error!(target: "grange", %error, "the silo is no longer part of its cluster, and can't be: stop it");
            }
        },
        Err(_) => tracing::error!(target: "grange", "the membership's thread panicked: please report it"),
    }
}

/// The store began a new life: what is in memory may be ahead of what it remembers.
async fn follow_lives(store: Arc<dyn Store>, handle: Handle) {
    let mut lives = store.lives();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = store.lives();
        if std::mem::replace(&mut lives, now) != now {
            handle.renounce(handle.incarnation()).await;
        }
    }
}

impl Network {
    /// What the silo's connections counted, by name.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        self.stats.counters().collect()
    }

    /// Says to all others that this silo takes nothing new.
    pub(crate) async fn drain(&self) {
        self.handle.drain().await;
    }

    /// Everything was given back. `false`: the store could not be told.
    pub(crate) async fn leave(&self) -> bool {
        self.handle.leave().await
    }

    /// Nothing listens any more: its address is free.
    pub(crate) async fn ended(&mut self) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }

    pub(crate) fn close(&mut self) {
        self.handle.abandon();
        self.courier.close();
        self.gateway.close("the silo has stopped");
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// Looks whether a silo answers, by the way by which calls go.
struct Knock {
    runtime: Spawner,
    identity: Arc<OnceLock<Identity>>,
}

impl Probe for Knock {
    fn probe(&self, address: &str) -> Pending<Probed> {
        let (address, identity) = (address.to_owned(), self.identity.get().cloned());
        let knocked = self.runtime.run(async move {
            let Some(identity) = identity else { return Probed::Silent };
            let (connect_timeout, handshake_timeout) = (KNOCK, KNOCK);
            let limits = WireLimits { connect_timeout, handshake_timeout, ..WireLimits::default() };
            match crate::wire::connect(&address, &identity, &limits, |_| Box::new(Nobody)).await {
                Ok((link, _running)) => Probed::Answers(link.peer().incarnation),
                Err(ConnectError::Refused { .. }) => Probed::Refused,
                Err(ConnectError::Rejected { incarnation: Some(incarnation), .. }) => Probed::Answers(incarnation),
                Err(error) => {
                    tracing::debug!(target: "grange", address, %error, "a silo was looked for");
                    Probed::Silent
                }
            }
        });
        Box::pin(async move { Ok(knocked.await.unwrap_or(Probed::Silent)) })
    }
}

/// A connection on which nothing is said.
struct Nobody;

impl Inbound for Nobody {
    fn frame(&mut self, _: &Link, _: Header, _: bytes::Bytes) -> std::result::Result<(), Violation> {
        Ok(())
    }
    fn may_read(&self, _: &Link) -> bool {
        true
    }
    fn closed(&mut self, _: &Link, _: &str) {}
}
