//! Silos are killed, one after the other, while clients work.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::bench::{Bench, Plan};
use crate::verifier::{History, Verdict};

/// Between one kill and the next.
const PERIOD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));

/// Between a kill and the start of the next life.
const DOWN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1_500));

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// For how long silos are killed.
    pub duration: Duration,
    /// How many there are.
    pub silos: usize,
    /// Which choices.
    pub seed: u64,
}

/// What became of it. It is shown as twelve lines.
#[derive(Debug)]
pub struct Report {
    /// Silos killed.
    pub kills: u64,
    /// Silos started again.
    pub restarts: u64,
    /// Which choices were made.
    pub seed: u64,
    /// What the verifier says.
    pub verdict: Verdict,
}

/// Runs it.
///
/// # Panics
/// When a silo does not start, or entities don't answer at the end.
pub async fn run(chaos: &Chaos) -> Report {
    let plan = Plan { silos: chaos.silos, ..Plan::default() };
    let mut bench = Bench::start("chaos", chaos.seed, plan).await;
    let work = bench.work().await;
    let (start, mut kills, mut restarts) = (Instant::now(), 0, 0);
    while start.elapsed() < chaos.duration {
        let period = bench.random.between(PERIOD.0, PERIOD.1);
        bench.pass(period).await;
        let victim = bench.random.index(bench.silos.len());
        let down = bench.random.between(DOWN.0, DOWN.1);
        bench.silos[victim].silo.kill();
        kills += 1;
        bench.pass(down).await;
        bench.silos[victim].silo.restart().await;
        restarts += 1;
    }
    let verdict = bench.judge(work, History::Kept).await;
    Report { kills, restarts, seed: chaos.seed, verdict }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.verdict.figures;
        let lines = [
            ("kills", self.kills),
            ("restarts", self.restarts),
            ("operations", figures.operations),
            ("acknowledged", figures.acknowledged),
            ("unknown", figures.unknown),
            ("retried", figures.retried),
            ("messages", figures.messages),
            ("lost", figures.lost),
            ("duplicated", figures.duplicated),
            ("reordered", figures.reordered),
        ];
        for (name, value) in lines {
            writeln!(f, "{name:<14}{value:>10}")?;
        }
        writeln!(f, "{:<14}{:>10.2?}", "longest gap", figures.longest_gap)?;
        if self.verdict.is_good() {
            return write!(f, "{:<14}every promise was kept (seed {})", "verdict", self.seed);
        }
        let broken: Vec<_> = self.verdict.broken().iter().map(ToString::to_string).collect();
        write!(f, "{:<14}BROKEN: {} (seed {})\n{}", "verdict", broken.join(", "), self.seed, self.verdict)
    }
}
