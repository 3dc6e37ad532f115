//! Market Spread on grange: how many quotes and orders a second, and how long each takes at 80 % of that, in memory, durably on
//! Redis, and across two silos. Beside it what Wallaroo published of the original, with what a reader has to know.
//!
//! `cargo run --release --bin market-spread -- [--quick]`

mod frames;
mod mode;
mod published;
mod sources;

use std::time::Duration;

use benchmarks::{Case, Goal, Latencies, Measured, Options, Report, Sample, Table, Unit, rounds};

use crate::frames::Frames;
use crate::mode::{MODES, Mode, Running};

/// Of the greatest rate, for the latencies.
const SHARE: f64 = 0.8;

fn main() {
    let options = Options::from_arguments();
    if let [silo, redis] = &options.rest[..]
        && silo == "silo"
    {
        return mode::serve(redis);
    }
    let mut report = Report::new("market-spread", options);
    for note in published::CAVEATS {
        report.fact(note);
    }
    report.show(published::table());
    for mode in MODES.iter().filter(|mode| report.options().wants(mode.title)).collect::<Vec<_>>() {
        let table = measure(mode, &mut report);
        report.show(table);
    }
    report.finish();
}

fn measure(mode: &Mode, report: &mut Report) -> Table {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let running = runtime.block_on(Running::start(mode));
    if let Some(redis) = running.redis() {
        report.fact(format!("{}: {}", mode.title, redis.description()));
    }
    let frames = Frames::shared();
    let greatest = rounds(
        report.options(),
        vec![
            Case::limit("a loop without entities, one thread", |operations| frames.without_entities(operations)),
            Case::grange(format!("as fast as it can, {} under way", mode.window), |operations| {
                runtime.block_on(running.closed_loop(operations))
            }),
        ],
    );
    let rate = rate(&greatest[1]) * SHARE;
    let lasting = Duration::from_millis(report.options().scale(5_000, 1_000));
    let at_share = rounds(
        report.options(),
        vec![
            Case::limit("the same schedule, nothing to do", |_| runtime.block_on(running.nothing(rate, lasting))),
            Case::grange(format!("{:.0} % of that, open loop", SHARE * 100.0), |_| {
                runtime.block_on(running.open_loop(rate, lasting))
            }),
        ],
    );
    runtime.block_on(running.stop());
    let as_fast = greatest[1].name.clone();
    let latencies: Vec<_> = at_share.iter().map(|case| (case.name.clone(), case.latencies())).collect();
    let at_share = at_share.into_iter().filter(|measured| !measured.samples.is_empty());
    let mut table = Table::new(mode.title, Unit::PerSecond, greatest.into_iter().chain(at_share).collect());
    for (name, latencies) in latencies {
        match latencies {
            Some(latencies) => add_cells(&mut table, &name, &latencies),
            None => {
                table.note(format!("{name}: in no round could the sources keep their schedule. Is the machine busy?"))
            }
        }
    }
    if let Some(goal) = mode.goal_per_second {
        table.goal(&as_fast, Goal::ValueAtLeast(goal));
    }
    mode.notes.iter().for_each(|note| table.note(*note));
    table
}

fn add_cells(table: &mut Table, row: &str, latencies: &Latencies) {
    let longest = latencies.quantile(0.9999).as_nanos() as f64;
    // As the original counted: the upper edge of a bin whose width doubles.
    table.cell(row, "p99.99 in bins µs", 2_f64.powf(longest.log2().ceil()) / 1e3);
    table.cell(row, "max µs", latencies.max().as_nanos() as f64 / 1e3);
}

fn rate(measured: &Measured) -> f64 {
    let mut rates: Vec<f64> = measured.samples.iter().map(per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(1.0)
}

fn per_second(sample: &Sample) -> f64 {
    sample.operations as f64 / sample.elapsed.as_secs_f64()
}
