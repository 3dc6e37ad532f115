use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "embedded")]
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::cluster::Lease;
use crate::entity::Handlers;
use crate::silo::config::Limits;
use crate::silo::door::{Kind, Registration};
use crate::silo::network::{NetworkSettings, Plan};
use crate::silo::process::{Engine, Silo};
use crate::silo::shared::Shared;
use crate::silo::{threads, watch};
use crate::store::{MemoryStore, Store};
#[cfg(feature = "redis")]
use crate::store::{RedisOptions, RedisStore};
use crate::wire::address;
use crate::wire::{Identity, Role, Secret, Security, Tls};
use crate::world::World;
use crate::{Error, Result};

/// What a silo is to be: its kinds, its store, its limits.
#[must_use = "a silo starts with `.start().await`"]
pub struct SiloBuilder {
    kinds: Vec<Arc<dyn Registration>>,
    store: Option<Choice>,
    workers: Option<usize>,
    limits: Limits,
    data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    cluster: String,
    listen: Option<String>,
    advertise: Option<String>,
    pub(crate) security: Security,
    weight: u32,
    #[cfg(feature = "testing")]
    mutant: Option<crate::Mutant>,
    world: World,
    pub(crate) fault: Option<String>,
}

/// Which store.
enum Choice {
    Memory,
    #[cfg(feature = "embedded")]
    Embedded(PathBuf),
    #[cfg(feature = "redis")]
    Redis(String),
    Given(Arc<dyn Store>),
}

impl fmt::Debug for SiloBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiloBuilder")
            .field("kinds", &self.kinds.iter().map(|kind| kind.kind()).collect::<Vec<_>>())
            .finish()
    }
}

impl SiloBuilder {
    pub(crate) fn new() -> Self {
        Self {
            kinds: Vec::new(),
            store: None,
            workers: None,
            limits: Limits::default(),
            data: HashMap::new(),
            cluster: "grange".into(),
            listen: None,
            advertise: None,
            security: Security::open(),
            weight: 1,
            #[cfg(feature = "testing")]
            mutant: None,
            world: World::default(),
            fault: None,
        }
    }

    /// Hosts this kind.
    pub fn entity<E: Handlers>(mut self) -> Self {
        self.kinds.push(Arc::new(Kind::<E>::new()));
        self
    }

    /// Keeps everything in memory: for tests, and for what may be lost with the process.
    pub fn in_memory(mut self) -> Self {
        self.store = Some(Choice::Memory);
        self
    }

    /// Keeps everything in this directory, which is created if it isn't there: what was answered is on disk. One
    /// process at a time.
    #[cfg(feature = "embedded")]
    pub fn embedded(mut self, path: impl AsRef<Path>) -> Self {
        self.store = Some(Choice::Embedded(path.as_ref().to_owned()));
        self
    }

    /// A process of a simulation.
    #[cfg(feature = "testing")]
    pub(crate) fn in_world(self, world: World) -> Self {
        Self { world, ..self }
    }

