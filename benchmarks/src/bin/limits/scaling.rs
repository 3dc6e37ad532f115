use std::time::Duration;

use benchmarks::callers::Callers;
use benchmarks::subjects::{Light, asks};
use benchmarks::{Case, Goal, Sample, Table, Unit, rounds};
use grange::prelude::*;
use rustix::time::{ClockId, clock_gettime};

use crate::Bench;

const KEYS: u64 = 10_000;
const SIZES: [usize; 3] = [1, 2, 4];

/// Callers for each silo: the load grows with the cluster, so that as many calls share a write to each connection.
const CALLERS_EACH: u64 = 100;

/// Silos of one size of cluster, and a client that reaches them over TCP.
struct Cluster {
    silos: Vec<Silo>,
    client: Client,
}

pub(crate) fn table(bench: &Bench, title: &str) -> Table {
    let Bench { runtime, options, .. } = bench;
    let clusters: Vec<Cluster> = SIZES.iter().map(|size| runtime.block_on(cluster(bench, *size))).collect();
    let case = |(cluster, size): (&Cluster, usize)| {
        let (client, callers) = (cluster.client.clone(), Callers(CALLERS_EACH * size as u64));
        Case::grange(name(size), move |operations| {
            let before = processor_time();
            let sample = runtime.block_on(asks(&client, callers, KEYS, operations));
            Sample { elapsed: processor_time() - before, ..sample }
        })
    };
    let cases = clusters.iter().zip(SIZES).map(case).collect();
    let mut table = Table::new(title, Unit::NanosEach, rounds(options, cases));
    for size in &SIZES[1..] {
        table.goal(&name(*size), Goal::RatioAtMost(1.1));
    }
    table.note(
        "processor time of the whole process, silos and client, for each ask; 100 callers a silo, 10,000 volatile entities",
    );
    table.note(
        "all silos share this machine's cores, so the rate can't grow with them: what can grow is the cost of a call",
    );
    runtime.block_on(async {
        for silo in clusters.into_iter().flat_map(|cluster| cluster.silos) {
            silo.shutdown().await.expect("stops");
        }
    });
    table
}

fn name(silos: usize) -> String {
    if silos == 1 { "1 silo".into() } else { format!("{silos} silos") }
}

async fn cluster(bench: &Bench, size: usize) -> Cluster {
    let name = format!("silos{size}");
    let mut silos = Vec::new();
    for _ in 0..size {
        let silo = Silo::builder().entity::<Light>().redis(bench.redis.url()).cluster(&name).listen("127.0.0.1:0");
        silos.push(silo.workers(1).start().await.expect("starts"));
    }
    let addresses: Vec<String> = silos.iter().filter_map(|silo| silo.address().map(str::to_owned)).collect();
    let client = Client::connect(addresses).cluster(&name).await.expect("connects");
    Cluster { silos, client }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
