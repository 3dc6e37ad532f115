use std::time::Duration;

use benchmarks::open_loop::LATE;
use benchmarks::processes;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Sample, arbiter};
use grange::SiloBuilder;
use grange::prelude::*;
use samples::market_spread::{LiveMarket, LiveMarketRef, Market, MarketRef};

use crate::sources::Sources;

const CLUSTER: &str = "market-spread";

/// What the silos prove to each other that they know.
const SECRET: &str = "a secret of the benchmark";

/// How the markets are kept, and where.
pub(crate) struct Mode {
    pub(crate) title: &'static str,
    entities: Entities,
    store: Where,
    silos: usize,
    /// Messages under way at a time, when it is to be as fast as it can.
    pub(crate) window: usize,
    pub(crate) goal_per_second: Option<f64>,
    pub(crate) notes: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entities {
    Volatile,
    Durable,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Memory,
    Redis(Fsync),
}

const IN_ONE: &str = "one silo of two arbiters in one process; a source on each arbiter; every input is an ask whose answer \
                      the source waits for";
const IN_TWO: &str = "two silos, a process and an arbiter each; both sources on the first one's arbiter; half of the symbols \
                      live in the second and are asked over loopback";
const ON_REDIS: &str = "one silo of one arbiter in one process, both sources on it, and Redis beside it; every input is an ask whose \
                        answer the source waits for; at 80 % the sources are busy all the time, also when nothing is due";
const READS: &str = "an order is a read, which commits nothing; a quote is a turn, committed before it is answered";

pub(crate) const MODES: [Mode; 6] = [
    Mode {
        title: "Market Spread, memory: volatile entities, one silo",
        entities: Entities::Volatile,
        store: Where::Memory,
        silos: 1,
        window: 700,
        goal_per_second: Some(1e6),
        notes: &[IN_ONE, "the mode that P1 to P5 can be laid beside: nothing is stored, nothing leaves the process"],
    },
    Mode {
        title: "Market Spread, memory store: durable entities, one silo",
        entities: Entities::Durable,
        store: Where::Memory,
        silos: 1,
        window: 700,
        goal_per_second: None,
        notes: &[IN_ONE, READS, "the whole way of a commit, to a store in this process's memory: lost with it"],
    },
    Mode {
        title: "Market Spread, Redis without a file, one silo",
        entities: Entities::Durable,
        store: Where::Redis(Fsync::NoFile),
        silos: 1,
        window: 2_800,
        goal_per_second: None,
        notes: &[ON_REDIS, READS],
    },
    Mode {
        title: "Market Spread, durable: Redis appendfsync always, one silo",
        entities: Entities::Durable,
        store: Where::Redis(Fsync::Always),
        silos: 1,
        window: 2_800,
        goal_per_second: None,
        notes: &[ON_REDIS, READS],
    },
    Mode {
        title: "Market Spread, two silos, memory: volatile entities",
        entities: Entities::Volatile,
        store: Where::Redis(Fsync::NoFile),
        silos: 2,
        window: 1_400,
        goal_per_second: None,
        notes: &[IN_TWO, "Redis knows who is there, and has no part in a message"],
    },
    Mode {
        title: "Market Spread, two silos, durable: Redis appendfsync always",
        entities: Entities::Durable,
        store: Where::Redis(Fsync::Always),
        silos: 2,
        window: 2_800,
        goal_per_second: None,
        notes: &[IN_TWO, READS],
    },
];

impl Mode {
    /// Of the silo in this process: one a core, but for those that Redis and other silos need.
    fn arbiters(&self) -> usize {
        if self.silos == 1 && self.store == Where::Memory { 2 } else { 1 }
    }

    /// A source that lags so much can't keep its schedule. It shares its arbiter with the commits and connections of a silo,
    /// where there are any; what a message waits for that is part of its latency.
    fn late(&self) -> Duration {
        match self.store {
            Where::Memory => LATE,
            Where::Redis(_) => 20 * LATE,
        }
    }
}

/// All that runs for a mode.
pub(crate) struct Running {
    silo: Silo,
    sources: Either,
    window: usize,
    late: Duration,
    _other: Option<processes::Running>,
    redis: Option<Redis>,
}

enum Either {
    Live(Sources<LiveMarketRef>),
    Kept(Sources<MarketRef>),
}

impl Running {
    pub(crate) async fn start(mode: &Mode) -> Self {
        let redis = match mode.store {
            Where::Memory => None,
            Where::Redis(fsync) => Some(Redis::start(fsync).await),
        };
        let arbiters = mode.arbiters();
        let silo = markets().entity::<arbiter::Driver>();
        let silo = match &redis {
            None => silo.workers(arbiters).in_memory().start().await,
            Some(redis) => in_cluster(silo, &redis.url(), arbiters).start().await,
        };
        let silo = silo.expect("a silo starts");
        let other =
            redis.as_ref().filter(|_| mode.silos == 2).map(|redis| processes::Running::again(&["silo", &redis.url()]));
        let client = silo.client();
        if other.is_some() {
            // A slice of the partitions moves to the other one, and nothing has been activated yet.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let sources = match mode.entities {
            Entities::Volatile => Either::Live(Sources::start(&client, arbiters).await),
            Entities::Durable => Either::Kept(Sources::start(&client, arbiters).await),
        };
        Self { silo, sources, window: mode.window, late: mode.late(), _other: other, redis }
    }

    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    pub(crate) async fn closed_loop(&self, operations: u64) -> Sample {
        match &self.sources {
            Either::Live(sources) => sources.closed_loop(operations, self.window).await,
            Either::Kept(sources) => sources.closed_loop(operations, self.window).await,
        }
    }

    pub(crate) async fn open_loop(&self, rate: f64, lasting: Duration) -> Sample {
        match &self.sources {
            Either::Live(sources) => sources.open_loop(rate, lasting, self.late).await,
            Either::Kept(sources) => sources.open_loop(rate, lasting, self.late).await,
        }
    }

    /// The schedule of [`open_loop`](Self::open_loop), kept by the same sources, whose inputs go nowhere: the machine's own latencies.
    pub(crate) async fn nothing(&self, rate: f64, lasting: Duration) -> Sample {
        match &self.sources {
            Either::Live(sources) => sources.nothing(rate, lasting, self.late).await,
            Either::Kept(sources) => sources.nothing(rate, lasting, self.late).await,
        }
    }

    pub(crate) async fn stop(self) {
        self.silo.shutdown().await.expect("the silo stops");
    }
}

/// The second silo, in a process of its own.
pub(crate) fn serve(redis: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let silo = runtime.block_on(in_cluster(markets(), redis, 1).start()).expect("a silo starts");
    processes::serve_until_alone("ready");
    drop(silo);
}

/// Hosts markets, and no sources: those are in the first silo only.
fn markets() -> SiloBuilder {
    let silo = Silo::builder().entity::<Market>().entity::<LiveMarket>();
    // As many as are under way: what is measured is not who is refused.
    silo.limits(|limits| limits.mailbox_calls_max = 100_000)
}

fn in_cluster(silo: SiloBuilder, redis: &str, arbiters: usize) -> SiloBuilder {
    silo.workers(arbiters).redis(redis).cluster(CLUSTER).secret(SECRET).listen("127.0.0.1:0")
}
