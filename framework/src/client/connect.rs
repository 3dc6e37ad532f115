use std::any::{Any, TypeId};
use std::fmt;
use std::future::IntoFuture;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::clock::{BEAT, Clock, Tick};
use crate::cluster::{Courier, Lodging};
use crate::entity::{Deadlines, Far, Realm, Waits};
use crate::wire::address;
use crate::wire::{Identity, Role, Secret, Security, Tls, WireLimits};
use crate::world::{Spawner, World};
use crate::{Error, Result};

/// How long the first connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Asks of one calling thread that may be on their way.
const CALLS_MAX: usize = 100_000;

/// A client that is about to connect: await it.
#[must_use = "a client connects when it is awaited"]
pub struct Connect {
    gateways: Vec<String>,
    cluster: String,
    security: Security,
    fault: Option<String>,
    timeout: Duration,
    call_timeout: Duration,
    world: World,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connect");
        shown.field("gateways", &self.gateways).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of a cluster of silos, which it reaches at these addresses, `host:port`: any of them is enough, and it
    /// learns of the others. It needs no access to the store.
    ///
    /// Its connections live in the tokio runtime in which it is awaited. When that stands still for 2 s, has ended, or has no
    /// I/O, and where there is none, they live in a thread of the client's own: it goes on working from any other. Code that
    /// blocks that runtime also blocks its calls; for those that were sent when it stands still for 2 s nobody knows whether
    /// they ran ([`CallError::Unknown`](crate::CallError::Unknown)).
    ///
    /// ```no_run
    /// # async fn example() -> grange::Result<()> {
    /// let client = grange::Client::connect(["127.0.0.1:7100", "127.0.0.1:7101"]).cluster("bank").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When none of them lets it in within 10 s: the error says why, for each.
    pub fn connect<A: Into<String>>(gateways: impl IntoIterator<Item = A>) -> Connect {
        Connect {
            gateways: gateways.into_iter().map(Into::into).collect(),
            cluster: "grange".into(),
            security: Security::open(),
            fault: None,
            timeout: CONNECT,
            call_timeout: Duration::from_secs(30),
            world: World::default(),
        }
    }

    /// The same, as the environment says. What is called on it afterwards wins.
    ///
    /// | variable | as |
    /// |---|---|
    /// | `GRANGE_GATEWAYS` | the addresses, separated by commas |
    /// | `GRANGE_CLUSTER` | [`cluster`](Connect::cluster) |
    /// | `GRANGE_SECRET_FILE` | [`secret_file`](Connect::secret_file) |
    /// | `GRANGE_TLS_CA`, `GRANGE_TLS_CERT`, `GRANGE_TLS_KEY` | [`tls`](Connect::tls), three PEM files |
    pub fn from_env() -> Connect {
        crate::variables::warn_of_unknown();
        Connect::with_env(&crate::variables::variable)
    }
}

impl Connect {
    fn with_env(read: &dyn Fn(&str) -> Option<String>) -> Self {
        let Some(gateways) = read("GRANGE_GATEWAYS") else {
            let fault = "GRANGE_GATEWAYS is not set: it names silos, `host:port`, separated by commas";
            return Self { fault: Some(fault.into()), ..Client::connect::<String>([]) };
        };
        let gateways = gateways.split(',').map(str::trim).filter(|gateway| !gateway.is_empty());
        let mut connect = Client::connect(gateways);
        if let Some(name) = read("GRANGE_CLUSTER") {
            connect = connect.cluster(name);
        }
        match connect.security.clone().with_env(read) {
            Ok(security) => connect.security = security,
            Err(fault) => connect.fault = Some(fault),
        }
        connect
    }

