//! A whole cluster of the real code in one thread, under virtual time, from a seed.
//!
//! Everything that a process takes from outside, its time, its connections, its store, its randomness, comes from the
//! simulation (after FoundationDB's; Zhou et al., SIGMOD 2021). So a run is repeated by its seed, down to the last event, and
//! what takes minutes takes milliseconds.

mod cluster;
mod faults;
mod network;
mod process;
mod report;
mod stage;
mod store;
mod sweep;
mod timeline;
mod writers;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::LocalSet;

pub use self::cluster::Simulated;
pub use self::faults::{Faults, Injected, Point};
pub use self::report::Report;
pub use self::sweep::{Failure, Sweep};
pub use self::timeline::{Event, Timeline};

use self::stage::{Plan, Stage};
use crate::entity::panic_text;
use crate::mutant::{Mutant, Planted};
use crate::{Result, SiloBuilder};

/// How long a simulation may take, in virtual time, unless said otherwise.
const LIMIT: Duration = Duration::from_secs(600);

type Describe = Arc<dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync>;

/// A cluster that lives in one thread, in virtual time, from a seed: the same seed, the same run.
///
/// ```
/// # use grange::prelude::*;
/// use grange::testing::{Faults, Simulation};
/// # #[entity]
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Counter { n: u64 }
/// # #[entity]
/// # impl Counter {
/// #     async fn add(&mut self, n: u64) -> u64 { self.n += n; self.n }
/// #     async fn n(&self) -> u64 { self.n }
/// # }
/// let counted_once = async |cluster: grange::testing::Simulated| {
///     let counter = cluster.client().entity::<Counter>("a");
///     let key = cluster.key();
///     while counter.add(1).idempotent(key).await.is_err() {}
///     cluster.calm().await;
///     assert_eq!(counter.n().await, Ok(1));
/// };
/// for seed in 0..10 {
///     let simulation = Simulation::new(seed).silos(3, |silo| silo.entity::<Counter>());
///     simulation.faults(Faults::all()).run(counted_once).expect_success();
/// }
/// ```
#[derive(Clone)]
pub struct Simulation {
    seed: u64,
    silos: usize,
    describe: Describe,
    faults: Faults,
    limit: Duration,
    clocks: bool,
    shards: usize,
    scatter: bool,
    mutant: Option<Mutant>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("seed", &self.seed).field("silos", &self.silos).finish_non_exhaustive()
    }
}

impl Simulation {
    /// One that this seed decides.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            silos: 0,
            describe: Arc::new(|silo| silo),
            faults: Faults::none(),
            limit: LIMIT,
            clocks: false,
            shards: 1,
            scatter: false,
            mutant: None,
        }
    }

    /// So many silos, each described by `describe`: the kinds that it hosts, its limits, its data.
    pub fn silos(
        mut self,
        silos: usize,
        describe: impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static,
    ) -> Self {
        (self.silos, self.describe) = (silos, Arc::new(describe));
        self
    }

    /// What goes wrong, by chance; nothing unless said otherwise.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The store's data is on so many shards, each of which fails over by itself; on one unless said otherwise. As in a Redis
    /// Cluster, a message may then outlive its sender's commit, or its target's.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The silos' clocks run up to 10 % too fast or too slow.
    pub fn clocks_that_drift(mut self) -> Self {
        self.clocks = true;
        self
    }

    /// Nobody lives beside another by accident, so that what relies on a neighbour fails: state of the process that two
    /// entities share (what [`SiloBuilder::data`] gave them), an ask that happened to be local and moved its arguments, an
    /// order that one silo's queue gave.
    ///
    /// In place of any placement, also `placement = "local"`, each new id goes to the silo that was given the fewest. So:
    ///
    /// * while there are as many living silos as ids, no two share one: `silos(5, …)` for five entities;
    /// * with more ids than silos, one that a turn is the first to name does not live in the silo of that turn, as long as
    ///   no silo comes or goes;
    /// * as everywhere, placement is a hint and the claim decides: while silos do not agree on who there is, an entity may
    ///   be loaded beside another.
    ///
    /// The silos of a simulation are one thread of one process: `static`s and thread-locals are shared by all of them,
    /// scattered or not. What stands for a process's own goes in by [`SiloBuilder::data`], which each silo has for itself;
    /// thread-locals are apart in [`TestCluster::scattered`](crate::testing::TestCluster::scattered).
    pub fn scatter(mut self) -> Self {
        self.scatter = true;
        self
    }

    /// A mistake that grange makes in this run: to see that what the body asserts would notice.
    pub fn mutant(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// How long it may take, in virtual time; 10 minutes unless said otherwise.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `body` beside the cluster. A panic in it is a failed run, as is one that does not end, and one in which the store saw
    /// two writers of one entity.
    pub fn run<T>(&self, body: impl AsyncFnOnce(Simulated) -> T) -> Report<T> {
        self.run_with(Plan::Likely(self.faults.clone()), false, body)
    }

    fn run_with<T>(&self, plan: Plan, listed: bool, body: impl AsyncFnOnce(Simulated) -> T) -> Report<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return self.report(Err(format!("no runtime: {error}")), None, String::new()),
        };
        let repeated = self.repeated(&plan);
        let _planted = Planted::plant(self.mutant);
        let everybody = LocalSet::new();
        let (outcome, stage) = everybody.block_on(&runtime, async {
            let stage = Arc::new(Stage::new(self.seed, plan, listed));
            let running = AssertUnwindSafe(self.live(stage.clone(), body)).catch_unwind();
            let outcome = match tokio::time::timeout(self.limit, running).await {
                Ok(Ok(Ok(value))) => Ok(value),
                Ok(Ok(Err(error))) => Err(format!("the cluster did not start: {error}")),
                Ok(Err(panic)) => Err(panic_text(&*panic).to_owned()),
                Err(_) => Err(format!("it did not end within {:?} of virtual time", self.limit)),
            };
            let broken = stage.writers().verdict().1.into_iter().next();
            (outcome.and_then(|value| broken.map_or(Ok(value), Err)), stage)
        });
        let report = self.report(outcome, Some(&stage), repeated);
        drop(everybody);
        report
    }

    /// How a run by this plan is repeated, for people.
    fn repeated(&self, plan: &Plan) -> String {
        let seed = self.seed;
        match plan {
            Plan::Exactly(faults) if !faults.is_empty() => {
                let faults: Vec<String> =
                    faults.iter().map(|(point, fault)| format!("({point}, Injected::{fault:?})")).collect();
                format!("`run_exactly([{}], …)` of the same `Simulation::new({seed})` repeats it", faults.join(", "))
            }
            Plan::Exactly(_) => format!("`run_exactly([], …)` of the same `Simulation::new({seed})` repeats it"),
            Plan::Likely(_) => format!("the same `Simulation::new({seed})` repeats it"),
        }
    }

    fn report<T>(&self, outcome: std::result::Result<T, String>, stage: Option<&Stage>, repeated: String) -> Report<T> {
        let writes = stage.map_or(0, |stage| stage.writers().verdict().0);
        let (timeline, injected, points, listed) = stage.map(Stage::close).unwrap_or_default();
        Report { outcome, seed: self.seed, timeline, injected, points, writes, listed, repeated }
    }

    async fn live<T>(&self, stage: Arc<Stage>, body: impl AsyncFnOnce(Simulated) -> T) -> Result<T> {
        stage.set_active(false);
        let cluster = Simulated::start(stage.clone(), self).await?;
        stage.note("test", "the cluster is there");
        stage.set_active(true);
        let value = body(cluster).await;
        stage.note("test", "it is over");
        Ok(value)
    }
}
