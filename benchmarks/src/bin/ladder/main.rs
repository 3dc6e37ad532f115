//! The ladder: what each thing adds that is put on the way of a call, from a raw actor to a durable message between silos.
//!
//! `cargo xtask bench ladder`; with `--check` only the counts are looked at, and compared with those that are stored.

mod counts;
mod guard;
mod off;
mod silos;
mod steps;

use std::process::ExitCode;

use benchmarks::callers::Callers;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Options, Report, Table, Unit, allocations, rounds};

use crate::counts::Counter;
use crate::silos::Silos;
use crate::steps::Step;

benchmarks::count_allocations!();

fn main() -> ExitCode {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let redis = runtime.block_on(Redis::start(Fsync::NoFile));
    let silos = Silos::start(&runtime, &redis);
    if options.check || options.store {
        let verdict = guard::run(&options, &silos);
        silos.stop();
        return verdict;
    }
    let mut report = Report::new("ladder", options);
    report.fact(redis.description());
    let counter = Counter::new(&silos);
    for (title, callers) in [("one caller, one entity", Callers(1)), ("100 callers, an entity each", Callers(100))] {
        if report.options().wants(title) {
            let table = ladder(report.options(), &silos, &counter, title, callers);
            report.show(table);
        }
    }
    if report.options().wants(off::TITLE) {
        let table = off::table(report.options(), &silos, &counter);
        report.show(table);
    }
    silos.stop();
    report.finish();
    ExitCode::SUCCESS
}

fn ladder(options: &Options, silos: &Silos<'_>, counter: &Counter<'_>, title: &str, callers: Callers) -> Table {
    let cases = Step::all().into_iter().map(|step| step.case(silos, callers)).collect();
    let mut table = Table::new(title, Unit::NanosEach, rounds(options, cases));
    table.as_steps();
    for step in Step::all() {
        let counts = counter.count(&mut step.case(silos, callers), step.counted());
        counts.show(&mut table, step.name());
    }
    table.note("ratios are to the first row, steps to the row above");
    table.note("allocations and Redis commands (those that scripts call included) are counted in a run of their own");
    table
}