    /// Keeps everything in this store, which stays open when the silo stops: a silo can be started over it again.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(Choice::Given(store));
        self
    }

    /// Keeps everything in Redis (or Valkey), for several silos together: `redis://host:6379`, `rediss://…` for TLS, with
    /// user and password in it where they are needed; several addresses of a Redis Cluster separated by commas.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.store = Some(Choice::Redis(url.into()));
        self
    }

    /// The cluster's name: silos and clients with another one are refused, and its records in the store bear it. `grange`
    /// unless said otherwise.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// Listens for clients and for other silos at `host:port`; port 0 lets the system choose.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// The address at which others reach this silo, where it is not the one on which it listens.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The cluster's secret, the same for all silos and clients, at least 16 bytes. It is never sent: each side proves
    /// that it knows it. What is said afterwards is not encrypted: see [`tls`](Self::tls).
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.security = self.security.secret(Secret::new(secret));
        self
    }

    /// The same, from a file: white space at its end is not part of it.
    pub fn secret_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        match Secret::from_file(path.as_ref()) {
            Ok(secret) => self.security = self.security.secret(secret),
            Err(fault) => self.fault = Some(fault),
        }
        self
    }

    /// Mutual TLS: this silo's certificate, and the authority by which everybody's must be signed.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.security = self.security.tls(tls);
        self
    }

    /// This silo's share of the entities, in proportion to the others'; 1 unless said otherwise, 0: none but those of kinds
    /// that nobody else hosts.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Plants a mistake, to see that tests notice it.
    #[cfg(feature = "testing")]
    pub fn mutant(mut self, mutant: crate::Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// How many arbiters, each a thread, run turns; one a core unless said otherwise.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Other limits than the default ones.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Something that handlers find with `turn.data::<T>()`: a pool, an HTTP client.
    pub fn data<T: Send + Sync + 'static>(mut self, data: T) -> Self {
        self.data.insert(TypeId::of::<T>(), Arc::new(data));
        self
    }

    /// Starts the silo on threads of its own; from any runtime, or from none.
    ///
    /// # Errors
    /// [`Error::Config`] when it can't be as it is described, [`Error::Store`] when the store can't be used. Nothing is
    /// left running then, and nothing was changed.
    pub async fn start(self) -> Result<Silo> {
        let (kinds, store, workers) = self.check()?;
        let owns_store = !matches!(store, Choice::Given(_));
        let opening = tokio::time::Instant::now();
        let store: Arc<dyn Store> = match store {
            Choice::Memory => Arc::new(MemoryStore::new(self.world.fresh().as_u64_pair().0 >> 12)),
            #[cfg(feature = "embedded")]
            Choice::Embedded(path) => Arc::new(crate::store::EmbeddedStore::open(path)?),
            #[cfg(feature = "redis")]
            Choice::Redis(url) => {
                let mut urls = url.split(',');
                let first = RedisOptions::new(urls.next().unwrap_or_default()).cluster(&self.cluster);
                let options = urls.fold(first, |options, url| options.url(url));
                Arc::new(RedisStore::connect(options).await?)
            }
            Choice::Given(store) => store,
        };
        if opening.elapsed() > std::time::Duration::from_secs(1) {
            tracing::info!(target: "grange", took = ?opening.elapsed(), "the store is open");
        }
        let names: Vec<String> = kinds.iter().map(|kind| kind.kind().to_owned()).collect();
        let plan = match &self.listen {
            None => None,
            Some(listen) => {
                let settings = NetworkSettings {
                    world: self.world.clone(),
                    cluster: self.cluster,
                    listen: listen.clone(),
                    advertise: self.advertise,
                    security: self.security,
                    weight: self.weight,
                };
                Some(Plan::new(&settings, &store, names).await?)
            }
        };
        let (identity, lease) = match &plan {
            Some(plan) => (plan.identity(), plan.lease()),
            None => {
                let alone = Identity::new(Role::Silo, self.world.fresh(), "", None, Security::open())
                    .in_world(self.world.clone());
                (alone, Arc::new(Lease::unlimited()))
            }
        };
        let placements = kinds.iter().map(|kind| (kind.kind().to_owned(), kind.placement())).collect();
        #[cfg_attr(not(feature = "testing"), allow(unused_mut))]
        let mut shared = Shared::new(store, self.limits, workers, self.data, identity, lease, plan.is_some());
        #[cfg(feature = "testing")]
        {
            shared.mutant = self.mutant;
        }
        let shared = Arc::new(shared);
        let engine = engine(&self.world, &shared, kinds).await?;
        let mut silo = Silo::new(shared.clone(), engine, owns_store);
        if let Some(plan) = plan {
            silo.network = Some(plan.join(&shared, placements).await?);
        }
        tracing::info!(
            target: "grange", silo = %shared.incarnation(), workers, address = silo.address(), "a silo has started"
        );
        Ok(silo)
    }

    #[allow(clippy::type_complexity)]
    fn check(&self) -> Result<(Vec<Arc<dyn Registration>>, Choice, usize)> {
        if let Some(fault) = &self.fault {
            return Err(Error::Config(fault.clone()));
        }
        let mut names: HashMap<&str, &str> = HashMap::new();
        for kind in &self.kinds {
            if let Some(other) = names.insert(kind.kind(), kind.type_name()) {
                return Err(Error::Config(format!(
                    "two kinds have the name `{}`: `{other}` and `{}`; give one of them another with \
                     `#[entity(name = \"…\")]`",
                    kind.kind(),
                    kind.type_name()
                )));
            }
        }
        if self.kinds.is_empty() {
            return Err(Error::Config("the silo hosts no kind: add `.entity::<…>()` for each".into()));
        }
        let store = match &self.store {
            Some(Choice::Memory) => Choice::Memory,
            #[cfg(feature = "embedded")]
            Some(Choice::Embedded(path)) => Choice::Embedded(path.clone()),
            #[cfg(feature = "redis")]
            Some(Choice::Redis(_)) if self.listen.is_none() => {
                return Err(Error::Config(
                    "a silo on Redis is one of several, which reach each other: say `.listen(\"127.0.0.1:7100\")`, or set \
                     GRANGE_LISTEN"
                        .into(),
                ));
            }
            #[cfg(feature = "redis")]
            Some(Choice::Redis(url)) => Choice::Redis(url.clone()),
            Some(Choice::Given(store)) => Choice::Given(store.clone()),
            None => {
                return Err(Error::Config(
                    "no store was chosen: say `.redis(\"redis://127.0.0.1:6379\")` (GRANGE_REDIS), `.embedded(\"./data\")` \
                     (GRANGE_EMBEDDED), or `.in_memory()` (GRANGE_IN_MEMORY=1) for what may be lost"
                        .into(),
                ));
            }
        };
        let told = |method, variable| move |wrong| Error::Config(format!("{wrong} (`.{method}(…)`, or {variable})"));
        if let Some(listen) = &self.listen {
            address::check(listen, true).map_err(told("listen", "GRANGE_LISTEN"))?;
        }
        if let Some(advertise) = &self.advertise {
            address::check(advertise, false).map_err(told("advertise", "GRANGE_ADVERTISE"))?;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.workers.unwrap_or(cores) {
            0 => Err(Error::Config("a silo needs at least one worker, by `.workers(n)` or GRANGE_WORKERS".into())),
            workers if workers > 1024 => Err(Error::Config(format!(
                "{workers} workers are more than 1024: say fewer by `.workers(n)` or GRANGE_WORKERS"
            ))),
            workers => Ok((self.kinds.clone(), store, workers)),
        }
    }
}

