//! Every single fault: a run is repeated for each point at which something can go wrong, with just that (after Alvaro et al.,
//! "Lineage-driven fault injection", SIGMOD 2015).

use std::collections::BTreeMap;
use std::fmt;

use super::faults::{Injected, Point};
use super::stage::Plan;
use super::{Report, Simulated, Simulation};

/// What a sweep came to.
#[derive(Debug)]
#[must_use = "a sweep that failed says so here"]
pub struct Sweep {
    /// Points of the run without faults.
    pub points: usize,
    /// Runs with one fault.
    pub singles: usize,
    /// Runs with two.
    pub pairs: usize,
    /// How often each fault was tried.
    pub tried: BTreeMap<Injected, u64>,
    /// Those that failed, the first ones.
    pub failures: Vec<Failure>,
}

/// A run of a sweep that failed.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong, and where.
    pub faults: Vec<(Injected, Point)>,
    /// What came of it, with the last events.
    pub why: String,
}

/// So many failures are enough.
const FAILURES_MAX: usize = 10;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, point) in &self.faults {
            writeln!(f, "{fault:?} at {point}")?;
        }
        f.write_str(&self.why)
    }
}

impl Sweep {
    /// # Panics
    /// When a run failed, with what went wrong in it.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        if let Some(failure) = self.failures.first() {
            panic!("{} of {} runs failed; the first:\n{failure}", self.failures.len(), self.singles + self.pairs + 1);
        }
        self
    }
}

impl Simulation {
    /// What `body` asserts holds whatever single thing goes wrong: runs it once without faults, and again for each fault at
    /// each point at which it can happen. [`sweep`](Self::sweep) is the same, says how many there were, and tries pairs.
    ///
    /// # Panics
    /// When a run failed, with what went wrong in it, its last events, and how it is repeated.
    #[track_caller]
    pub fn holds_under_every_fault(&self, body: impl AsyncFn(Simulated)) {
        let _ = self.sweep(0, body).expect_success();
    }

    /// Runs `body` with these faults, at the points with these numbers: what a [`Failure`] of a sweep names.
    pub fn run_exactly<T>(
        &self,
        faults: impl IntoIterator<Item = (u64, Injected)>,
        body: impl AsyncFnOnce(Simulated) -> T,
    ) -> Report<T> {
        self.run_with(Plan::Exactly(faults.into_iter().collect()), false, body)
    }

    /// Runs `body` once without faults, and then again for each fault at each of its points: what it asserts holds under every
    /// single one. Then for so many pairs of them.
    pub fn sweep(&self, pairs: usize, body: impl AsyncFn(Simulated)) -> Sweep {
        self.sweep_of(&Injected::ALL, pairs, body)
    }

    /// The same with these faults only.
    pub fn sweep_of(&self, these: &[Injected], pairs: usize, body: impl AsyncFn(Simulated)) -> Sweep {
        let first = self.run_with(Plan::Exactly(BTreeMap::new()), true, &body);
        let points = first.listed.clone();
        let mut sweep =
            Sweep { points: points.len(), singles: 0, pairs: 0, tried: BTreeMap::new(), failures: Vec::new() };
        if let Err(why) = &first.outcome {
            sweep.failures.push(Failure { faults: Vec::new(), why: first.told(why) });
            return sweep;
        }
        let here = |point: &'_ Point| point.faults.iter().copied().filter(|fault| these.contains(fault));
        let singles: Vec<(Injected, &Point)> =
            points.iter().flat_map(|point| here(point).map(move |fault| (fault, point))).collect();
        for (fault, point) in &singles {
            sweep.singles += 1;
            if !self.tried(&mut sweep, &[(*fault, point)], &body) {
                return sweep;
            }
        }
        // Spread over all of them, the same ones each time.
        let count = singles.len();
        for pair in 0..pairs.min(count * count.saturating_sub(1)) {
            let one = pair * 7_919 % count;
            let other = (one + 1 + pair * 104_729 % (count - 1)) % count;
            let (one, other) = (singles[one.min(other)], singles[one.max(other)]);
            if one.1.number == other.1.number {
                continue;
            }
            sweep.pairs += 1;
            if !self.tried(&mut sweep, &[one, other], &body) {
                return sweep;
            }
        }
        sweep
    }

    /// `false`: there are failures enough.
    fn tried(&self, sweep: &mut Sweep, faults: &[(Injected, &Point)], body: impl AsyncFn(Simulated)) -> bool {
        let exactly = faults.iter().map(|(fault, point)| (point.number, *fault)).collect();
        let report = self.run_with(Plan::Exactly(exactly), false, &body);
        for (fault, _) in faults {
            *sweep.tried.entry(*fault).or_default() += 1;
        }
        if let Err(why) = &report.outcome {
            let faults = faults.iter().map(|(fault, point)| (*fault, (*point).clone())).collect();
            sweep.failures.push(Failure { faults, why: report.told(why) });
        }
        sweep.failures.len() < FAILURES_MAX
    }
}
