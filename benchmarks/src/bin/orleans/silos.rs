use std::time::Duration;

use benchmarks::arbiter::Driver;
use benchmarks::processes::{Running, serve_until_alone};
use benchmarks::servers::{Fsync, Redis};
use grange::{Client, Silo, SiloBuilder};

use crate::entities::{Document, Ping, Purse, Tree};

const CLUSTER: &str = "orleans";

/// What silos and clients prove to each other that they know.
const SECRET: &str = "a secret of the benchmark";

/// A silo of this process: hosts every kind, and callers on its arbiters.
pub(crate) fn host() -> SiloBuilder {
    grains().entity::<Driver>()
}

/// Hosts every kind, and nobody who calls: those are in one silo only, and so can't be elsewhere.
fn grains() -> SiloBuilder {
    roomy().entity::<Ping>().entity::<Tree>().entity::<Document>().entity::<Purse>()
}

/// As many may wait as there are callers: what is measured is not who is refused.
fn roomy() -> SiloBuilder {
    Silo::builder().limits(|limits| limits.mailbox_calls_max = 100_000)
}

fn in_cluster(silo: SiloBuilder, redis: &str) -> SiloBuilder {
    silo.workers(1).redis(redis).cluster(CLUSTER).secret(SECRET).listen("127.0.0.1:0")
}

/// Silos in processes of their own, on a Redis without a file, and a client of them in this one.
pub(crate) struct Cluster {
    redis: Redis,
    silos: Vec<Running>,
    pub(crate) client: Client,
}

impl Cluster {
    pub(crate) async fn start(silos: usize) -> Self {
        let redis = Redis::start(Fsync::NoFile).await;
        let silos: Vec<Running> = (0..silos).map(|_| silo(&redis)).collect();
        // Slices of the partitions move to those that came later.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let gateways: Vec<&str> = silos.iter().map(Running::said).collect();
        let client = Client::connect(gateways).cluster(CLUSTER).secret(SECRET).await.expect("a client connects");
        Self { redis, silos, client }
    }

    /// One silo of it, in this process, that hosts no grains: whatever it calls is in another silo.
    pub(crate) async fn caller(&self) -> Silo {
        in_cluster(roomy().entity::<Driver>(), &self.redis.url()).start().await.expect("a silo starts")
    }

    /// How many there are.
    pub(crate) fn silos(&self) -> usize {
        self.silos.len()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, number: usize) {
        let place = number % self.silos.len();
        self.silos[place].kill();
    }

    /// Starts another one in place of one that was killed.
    pub(crate) fn replace(&mut self, number: usize) {
        let place = number % self.silos.len();
        self.silos[place] = silo(&self.redis);
    }
}

fn silo(redis: &Redis) -> Running {
    Running::again(&["silo", &redis.url()])
}

/// A silo's process: says its address when it serves.
pub(crate) fn serve(arguments: &[String]) {
    let [redis] = arguments else { panic!("silo URL") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let silo = runtime.block_on(in_cluster(grains(), redis).start()).expect("a silo starts");
    serve_until_alone(silo.address().expect("it listens"));
    drop(silo);
}

/// A runtime for the callers of this process.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
