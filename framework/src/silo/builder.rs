use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "embedded")]
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use actix_rt::{Arbiter, System};
use tokio::sync::oneshot;

use crate::entity::{Handlers, Realm};
use crate::messaging::{DeadLetter, Parcel, decode};
use crate::silo::config::Limits;
use crate::silo::door::{Kind, Registration};
use crate::silo::shared::{Kinds, Post, Shared};
use crate::silo::sweep::{SWEEP, Sweep};
use crate::silo::{agenda, clock};
use crate::store::{MemoryStore, Stats, Store};
use crate::telemetry::Metrics;
use crate::wire::EntityId;
use crate::{Error, Result};

/// What a silo is to be: its kinds, its store, its limits.
#[must_use = "a silo starts with `.start().await`"]
pub struct SiloBuilder {
    kinds: Vec<Arc<dyn Registration>>,
    store: Option<Choice>,
    workers: Option<usize>,
    limits: Limits,
    data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    fault: Option<String>,
}

/// Which store.
enum Choice {
    Memory,
    #[cfg(feature = "embedded")]
    Embedded(PathBuf),
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
    fn new() -> Self {
        Self {
            kinds: Vec::new(),
            store: None,
            workers: None,
            limits: Limits::default(),
            data: HashMap::new(),
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

    /// Keeps everything in this store, which stays open when the silo stops: a silo can be started over it again.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(Choice::Given(store));
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
        let store: Arc<dyn Store> = match store {
            Choice::Memory => Arc::new(MemoryStore::new(uuid::Uuid::new_v4().as_u64_pair().0)),
            #[cfg(feature = "embedded")]
            Choice::Embedded(path) => Arc::new(crate::store::EmbeddedStore::open(path)?),
            Choice::Given(store) => store,
        };
        let shared = Arc::new(Shared::new(store, self.limits, workers, self.data));
        let (started, up) = oneshot::channel();
        let (ended, stopped) = mpsc::channel();
        let running = shared.clone();
        let thread = std::thread::Builder::new()
            .name("grange-silo".into())
            .spawn(move || host(&running, &kinds, started, &ended))
            .map_err(|error| Error::Config(format!("no thread can be started: {error}")))?;
        let system = up
            .await
            .map_err(|_| Error::Config("the silo's threads ended while they started; the log has more".into()))?;
        let ticking = shared.clone();
        let clock = std::thread::Builder::new()
            .name("grange-clock".into())
            .spawn(move || clock::run(&ticking, &stopped))
            .map_err(|error| Error::Config(format!("no thread can be started: {error}")))?;
        tracing::info!(target: "grange", silo = %shared.incarnation, workers, "a silo has started");
        Ok(Silo { shared, system, _threads: [thread, clock], owns_store })
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
            Some(Choice::Given(store)) => Choice::Given(store.clone()),
            None => {
                return Err(Error::Config(
                    "no store was chosen: say `.embedded(\"./data\")`, or `.in_memory()` for what may be lost".into(),
                ));
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.workers.unwrap_or(cores) {
            0 => Err(Error::Config("a silo needs at least one worker".into())),
            workers if workers > 1024 => Err(Error::Config(format!("{workers} workers are more than 1024"))),
            workers => Ok((self.kinds.clone(), store, workers)),
        }
    }
}

/// The silo's thread: its actix system, its arbiters, its agenda.
fn host(
    shared: &Arc<Shared>,
    kinds: &[Arc<dyn Registration>],
    started: oneshot::Sender<System>,
    _ended: &mpsc::Sender<()>,
) {
    let system = System::new();
    let arbiters = system.block_on(async {
        let (mut arbiters, mut ready) = (Vec::new(), Vec::new());
        for index in 0..shared.arbiters.len() {
            let arbiter = Arbiter::new();
            let (kinds, shared) = (kinds.to_vec(), shared.clone());
            let (up, is_up) = oneshot::channel();
            arbiter.spawn(async move {
                let hosts = kinds.iter().map(|kind| kind.start(&shared, index)).collect();
                actix_rt::spawn(look_after(hosts, shared, index));
                let _ = up.send(());
            });
            ready.push(is_up);
            arbiters.push(arbiter);
        }
        for is_up in ready {
            if is_up.await.is_err() {
                return arbiters;
            }
        }
        let mut opened = Kinds::default();
        for kind in kinds {
            let (type_id, port, letterbox) = kind.open(shared);
            opened.by_type.insert(type_id, port);
            opened.by_name.insert(kind.kind(), letterbox);
        }
        let _ = shared.kinds.set(opened);
        actix_rt::spawn(agenda::watch(shared.clone()));
        let _ = started.send(System::current());
        arbiters
    });
    if let Err(error) = system.run() {
        tracing::error!(target: "grange", %error, "the silo's system ended with an error");
    }
    // What is still in them is dropped by their own threads, and its callers hear of it; only then the clock stops.
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join();
    }
}

/// Sweeps an arbiter's hosts, and says how much lives there.
async fn look_after(hosts: Vec<Rc<dyn Sweep>>, shared: Arc<Shared>, arbiter: usize) {
    let desk = &shared.arbiters[arbiter];
    loop {
        tokio::time::sleep(SWEEP).await;
        let live: usize = hosts.iter().map(|host| host.clone().sweep()).sum();
        desk.live.store(live, Ordering::Relaxed);
        desk.sweeps.fetch_add(1, Ordering::Release);
    }
}

/// A process's part of grange: hosts activations on threads of its own.
///
/// Dropping it without [`shutdown`](Self::shutdown) stops it where it is: what was answered is in the store, turns that
/// run are cut off.
pub struct Silo {
    shared: Arc<Shared>,
    system: System,
    /// They end by themselves: the clock when every arbiter has.
    _threads: [JoinHandle<()>; 2],
    /// A store that was given is its giver's to close.
    owns_store: bool,
}

impl fmt::Debug for Silo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Silo({})", self.shared.incarnation)
    }
}

