use benchmarks::callers::Callers;
use benchmarks::subjects::{Light, asks};
use benchmarks::{Case, Goal, Table, Unit, echo, rounds};
use grange::prelude::*;

use crate::Bench;

const FRAMES: &str = "raw echo, frames alone";
const TASKS: &str = "raw echo, a task for each caller";
const ASK: &str = "ask, volatile";

pub(crate) fn one(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(1), None)
}

pub(crate) fn hundred(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(100), Some(Goal::RatioAtLeast(0.6)))
}

pub(crate) fn thousand(bench: &Bench, title: &str) -> Table {
    table(bench, title, Callers(1_000), Some(Goal::ValueAtLeast(1_500_000.0)))
}

fn table(bench: &Bench, title: &str, callers: Callers, goal: Option<Goal>) -> Table {
    let (silo, client) = bench.runtime.block_on(async {
        let silo = Silo::builder().entity::<Light>().in_memory().listen("127.0.0.1:0").workers(1);
        let silo = silo.start().await.expect("starts");
        let client = Client::connect([silo.address().expect("it listens")]).await.expect("connects");
        (silo, client)
    });
    let server = echo::serve();
    let cases = vec![
        Case::limit(FRAMES, |operations| bench.runtime.block_on(echo::frames_alone(server, callers, operations))),
        Case::limit(TASKS, |operations| bench.runtime.block_on(echo::with_tasks(server, callers, operations))),
        Case::grange(ASK, |operations| bench.runtime.block_on(asks(&client, callers, callers.0, operations))),
    ];
    let mut table = Table::new(title, Unit::PerSecond, rounds(&bench.options, cases));
    if let Some(goal) = goal {
        table.goal(ASK, goal);
    }
    table.note(format!(
        "frames of {} bytes both ways; \"frames alone\" sends all that came back at once",
        echo::FRAME_BYTES
    ));
    bench.runtime.block_on(silo.shutdown()).expect("stops");
    table
}