    /// The cluster's name, as its silos have it; `grange` unless said otherwise.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The cluster's secret, as its silos have it. It is never sent: each side proves that it knows it.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.security = self.security.secret(Secret::new(secret));
        self
    }

    /// The same, from a file: white space at its end is not part of it.
    pub fn secret_file(mut self, path: impl AsRef<Path>) -> Self {
        match Secret::from_file(path.as_ref()) {
            Ok(secret) => self.security = self.security.secret(secret),
            Err(fault) => self.fault = Some(fault),
        }
        self
    }

    /// Mutual TLS: its own certificate, and the authority that the silos' must be signed by.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.security = self.security.tls(tls);
        self
    }

    /// How long the first connection may take; 10 s unless said otherwise.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a call without a timeout of its own may take; 30 s unless said otherwise.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// A process of a simulation.
    #[cfg(feature = "testing")]
    pub(crate) fn in_world(self, world: World) -> Self {
        Self { world, ..self }
    }

    async fn connect(self) -> Result<Client> {
        if let Some(fault) = self.fault {
            return Err(Error::Connect(fault));
        }
        if self.gateways.is_empty() {
            let needed = "a client needs the address of at least one silo, `host:port`, by `Client::connect([…])` or GRANGE_GATEWAYS";
            return Err(Error::Connect(needed.into()));
        }
        for gateway in &self.gateways {
            address::check(gateway, false).map_err(|wrong| {
                Error::Connect(format!("{wrong} (`Client::connect([…])`, or GRANGE_GATEWAYS with commas between)"))
            })?;
        }
        self.security.check_secret().map_err(|insecure| Error::Connect(insecure.to_string()))?;
        let (ready, connected) = oneshot::channel();
        let stopped = |_| Error::Stopped("the client's thread ended while it connected; the log has more".into());
        #[cfg(feature = "testing")]
        if let Some(simulated) = self.world.simulation().cloned() {
            let spawner = simulated.spawner();
            simulated.spawner().spawn(async move { live(&self, spawner, None, ready).await });
            return Ok(Client::new(connected.await.map_err(stopped)??));
        }
        let callers = Handle::try_current().ok();
        let spawned =
            std::thread::Builder::new().name("grange-client".into()).spawn(move || run(&self, callers, ready));
        spawned.map_err(|error| Error::Connect(format!("no thread can be started: {error}")))?;
        Ok(Client::new(connected.await.map_err(stopped)??))
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Client>> + Send>>;
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.connect())
    }
}

/// The client's thread: its clock, what waits, and connections that can't live with their callers; until the last handle is
/// gone.
fn run(settings: &Connect, callers: Option<Handle>, ready: oneshot::Sender<Result<Arc<dyn Realm>>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(Error::Connect(format!("no runtime can be started: {error}"))));
            return;
        }
    };
    runtime.block_on(live(settings, Spawner::Runtime(runtime.handle().clone()), callers, ready));
    // Connections that live here say goodbye, if they can.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn live(
    settings: &Connect,
    spawner: Spawner,
    callers: Option<Handle>,
    ready: oneshot::Sender<Result<Arc<dyn Realm>>>,
) {
    let (realm, mut stop) = FarRealm::new(settings, spawner.clone(), callers);
    let (courier, clock) = (realm.courier.clone(), realm.clock.clone());
    spawner.spawn(Courier::run(Arc::downgrade(&courier)));
    let deadlines = realm.deadlines.clone();
    spawner.spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            deadlines.sweep(clock.advance());
        }
    });
    let entered = tokio::time::timeout(settings.timeout, courier.enter()).await;
    let refused = || {
        let told = courier.refusals();
        Error::Connect(format!("the client could not connect to the cluster `{}`: {told}", settings.cluster))
    };
    let connected = if entered.is_ok_and(|entered| entered) { Ok(realm.clone() as _) } else { Err(refused()) };
    let failed = connected.is_err();
    let deadlines = realm.deadlines.clone();
    drop(realm);
    if ready.send(connected).is_ok() && !failed {
        let _ = (&mut stop).await;
    }
    courier.close();
    deadlines.close();
}

