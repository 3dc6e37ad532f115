use benchmarks::bare::Bare;
use benchmarks::callers::Callers;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::subjects::{Counter, turns};
use benchmarks::{Case, Goal, Table, Unit, rounds};
use grange::prelude::*;

use crate::Bench;

const ONE_EACH: &str = "one commit for each turn: one caller";
const GROUPED: &str = "group commit: 900 callers";

pub(crate) fn without_file(bench: &Bench, title: &str) -> Table {
    table(bench, &bench.redis, title, 15.0)
}

pub(crate) fn always(bench: &Bench, title: &str) -> Table {
    let redis = bench.runtime.block_on(Redis::start(Fsync::Always));
    table(bench, &redis, title, 20.0)
}

fn table(bench: &Bench, redis: &Redis, title: &str, goal: f64) -> Table {
    let Bench { runtime, options, .. } = bench;
    let silo = Silo::builder().entity::<Counter>().redis(redis.url()).cluster("hot").listen("127.0.0.1:0");
    let silo = runtime.block_on(silo.start()).expect("starts");
    let (client, bare) = (silo.client(), runtime.block_on(Bare::prepare(redis, 1)));
    let run = |callers, operations| runtime.block_on(turns(&client, callers, 1, operations));
    let cases = vec![
        Case::grange(ONE_EACH, |operations| run(Callers(1), operations)),
        Case::grange(GROUPED, |operations| run(Callers(900), operations)),
        Case::limit("bare commit script, one after the other", |operations| {
            runtime.block_on(bare.commits(Callers(1), operations))
        }),
    ];
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    table.goal(GROUPED, Goal::RatioAtLeast(goal));
    table.note(redis.description());
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}
