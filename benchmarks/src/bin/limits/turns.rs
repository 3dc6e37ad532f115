use benchmarks::bare::{Bare, by_redis_benchmark};
use benchmarks::callers::Callers;
use benchmarks::subjects::{Counter, turns};
use benchmarks::{Case, Goal, Table, Unit, rounds};
use grange::prelude::*;

use crate::Bench;

const ENTITIES: u64 = 10_000;
const BARE: &str = "bare commit script, redis crate";
const TURN: &str = "durable turn";

pub(crate) fn one(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(1), None)
}

pub(crate) fn hundred(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(100), Some(0.85))
}

pub(crate) fn thousand(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(1_000), Some(0.95))
}

fn table(bench: &Bench, title: &str, callers: Callers, goal: Option<f64>) -> Table {
    let Bench { runtime, redis, options } = bench;
    let (bare, silo) = runtime.block_on(async {
        let silo = Silo::builder().entity::<Counter>().redis(redis.url()).cluster("turns").listen("127.0.0.1:0");
        let silo = silo.start().await.expect("starts");
        // All are in memory: claims are measured elsewhere.
        turns(&silo.client(), Callers(100), ENTITIES, ENTITIES).await;
        (Bare::prepare(redis, ENTITIES).await, silo)
    });
    let client = silo.client();
    let mut cases = vec![
        Case::limit(BARE, |operations| runtime.block_on(bare.commits(callers, operations))),
        Case::grange(TURN, |operations| runtime.block_on(turns(&client, callers, ENTITIES, operations))),
    ];
    if by_redis_benchmark(redis, &bare, callers, 1).is_some() {
        cases.push(Case::limit("bare commit script, redis-benchmark", |operations| {
            by_redis_benchmark(redis, &bare, callers, operations).expect("it ran before")
        }));
    }
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    if let Some(goal) = goal {
        table.goal(TURN, Goal::RatioAtLeast(goal));
    }
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}
