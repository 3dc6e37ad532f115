use benchmarks::bare::Bare;
use benchmarks::callers::Callers;
use benchmarks::subjects::{Home, Hopper, hop, pairs_across};
use benchmarks::{Case, Goal, Sample, Table, Unit, rounds};
use grange::prelude::*;

use crate::Bench;

const MESSAGE: &str = "durable message, applied and acknowledged";

pub(crate) fn hundred(bench: &Bench, title: &str) -> Table {
    let Bench { runtime, redis, options } = bench;
    let callers = Callers(100);
    let start = |home| {
        let silo = Silo::builder().entity::<Hopper>().data(Home(home)).redis(redis.url()).cluster("messages");
        silo.listen("127.0.0.1:0").workers(1).start()
    };
    let (silos, pairs, bare) = runtime.block_on(async {
        let silos = [start(0).await.expect("starts"), start(1).await.expect("starts")];
        let pairs = pairs_across(&silos[0].client(), callers.0 as usize).await;
        (silos, pairs, Bare::prepare(redis, 10_000).await)
    });
    let client = silos[0].client();
    let cases = vec![
        Case::limit("bare commit script, redis crate", |operations| {
            runtime.block_on(bare.commits(callers, operations))
        }),
        Case::grange(MESSAGE, |operations| {
            let each = callers.each(operations);
            let sample = Sample::timed(0, || runtime.block_on(hop(&client, &pairs, each)));
            Sample { operations: each * callers.0, ..sample }
        }),
    ];
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    table.goal(MESSAGE, Goal::RatioAtLeast(0.3));
    table.note("100 pairs of entities, one in each silo, send one message to and fro");
    runtime.block_on(async {
        for silo in silos {
            silo.shutdown().await.expect("stops");
        }
    });
    table
}