/// Starts what a silo runs on.
async fn engine(world: &World, shared: &Arc<Shared>, kinds: Vec<Arc<dyn Registration>>) -> Result<Engine> {
    let no_thread = |error| Error::Config(format!("no thread can be started: {error}"));
    let ended = |_| Error::Config("the silo's threads ended while they started; the log has more".into());
    #[cfg(feature = "testing")]
    if let Some(simulated) = world.simulation().cloned() {
        let (started, up) = oneshot::channel();
        let (shared, spawner) = (shared.clone(), simulated.spawner());
        let host = move || threads::host_here(shared, kinds, spawner, started);
        simulated.spawner().spawn_here(host);
        up.await.map_err(ended)??;
        return Ok(Engine::Simulated(simulated));
    }
    let _ = world;
    let (started, up) = oneshot::channel();
    let (over, stopped) = mpsc::channel();
    let running = shared.clone();
    let thread = std::thread::Builder::new()
        .name("grange-silo".into())
        .spawn(move || threads::host(&running, &kinds, started, &over))
        .map_err(no_thread)?;
    let system = up.await.map_err(ended)??;
    let ticking = shared.clone();
    let clock = std::thread::Builder::new()
        .name("grange-clock".into())
        .spawn(move || watch::run(&ticking, &stopped))
        .map_err(no_thread)?;
    Ok(Engine::Threads { system, _threads: [thread, clock] })
}
