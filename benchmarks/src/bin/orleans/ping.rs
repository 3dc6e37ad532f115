use benchmarks::callers::Callers;
use benchmarks::{Case, Options, Report, Sample, Table, Unit, arbiter, rounds};
use futures_util::future::join_all;
use grange::{Client, Silo};
use tokio::runtime::Runtime;

use crate::entities::Ping;
use crate::silos::{Cluster, host, runtime};

/// `ConcurrentLoadGenerator`: as many workers, each with a grain of its own.
const WORKERS: u64 = 250;
const BLOCK: u64 = 500;

/// Blocks of each worker from a client in another process, and from a hosted one.
const BLOCKS: u64 = 10;
const BLOCKS_HOSTED: u64 = 30;

/// From where pings come, and where they go.
pub(crate) enum Way {
    /// A client in this process, silos in others.
    Client(Cluster),
    /// A silo of two arbiters in this process; callers on both.
    Hosted(Silo),
    /// A silo in this process that hosts no grains, and another one that hosts all.
    SiloToSilo(Silo, #[expect(dead_code, reason = "it lives as long as the way")] Cluster),
}

impl Way {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Client(cluster) if cluster.silos() == 1 => "client to silo".into(),
            Self::Client(cluster) => format!("client to {} silos", cluster.silos()),
            Self::Hosted(_) => "hosted client".into(),
            Self::SiloToSilo(..) => "silo to silo".into(),
        }
    }

    /// All that Orleans has, in its order.
    pub(crate) async fn all() -> [Self; 4] {
        let apart = Cluster::start(1).await;
        [
            Self::Client(Cluster::start(1).await),
            Self::Client(Cluster::start(2).await),
            Self::Hosted(host().workers(2).in_memory().start().await.expect("a silo starts")),
            Self::SiloToSilo(apart.caller().await, apart),
        ]
    }

    /// So many requests by so many workers.
    pub(crate) async fn run(&self, workers: u64, requests: u64) -> Sample {
        match self {
            Self::Client(cluster) => {
                let pings = pings(&cluster.client, 0..workers);
                Callers(workers).tasks(requests, move |worker| ask(pings[worker as usize].clone())).await
            }
            Self::Hosted(silo) => on_arbiters(&silo.client(), 2, workers, requests).await,
            Self::SiloToSilo(silo, _) => on_arbiters(&silo.client(), 1, workers, requests).await,
        }
    }
}

type PingRef = <Ping as grange::Entity>::Ref;

async fn ask(ping: PingRef) {
    ping.run().await.expect("a ping is answered");
}

fn pings(client: &Client, workers: std::ops::Range<u64>) -> Vec<PingRef> {
    workers.map(|worker| client.entity::<Ping>(worker)).collect()
}

/// The workers are spread over the arbiters of the client's silo.
async fn on_arbiters(client: &Client, arbiters: u64, workers: u64, requests: u64) -> Sample {
    let arbiters = arbiters.min(workers);
    let drivers = arbiter::drivers(client, arbiters as usize).await;
    let each = drivers.into_iter().enumerate().map(|(place, driver)| {
        let (share, own) = (workers / arbiters, client.clone());
        let pings = pings(&own, place as u64 * share..(place as u64 + 1) * share);
        arbiter::run_by(client, driver, move || async move {
            Callers(share).work(requests / arbiters, |worker| ask(pings[worker as usize].clone())).await
        })
    });
    let samples = join_all(each).await;
    let operations = samples.iter().map(|sample| sample.operations).sum();
    Sample::new(operations, samples.iter().map(|sample| sample.elapsed).max().unwrap_or_default())
}

/// One caller, one grain.
pub(crate) fn sequential(report: &mut Report) {
    const TITLE: &str = "sequential ping (Orleans: SequentialPing)";
    if !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let ways = runtime.block_on(async {
        [
            Way::Client(Cluster::start(1).await),
            Way::Hosted(host().workers(1).in_memory().start().await.expect("starts")),
        ]
    });
    let [client, hosted] = &ways;
    let Way::Hosted(silo) = hosted else { unreachable!("made above") };
    let outside = silo.client();
    let cases = vec![
        Case::grange("client to silo, another process", |requests| runtime.block_on(client.run(1, requests))),
        Case::grange("hosted client, another thread", |requests| {
            let ping = outside.entity::<Ping>(0);
            runtime.block_on(Callers(1).tasks(requests, move |_| ask(ping.clone())))
        }),
        Case::grange("hosted client, the grain's arbiter", |requests| {
            let client = outside.clone();
            runtime.block_on(on_arbiters(&client, 1, 1, requests))
        }),
    ];
    report.show(Table::new(TITLE, Unit::NanosEach, rounds(report.options(), cases)));
}

/// Many callers, a grain each.
pub(crate) fn concurrent(report: &mut Report) {
    const TITLE: &str = "concurrent ping (Orleans: ConcurrentPing)";
    if !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let ways = runtime.block_on(Way::all());
    let cases = ways.iter().map(|way| case(way, &runtime, report.options())).collect();
    let mut table = Table::new(TITLE, Unit::PerSecond, rounds(report.options(), cases));
    table.note(format!(
        "{WORKERS} workers, blocks of {BLOCK} requests: {BLOCKS} each, the hosted client {BLOCKS_HOSTED}{}",
        if report.options().quick { "; quick: a tenth" } else { "" }
    ));
    report.show(table);
}

fn case<'a>(way: &'a Way, runtime: &'a Runtime, options: &Options) -> Case<'a> {
    let blocks = if matches!(way, Way::Hosted(_)) { BLOCKS_HOSTED } else { BLOCKS };
    let requests = options.scale(WORKERS * BLOCK * blocks, WORKERS * BLOCK * blocks / 10);
    Case::grange(way.name(), move |_| runtime.block_on(way.run(WORKERS, requests)))
}
