use std::time::Duration;

use benchmarks::{Case, Report, Role, Row, Table, Unit, rounds};
use tokio::runtime::Runtime;

use crate::ping::Way;
use crate::silos::runtime;

/// `RunDeterministicMatrixAsync`: how many are under way.
const MATRIX: [u64; 5] = [1, 16, 100, 250, 500];

/// As `AdaptivePingBenchmark` begins, and between which bounds it stays.
const START: u64 = 100;
const STEP: i64 = 50;
const BOUNDS: std::ops::RangeInclusive<i64> = 1..=2_000;

/// Less is no improvement.
const IMPROVEMENT: f64 = 0.005;

/// Rounds without an improvement after which it turns round, and after which it ends.
const TURN_AFTER: u32 = 3;
const END_AFTER: u32 = 5;

/// Pings at set concurrencies, and the concurrency that is best.
pub(crate) fn measure(report: &mut Report) {
    const MATRIX_TITLE: &str = "pings by concurrency (Orleans: AdaptivePing, the deterministic matrix)";
    const TITLE: &str = "the best concurrency (Orleans: AdaptivePing_All)";
    if !report.options().wants(MATRIX_TITLE) && !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let ways = runtime.block_on(Way::all());
    if report.options().wants(MATRIX_TITLE) {
        for way in &ways {
            let runtime = &runtime;
            let case = |workers| {
                let name = format!("{}, {workers} under way", way.name());
                Case::grange(name, move |requests| runtime.block_on(way.run(workers, requests.max(workers))))
            };
            let measured = rounds(report.options(), MATRIX.map(case).into());
            report.show(Table::new(format!("{MATRIX_TITLE}: {}", way.name()), Unit::PerSecond, measured));
        }
    }
    if report.options().wants(TITLE) {
        let interval = Duration::from_millis(report.options().scale(2_000, 200));
        let mut table = Table::new(TITLE, Unit::PerSecond, Vec::new());
        for way in &ways {
            let (concurrency, rate) = climb(&runtime, way, interval);
            table.push(Row::new(Role::Grange, way.name(), vec![rate]));
            table.cell(&way.name(), "under way", concurrency as f64);
        }
        table.note(
            "hill climbing from 100 in steps of 50 between 1 and 2,000; ends after five rounds that are not better by \
             0.5 %. Orleans also asks that an improvement be significant.",
        );
        report.show(table);
    }
}

fn climb(runtime: &Runtime, way: &Way, interval: Duration) -> (u64, f64) {
    let mut climb = Climb::new();
    loop {
        let mut requests = 1_000;
        let rate = loop {
            let sample = runtime.block_on(way.run(climb.at, requests.max(climb.at)));
            if sample.elapsed >= interval / 2 {
                break sample.operations as f64 / sample.elapsed.as_secs_f64();
            }
            requests *= 2;
        };
        if !climb.go_on(rate) {
            return climb.best;
        }
    }
}

/// Looks for the concurrency with the greatest rate.
#[derive(Debug)]
struct Climb {
    at: u64,
    best: (u64, f64),
    step: i64,
    /// Rounds that were no improvement, one after the other.
    fruitless: u32,
}

impl Climb {
    fn new() -> Self {
        Self { at: START, best: (START, 0.0), step: STEP, fruitless: 0 }
    }

    /// With `at` it was this rate; whether there is anything more to try.
    fn go_on(&mut self, rate: f64) -> bool {
        if rate > self.best.1 * (1.0 + IMPROVEMENT) {
            (self.best, self.fruitless) = ((self.at, rate), 0);
        } else {
            self.fruitless += 1;
        }
        if self.fruitless == TURN_AFTER {
            // The other side of the best one.
            (self.step, self.at) = (-self.step, self.best.0);
        }
        let next = (self.at as i64 + self.step).clamp(*BOUNDS.start(), *BOUNDS.end());
        let has_moved = next as u64 != self.at;
        self.at = next as u64;
        has_moved && self.fruitless < END_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_top() {
        let mut climb = Climb::new();
        while climb.go_on(1e6 - (climb.at as f64 - 250.0).abs() * 1e4) {}
        assert_eq!(climb.best.0, 250);
    }

    #[test]
    fn it_looks_below_where_it_began_too() {
        let mut climb = Climb::new();
        while climb.go_on(1e6 - climb.at as f64 * 1e4) {}
        assert!(climb.best.0 <= 50, "{climb:?}");
    }
}
