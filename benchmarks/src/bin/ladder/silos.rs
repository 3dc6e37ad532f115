use benchmarks::Sample;
use benchmarks::arbiter::Driver;
use benchmarks::callers::Callers;
use benchmarks::local::Local;
use benchmarks::servers::Redis;
use benchmarks::subjects::{Counter, Home, Hopper, Light, pairs_across};
use grange::SiloBuilder;
use grange::prelude::*;
use tokio::runtime::Runtime;

/// As many as there are callers at most.
pub(crate) const PAIRS: usize = 100;

/// One silo for each rung, with one arbiter each, so that callers there are on the arbiter of what they call.
pub(crate) struct Silos<'a> {
    /// The runtime of whoever calls from outside.
    pub(crate) runtime: &'a Runtime,
    pub(crate) redis: &'a Redis,
    /// In memory, alone, and it does not listen.
    pub(crate) memory: Silo,
    /// On disk, alone.
    pub(crate) embedded: Silo,
    /// On Redis, alone in its cluster.
    pub(crate) on_redis: Silo,
    /// In memory, and it listens.
    pub(crate) listening: Silo,
    /// Two on Redis.
    pub(crate) pair: [Silo; 2],
    /// A client of `listening` over TCP, in the runtime.
    pub(crate) to_listening: Client,
    /// A client of `on_redis` over TCP, in the runtime.
    pub(crate) to_redis: Client,
    /// Entities of the two of which one lives here and one there.
    pub(crate) across: Vec<(u64, u64)>,
    _directory: tempfile::TempDir,
}

impl<'a> Silos<'a> {
    pub(crate) fn start(runtime: &'a Runtime, redis: &'a Redis) -> Self {
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a directory");
            let start = async |builder: SiloBuilder| builder.start().await.expect("a silo starts");
            let on_redis = |cluster, home| hosting(home).redis(redis.url()).cluster(cluster).listen("127.0.0.1:0");
            let listening = start(hosting(0).in_memory().listen("127.0.0.1:0")).await;
            let pair = [start(on_redis("pair", 0)).await, start(on_redis("pair", 1)).await];
            let on_redis = start(on_redis("alone", 0)).await;
            let connect = async |silo: &Silo, cluster| {
                let connecting = Client::connect([silo.address().expect("it listens")]).cluster(cluster);
                connecting.await.expect("a client connects")
            };
            Self {
                runtime,
                redis,
                memory: start(hosting(0).in_memory()).await,
                embedded: start(hosting(0).embedded(directory.path())).await,
                to_listening: connect(&listening, "grange").await,
                to_redis: connect(&on_redis, "alone").await,
                across: pairs_across(&pair[0].client(), PAIRS).await,
                on_redis,
                listening,
                pair,
                _directory: directory,
            }
        })
    }

    /// Work on the arbiter of one of the silos.
    pub(crate) fn local(&self, local: Local, silo: &Silo, callers: Callers, operations: u64) -> Sample {
        local.on_arbiter(self.runtime, &silo.client(), callers, operations)
    }

    pub(crate) fn stop(self) {
        let Self { runtime, memory, embedded, on_redis, listening, pair: [first, second], .. } = self;
        runtime.block_on(async {
            for silo in [memory, embedded, on_redis, listening, first, second] {
                silo.shutdown().await.expect("a silo stops");
            }
        });
    }
}

fn hosting(home: u32) -> SiloBuilder {
    let silo = Silo::builder().entity::<Driver>().entity::<Light>().entity::<Counter>().entity::<Hopper>();
    silo.workers(1).data(Home(home))
}
