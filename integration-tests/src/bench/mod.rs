//! Silos on a Redis, with proxies between where wanted, a load on them, and the verdict at the end.

mod hosted;
mod plan;

use std::path::{Path, PathBuf};
use std::time::Duration;

use grange::Client;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

pub use hosted::Hosted;
pub use plan::{Plan, Store};

use crate::load::{Keys, Load, Population, open_accounts, read_state};
use crate::random::Random;
use crate::recording::{Journal, Recording};
use crate::servers::{Redis, SiloProcess, SiloSettings, free_port};
use crate::verifier::{FinalState, History, Verdict, verify};
use crate::wait::{LIMIT, within};

/// The cluster's name.
pub const CLUSTER: &str = "bank";

/// What silos and clients prove to each other that they know.
const SECRET: &str = "a secret of the test bench";

/// How long everything may take to come to its end when the faults are over.
const SETTLES: Duration = Duration::from_secs(60);

/// How many benches of one program work at a time: more would starve each other of the machine's cores, and what is slow
/// for that reason says nothing.
static ROOM: Semaphore = Semaphore::const_new(2);

/// A cluster under test. When a test fails, it says its seed and keeps its directory.
#[derive(Debug)]
pub struct Bench {
    /// The silos, in the order in which they were added.
    pub silos: Vec<Hosted>,
    /// What they keep everything in.
    pub store: Store,
    /// The choices of this run.
    pub random: Random,
    /// The entities that the load works on.
    pub population: Population,
    plan: Plan,
    seed: u64,
    journals: usize,
    directory: Option<tempfile::TempDir>,
    _room: SemaphorePermit<'static>,
}

/// A load, and where it is recorded.
#[derive(Debug)]
pub struct Work {
    load: Load,
    journal: Journal,
}

impl Work {
    /// Where it is recorded.
    pub fn journal(&self) -> &Path {
        self.journal.path()
    }
}

impl Bench {
    /// Starts a store and silos, and opens the accounts.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(name: &str, seed: u64, plan: Plan) -> Self {
        let room = ROOM.acquire().await.expect("room is never closed");
        eprintln!("{name}: GRANGE_SEED={seed}");
        let directory = tempfile::Builder::new().prefix(&format!("grange-{name}-")).tempdir().expect("a directory");
        std::fs::write(directory.path().join("secret"), SECRET).expect("writing the secret");
        let store = Store::start(&plan).await;
        let mut bench = Self {
            silos: Vec::new(),
            store,
            random: Random::new(seed),
            population: Population::default(),
            plan,
            seed,
            journals: 0,
            directory: Some(directory),
            _room: room,
        };
        for _ in 0..bench.plan.silos {
            bench.add_silo().await;
        }
        open_accounts(&bench.client().await, &bench.population, &Keys::default()).await;
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().map(|directory| directory.path().join(name)).unwrap_or_default()
    }

    /// One more silo, which serves when this returns. Says its place.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn add_silo(&mut self) -> usize {
        let number = self.silos.len();
        let listen = format!("127.0.0.1:{}", free_port());
        let hosted = Hosted::proxies(&listen, &self.store, self.plan.has_proxies, &mut self.random);
        let (to_store, front) = hosted;
        let settings = SiloSettings {
            redis: match &to_store {
                Some(proxy) => self.store.first().url_at(&proxy.address()),
                None => self.store.url(),
            },
            advertise: front.as_ref().map_or_else(|| listen.clone(), crate::proxy::Proxy::address),
            listen,
            cluster: CLUSTER.into(),
            secret_file: self.path("secret"),
            weight: 1,
        };
        let silo = SiloProcess::start(&format!("silo-{number}"), &self.path(""), settings).await;
        self.silos.push(Hosted { silo, to_store, front });
        number
    }

    /// The only Redis, or the first of several.
    pub fn redis(&mut self) -> &mut Redis {
        self.store.first_mut()
    }

    /// Another server is the store from now on.
    pub fn replace_store(&mut self, redis: Redis) {
        self.store = Store::Single(redis);
    }

    /// A fresh client that knows the silos that run.
    ///
    /// # Panics
    /// When it can't connect.
    pub async fn client(&mut self) -> Client {
        let running = self.silos.iter_mut().filter_map(|hosted| {
            let runs = hosted.silo.process().has_ended().is_none();
            runs.then(|| hosted.silo.settings().listen.clone())
        });
        let addresses: Vec<String> = running.collect();
        self.client_of(&addresses).await
    }

    /// A client that knows these addresses.
    ///
    /// # Panics
    /// When it can't connect.
    pub async fn client_of(&self, addresses: &[String]) -> Client {
        let connecting = async { Client::connect(addresses.to_vec()).cluster(CLUSTER).secret(SECRET).await };
        let connected = within(&format!("a client of {addresses:?}"), LIMIT, connecting).await;
        connected.unwrap_or_else(|error| panic!("a client of {addresses:?}: {error}"))
    }

    /// Begins a load, through two clients of all silos.
    pub async fn work(&mut self) -> Work {
        let clients = [self.client().await, self.client().await];
        self.work_through(&clients)
    }

    /// Begins a load through these clients.
    pub fn work_through(&mut self, clients: &[Client]) -> Work {
        self.journals += 1;
        let journal = Journal::create(&self.path(&format!("journal-{}", self.journals)));
        let load =
            Load::start(clients, &journal, &self.population, &mut self.random, &self.plan.pace, &Keys::default());
        Work { load, journal }
    }

    /// Ends the load, waits until everything has come to its end, and checks it.
    ///
    /// # Panics
    /// When the load does not end, or entities don't answer although the faults are over.
    pub async fn judge(&mut self, work: Work, history: History) -> Verdict {
        let Work { load, journal } = work;
        load.stop().await;
        let recording = Recording::read(journal.path()).unwrap_or_else(|error| panic!("{error}"));
        let state = self.settle().await;
        let text = serde_json::to_vec_pretty(&state).expect("the state as JSON");
        std::fs::write(self.path(&format!("state-{}.json", self.journals)), text).expect("writing the state");
        verify(&recording, &state, history)
    }

    /// The same, and every promise has to be kept.
    ///
    /// # Panics
    /// When one was broken.
    pub async fn judge_good(&mut self, work: Work, history: History) -> Verdict {
        let verdict = self.judge(work, history).await;
        assert!(verdict.is_good(), "GRANGE_SEED={}\n{verdict}", self.seed);
        eprintln!("{:?}", verdict.figures);
        verdict
    }

    /// Waits until everything that is pending has come to its end, or the limit; the state then, read by a fresh client.
    async fn settle(&mut self) -> FinalState {
        let start = Instant::now();
        loop {
            let client = self.client().await;
            // First who has something under way: entities are read one after the other, and nothing may move between them.
            let due = self.store.due(CLUSTER).await;
            let mut state = read_state(&client, &self.population).await;
            state.due = Some(due);
            if state.is_drained() || start.elapsed() > SETTLES {
                return state;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lets the load work for so long.
    pub async fn pass(&self, time: Duration) {
        sleep(time).await;
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.directory.take().map(tempfile::TempDir::keep).unwrap_or_default();
            eprintln!("--- GRANGE_SEED={}; {self:#?}; recordings and logs are kept in {}", self.seed, kept.display());
        }
    }
}