impl Silo {
    /// Describes a silo.
    pub fn builder() -> SiloBuilder {
        SiloBuilder::new()
    }

    /// Describes a silo by the environment: `GRANGE_EMBEDDED` (a directory) or `GRANGE_IN_MEMORY=1`, `GRANGE_WORKERS`
    /// (a number). What is called on the builder afterwards wins.
    pub fn from_env() -> SiloBuilder {
        let mut builder = SiloBuilder::new();
        #[cfg(feature = "embedded")]
        if let Some(path) = std::env::var_os("GRANGE_EMBEDDED") {
            builder = builder.embedded(PathBuf::from(path));
        }
        if std::env::var_os("GRANGE_IN_MEMORY").is_some_and(|value| value == "1") {
            builder = builder.in_memory();
        }
        if let Ok(workers) = std::env::var("GRANGE_WORKERS") {
            match workers.parse() {
                Ok(workers) => builder = builder.workers(workers),
                Err(_) => {
                    builder.fault = Some(format!("GRANGE_WORKERS is `{workers}`: it must be a number, such as 4"))
                }
            }
        }
        builder
    }

    pub(crate) fn realm(&self) -> Arc<dyn Realm> {
        self.shared.clone()
    }

    /// What the silo did since it started.
    pub fn metrics(&self) -> Metrics {
        Metrics::sum(self.shared.arbiters.iter().map(|arbiter| &arbiter.shard))
    }

    /// What its store did since it was opened.
    pub fn store_stats(&self) -> Stats {
        self.shared.store.stats()
    }

    /// How many entities are in memory, to within a sweep of 20 ms.
    pub fn activations(&self) -> usize {
        self.shared.arbiters.iter().map(|desk| desk.live.load(Ordering::Relaxed)).sum()
    }

    /// At most `limit` dead letters: messages that ended without their effect and had no continuation to tell. The
    /// entity that holds each, and its number there.
    ///
    /// # Errors
    /// When the store does not answer, or a letter can't be decoded.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<(EntityId, u64, DeadLetter)>> {
        let letters = self.shared.store.letters(limit).await?;
        letters
            .into_iter()
            .map(|(entity, number, letter)| {
                let letter =
                    decode(&letter).map_err(|error| Error::Stopped(format!("a letter of {entity}: {error}")))?;
                Ok((entity, number, letter))
            })
            .collect()
    }

    /// Drops a dead letter that somebody has seen to. It is gone a moment later; listing them again shows it.
    pub fn drop_dead_letter(&self, entity: &EntityId, number: u64) {
        self.shared.post(Post::Parcel(Parcel::DropLetter { entity: entity.clone(), number }));
    }

    /// Finishes what runs and waits, commits, runs `on_deactivate`, releases, and stops. New calls are refused. Messages
    /// that are not delivered yet stay in their outboxes, and go on when a silo is started over the same store.
    ///
    /// # Errors
    /// When turns were still at work after the limit for it: they were cut off, and rolled back.
    pub async fn shutdown(mut self) -> Result<()> {
        self.shared.drain();
        let deadline = tokio::time::Instant::now() + self.shared.limits.drain;
        // Two sweeps later: the first may be at work now, the second has seen that the silo drains.
        let sweeps = || self.shared.arbiters.iter().map(|desk| desk.sweeps.load(Ordering::Acquire));
        let enough: Vec<u64> = sweeps().map(|sweeps| sweeps + 2).collect();
        let has_drained = || sweeps().zip(&enough).all(|(sweeps, enough)| sweeps >= *enough) && self.activations() == 0;
        while !has_drained() && tokio::time::Instant::now() < deadline {
            self.pause().await;
        }
        let left = self.activations();
        let drained = has_drained();
        let closed = if std::mem::take(&mut self.owns_store) { self.shared.store.close().await } else { Ok(()) };
        self.stop();
        closed?;
        if !drained {
            return Err(Error::Stopped(format!(
                "{left} entities were still at work after {:?}: their turns were cut off and rolled back",
                self.shared.limits.drain
            )));
        }
        Ok(())
    }

    /// A moment, by the silo's own clock: the caller may be in any runtime, or in none.
    async fn pause(&self) {
        let (done, wait) = oneshot::channel();
        self.system.arbiter().spawn(async move {
            tokio::time::sleep(SWEEP * 2).await;
            let _ = done.send(());
        });
        let _ = wait.await;
    }

    fn stop(&mut self) {
        self.shared.drain();
        self.system.stop();
    }
}

impl Drop for Silo {
    fn drop(&mut self) {
        self.stop();
        if self.owns_store {
            // It closes by itself: what it promised is kept, and a directory can be opened again.
            drop(self.shared.store.close());
        }
    }
}
