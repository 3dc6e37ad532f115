use benchmarks::callers::Callers;
use benchmarks::open_loop::open_loop;
use benchmarks::subjects::{Light, asks};
use benchmarks::{Case, Goal, Sample, Table, Unit, arbiter, rounds};
use futures_util::future::{Either, select};
use grange::prelude::*;

use crate::Bench;

const COOL: u64 = 1_000;
const PER_SECOND: f64 = 5_000.0;

/// The entities that 100 callers ask meanwhile, each as soon as it was answered; 0: there are no such callers.
const BESIDE: [(&str, u64); 3] = [("alone", 0), ("beside 100 callers on 1,000 others", 1_000), (HOT, 1)];
const HOT: &str = "beside 100 callers on one hot entity";

pub(crate) fn table(bench: &Bench, title: &str) -> Table {
    let Bench { runtime, options, .. } = bench;
    let silo = runtime.block_on(Silo::builder().entity::<Light>().in_memory().workers(1).start()).expect("starts");
    let client = silo.client();
    let lasting = options.round() * 5;
    let cases = BESIDE.map(|(name, others)| {
        let client = &client;
        Case::grange(name, move |_| {
            let client = client.clone();
            arbiter::outside(move || round(client, others, lasting))
        })
    });
    let measured = rounds(options, cases.into());
    let millis = |sample: &Sample| sample.latencies.as_ref().map_or(f64::NAN, |l| l.quantile(0.99).as_secs_f64() * 1e3);
    let values: Vec<Vec<f64>> = measured.iter().map(|row| row.samples.iter().map(millis).collect()).collect();
    let mut table = Table::new(title, Unit::Millis, measured);
    // The figure of a row is the p99 of each round; the quantiles of all its rounds are beside.
    table.rows.iter_mut().zip(values).for_each(|(row, values)| row.values = values);
    table.goal(HOT, Goal::RatioAtMost(3.0));
    table.note(format!(
        "{PER_SECOND} asks a second of the cool ones, open loop, latencies from the intended send time; one arbiter; all callers are on one thread"
    ));
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}

async fn round(client: Client, others: u64, lasting: Duration) -> Sample {
    let cool = client.clone();
    let measured = open_loop(PER_SECOND, lasting, move |number| {
        // A step that visits all of them, far from each other.
        let call = cool.entity::<Light>(10_000 + number * 617 % COOL).add(1);
        async move { call.await.is_ok() }
    });
    let beside = async {
        match others {
            0 => std::future::pending().await,
            others => loop {
                asks(&client, Callers(100), others, 5_000).await;
            },
        }
    };
    match select(Box::pin(measured), Box::pin(beside)).await {
        Either::Left((sample, _)) => sample,
        Either::Right(((), _)) => unreachable!("callers go on"),
    }
}