/// Entities that all live in other processes.
struct FarRealm {
    clock: Arc<Clock>,
    courier: Arc<Courier>,
    far: Arc<dyn Far>,
    deadlines: Arc<Deadlines>,
    waits: Waits,
    seed: u64,
    random: AtomicU64,
    call_timeout: Tick,
    /// Dropped with the last handle: the thread ends.
    _alive: oneshot::Sender<()>,
}

impl FarRealm {
    fn new(settings: &Connect, spawner: Spawner, callers: Option<Handle>) -> (Arc<Self>, oneshot::Receiver<()>) {
        let incarnation = settings.world.fresh();
        let (seed, random) = incarnation.as_u64_pair();
        let clock = Arc::new(Clock::new(settings.world.clone()));
        let identity =
            Identity::new(Role::Client, incarnation, settings.cluster.clone(), None, settings.security.clone())
                .in_world(settings.world.clone());
        let drawn = AtomicU64::new(random.rotate_left(32));
        let courier = Courier::new(
            clock.clone(),
            Lodging::with(spawner, callers),
            identity,
            WireLimits::default(),
            settings.gateways.clone(),
            Box::new(move || crate::clock::scatter(&drawn)),
        );
        let (alive, stop) = oneshot::channel();
        let realm = Self {
            far: courier.clone(),
            courier,
            clock,
            deadlines: Arc::new(Deadlines::new(CALLS_MAX, random)),
            waits: Waits::default(),
            seed,
            random: AtomicU64::new(random),
            call_timeout: Tick::try_from(settings.call_timeout.as_millis()).unwrap_or(Tick::MAX),
            _alive: alive,
        };
        (Arc::new(realm), stop)
    }
}

impl Realm for FarRealm {
    fn port(&self, _: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        None
    }
    fn far(&self) -> Option<&Arc<dyn Far>> {
        Some(&self.far)
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn tick(&self) -> Tick {
        self.clock.tick()
    }
    fn tick_now(&self) -> Tick {
        self.clock.advance()
    }
    fn now(&self) -> SystemTime {
        self.clock.wall()
    }
    fn timeout_default(&self) -> Tick {
        self.call_timeout
    }
    fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }
    fn is_draining(&self) -> bool {
        false
    }
    fn admit(&self, _: usize) -> bool {
        true
    }
    fn discharge(&self, _: usize) {}
    fn waits(&self) -> &Waits {
        &self.waits
    }
    fn data(&self, _: TypeId) -> Option<&Arc<dyn Any + Send + Sync>> {
        None
    }
    fn next_ask(&self) -> u64 {
        // No turns run here, so none asks.
        self.random.fetch_add(1, Ordering::Relaxed)
    }
    fn random(&self) -> u64 {
        crate::clock::scatter(&self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Connect {
        let variables: std::collections::HashMap<&str, &str> = variables.iter().copied().collect();
        Connect::with_env(&|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_environment_names_gateways_and_cluster() {
        let connect = read(&[("GRANGE_GATEWAYS", "a:1, b:2,"), ("GRANGE_CLUSTER", "bank")]);
        assert_eq!(
            (connect.gateways, connect.cluster, connect.fault),
            (vec!["a:1".into(), "b:2".into()], "bank".into(), None)
        );
    }

    #[tokio::test]
    async fn what_is_wrong_in_the_environment_is_said_when_it_connects() {
        let wrong = [
            (vec![], "GRANGE_GATEWAYS is not set"),
            (vec![("GRANGE_GATEWAYS", ",")], "at least one silo"),
            (vec![("GRANGE_GATEWAYS", "a:1"), ("GRANGE_SECRET_FILE", "/nowhere")], "GRANGE_SECRET_FILE: "),
            (vec![("GRANGE_GATEWAYS", "a:1"), ("GRANGE_TLS_CA", "ca.pem")], "set all three"),
        ];
        for (variables, says) in wrong {
            let error = read(&variables).await.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
