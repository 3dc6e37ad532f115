use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Actor;
use benchmarks::arbiter::{self, Driver};
use benchmarks::bare::Bare;
use benchmarks::callers::Callers;
use benchmarks::raw::{Add, Raw};
use benchmarks::subjects::{Counter, Light};
use benchmarks::{Case, Goal, Sample, Table, Unit, rounds};
use grange::prelude::*;

use crate::Bench;

/// Nobody was called by this key before.
static FRESH: AtomicU64 = AtomicU64::new(0);

fn fresh() -> u64 {
    FRESH.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn volatile(bench: &Bench, title: &str) -> Table {
    const ACTIVATION: &str = "first ask of a volatile entity";
    let Bench { runtime, options, .. } = bench;
    let silo = Silo::builder().entity::<Driver>().entity::<Light>().in_memory().workers(1);
    let silo = runtime.block_on(silo.start()).expect("starts");
    let (client, callers) = (silo.client(), Callers(500));
    let cases = vec![
        Case::limit("start of an actix actor, and a send", |operations| {
            runtime.block_on(arbiter::run(&client, move || callers.work(operations, |_| started())))
        }),
        Case::grange(ACTIVATION, |operations| {
            let inner = client.clone();
            runtime.block_on(arbiter::run(&client, move || async move {
                let ask = async |_| {
                    black_box(inner.entity::<Light>(fresh()).add(1).await.expect("answers"));
                };
                callers.work(operations, ask).await
            }))
        }),
    ];
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    table.goal(ACTIVATION, Goal::ValueAtLeast(500_000.0));
    table.note("the entities stay in memory, the actors end");
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}

async fn started() {
    Raw::default().start().send(Add(1)).await.expect("answers");
}

pub(crate) fn hundred(bench: &Bench, title: &str) -> Table {
    durable(bench, title, Callers(100))
}

pub(crate) fn thousand(bench: &Bench, title: &str) -> Table {
    durable(bench, title, Callers(1_000))
}

fn durable(bench: &Bench, title: &str, callers: Callers) -> Table {
    const ACTIVATION: &str = "first read of a durable entity";
    let Bench { runtime, redis, options } = bench;
    let silo = Silo::builder().entity::<Counter>().redis(redis.url()).cluster("claims").listen("127.0.0.1:0");
    let silo = runtime.block_on(silo.start()).expect("starts");
    let (client, bare) = (silo.client(), runtime.block_on(Bare::prepare(redis, 1)));
    let cases = vec![
        Case::limit("bare claim script, redis crate", |operations| runtime.block_on(bare.claims(callers, operations))),
        Case::grange(ACTIVATION, |operations| runtime.block_on(reads(&client, callers, operations))),
    ];
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    table.goal(ACTIVATION, Goal::RatioAtLeast(0.6));
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}

async fn reads(client: &Client, callers: Callers, operations: u64) -> Sample {
    let client = client.clone();
    let read = move |_| {
        let call = client.entity::<Counter>(fresh()).get();
        async move {
            call.await.expect("answers");
        }
    };
    callers.tasks(operations, read).await
}
