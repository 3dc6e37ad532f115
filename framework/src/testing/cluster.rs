use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::Scatter;
use crate::store::{MemoryStore, Partitions, Store};
use crate::testing::FaultyStore;
use crate::world::World;
use crate::{Client, Error, Result, Silo, SiloBuilder};

/// How long silos may take to agree on who there is.
const AGREE: Duration = Duration::from_secs(10);

/// Between two looks at what a test waits for.
const LOOK: Duration = Duration::from_millis(5);

/// Several silos in this process, over a store in memory that can fail, and a client that reaches them over TCP: your
/// entities as they live in production, where a call may leave the silo, and a silo may die.
///
/// It lives in real time: who takes over from a silo that died does so when its lease is over, after 1.5 s.
///
/// ```
/// # use grange::prelude::*;
/// use grange::testing::TestCluster;
/// # #[entity]
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Counter { n: u64 }
/// # #[entity]
/// # impl Counter {
/// #     async fn add(&mut self, n: u64) -> u64 { self.n += n; self.n }
/// # }
/// # #[grange::main]
/// # async fn main() -> grange::Result<()> {
/// let mut cluster = TestCluster::start(2, |silo| silo.entity::<Counter>()).await?;
/// let counter = cluster.client().entity::<Counter>("a");
/// counter.add(1).idempotent(Uuid::now_v7()).await.expect("answers");
/// cluster.crash(0).await;
/// // What was answered is there, whichever silo the entity lived on.
/// assert_eq!(counter.add(1).idempotent(Uuid::now_v7()).await, Ok(2));
/// cluster.stop().await
/// # }
/// ```
pub struct TestCluster {
    store: Arc<FaultyStore>,
    name: String,
    describe: Box<dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync>,
    world: World,
    /// By their numbers; `None`: it has crashed or left.
    silos: Vec<Option<Silo>>,
    client: Client,
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCluster").field("silos", &self.silos).finish_non_exhaustive()
    }
}

impl TestCluster {
    /// So many silos, each described by `describe`: the kinds that it hosts, its limits, its data. Store, name and address
    /// are the cluster's.
    ///
    /// # Errors
    /// What [`SiloBuilder::start`] says of the first that does not start; [`Error::Config`] for none at all.
    pub async fn start(
        silos: usize,
        describe: impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::start_in(World::default(), silos, Box::new(describe)).await
    }

    /// The same, where nobody lives beside another by accident: what relies on a neighbour fails. What holds exactly is said
    /// at [`Simulation::scatter`](crate::testing::Simulation::scatter); here silos have threads of their own, so that
    /// thread-locals are apart, too. `static`s are not.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn scattered(
        silos: usize,
        describe: impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static,
    ) -> Result<Self> {
        let world = World::default().scattered(Some(Arc::new(Scatter::default())));
        Self::start_in(world, silos, Box::new(describe)).await
    }

    async fn start_in(
        world: World,
        silos: usize,
        describe: Box<dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync>,
    ) -> Result<Self> {
        if silos == 0 {
            return Err(Error::Config("a cluster has at least one silo".into()));
        }
        let store = FaultyStore::new(Arc::new(MemoryStore::new(Uuid::new_v4().as_u64_pair().0 >> 12)));
        // Silos end, and the store stays.
        store.keep_open();
        let name = format!("test-{}", Uuid::new_v4());
        let first = start(&store, &name, &world, &*describe).await?;
        let client = Client::connect(first.address()).cluster(&name).in_world(world.clone()).await?;
        let mut cluster = Self { store, name, describe, world, silos: vec![Some(first)], client };
        for _ in 1..silos {
            let silo = cluster.one_more().await?;
            cluster.silos.push(Some(silo));
        }
        cluster.agreed().await?;
        Ok(cluster)
    }

    /// A client of all of them. It goes on when silos come and go, as long as there is one.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The store that they share: it can be told to hold commits back, to fail, to lose answers.
    pub fn store(&self) -> &FaultyStore {
        &self.store
    }

    /// The silo with this number, the first being 0; `None`: there is none, or it has crashed or left.
    pub fn silo(&self, number: usize) -> Option<&Silo> {
        self.silos.get(number).and_then(Option::as_ref)
    }

    /// One more silo, which has its share when this returns; says its number.
    ///
    /// # Errors
    /// What [`SiloBuilder::start`] says.
    pub async fn add(&mut self) -> Result<usize> {
        let silo = self.one_more().await?;
        self.silos.push(Some(silo));
        self.agreed().await?;
        Ok(self.silos.len() - 1)
    }

    async fn one_more(&self) -> Result<Silo> {
        start(&self.store, &self.name, &self.world, &*self.describe).await
    }

    /// Waits until each silo has a share of the entities, by the same table.
    async fn agreed(&self) -> Result<()> {
        let end = Instant::now() + AGREE;
        loop {
            let versions: Vec<_> = self.silos.iter().flatten().map(Silo::table_version).collect();
            if versions.iter().all(|version| version.is_some() && *version == versions[0]) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Error::Config(format!(
                    "the silos did not agree within {AGREE:?}: their tables are {versions:?}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// This silo dies where it is, as by `kill -9`: nothing of it is written from now on. Its entities live on elsewhere
    /// when its lease is over. One that has crashed or left stays as it is.
    pub async fn crash(&mut self, number: usize) {
        let Some(silo) = self.silos.get_mut(number).and_then(Option::take) else { return };
        self.store.kill(silo.incarnation());
        drop(silo);
    }

    /// This silo finishes what it has, gives its entities to the others, and leaves.
    ///
    /// # Errors
    /// What [`Silo::shutdown`] says.
    pub async fn leave(&mut self, number: usize) -> Result<()> {
        match self.silos.get_mut(number).and_then(Option::take) {
            Some(silo) => silo.shutdown().await,
            None => Ok(()),
        }
    }

    /// Waits until nothing is under way: no message that is not applied, no reminder that waits.
    ///
    /// # Errors
    /// [`Error::Stopped`] after `limit`, with the entities that still have something under way.
    pub async fn settled(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let due = self.store.due(Partitions::All, u64::MAX, 10).await?;
            if due.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                let names: Vec<String> = due.iter().map(|due| due.id.to_string()).collect();
                return Err(Error::Stopped(format!(
                    "something is still under way after {limit:?}, at {}",
                    names.join(", ")
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shuts every silo down, the last one last.
    ///
    /// # Errors
    /// What [`Silo::shutdown`] says of the first that could not finish.
    pub async fn stop(mut self) -> Result<()> {
        for number in 0..self.silos.len() {
            self.leave(number).await?;
        }
        Ok(())
    }
}

async fn start(
    store: &Arc<FaultyStore>,
    name: &str,
    world: &World,
    describe: &(dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync),
) -> Result<Silo> {
    let described = describe(Silo::builder()).in_world(world.clone());
    let silo = described.store(store.clone()).cluster(name).listen("127.0.0.1:0");
    match tokio::time::timeout(AGREE, silo.start()).await {
        Ok(started) => started,
        Err(_) => Err(Error::Config(format!("a silo did not become part of the cluster within {AGREE:?}"))),
    }
}
