use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "embedded")]
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::entity::Handlers;
use crate::silo::config::Limits;
use crate::silo::door::{Kind, Registration};
use crate::silo::process::Silo;
use crate::silo::shared::Shared;
use crate::silo::{clock, threads};
use crate::store::{MemoryStore, Store};
use crate::{Error, Result};

/// What a silo is to be: its kinds, its store, its limits.
#[must_use = "a silo starts with `.start().await`"]
pub struct SiloBuilder {
    kinds: Vec<Arc<dyn Registration>>,
    store: Option<Choice>,
    workers: Option<usize>,
    limits: Limits,
    data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) fault: Option<String>,
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
    pub(crate) fn new() -> Self {
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
        let opening = tokio::time::Instant::now();
        let store: Arc<dyn Store> = match store {
            Choice::Memory => Arc::new(MemoryStore::new(uuid::Uuid::new_v4().as_u64_pair().0)),
            #[cfg(feature = "embedded")]
            Choice::Embedded(path) => Arc::new(crate::store::EmbeddedStore::open(path)?),
            Choice::Given(store) => store,
        };
        if opening.elapsed() > std::time::Duration::from_secs(1) {
            tracing::info!(target: "grange", took = ?opening.elapsed(), "the store is open");
        }
        let shared = Arc::new(Shared::new(store, self.limits, workers, self.data));
        let (started, up) = oneshot::channel();
        let (ended, stopped) = mpsc::channel();
        let running = shared.clone();
        let thread = std::thread::Builder::new()
            .name("grange-silo".into())
            .spawn(move || threads::host(&running, &kinds, started, &ended))
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
        Ok(Silo::new(shared, system, [thread, clock], owns_store))
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
