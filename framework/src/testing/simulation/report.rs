//! What became of a run.

use std::collections::BTreeMap;
use std::fmt;

use super::faults::{Injected, Point};
use super::timeline::Timeline;

/// The last events that a failure shows.
const SHOWN: usize = 120;

/// What became of a run.
#[must_use = "a run that failed says so here"]
pub struct Report<T = ()> {
    /// What its body returned; what it panicked with, or that it did not end.
    pub outcome: std::result::Result<T, String>,
    /// By which it is repeated.
    pub seed: u64,
    /// Everything that happened.
    pub timeline: Timeline,
    /// How often each fault was injected.
    pub injected: BTreeMap<Injected, u64>,
    /// At how many points something could go wrong.
    pub points: u64,
    /// At how many claims and commits it was checked that one writes at a time.
    pub writes: u64,
    pub(super) listed: Vec<Point>,
    pub(super) repeated: String,
}

impl<T> Report<T> {
    /// The outcome of a run that ended well.
    ///
    /// # Panics
    /// When it did not, with its seed and its last events.
    #[track_caller]
    pub fn expect_success(self) -> T {
        match self.outcome {
            Ok(value) => value,
            Err(ref why) => panic!("{}", self.told(why)),
        }
    }

    /// Why it failed, for people: with its last events and how it is repeated.
    pub fn told(&self, why: &str) -> String {
        let skip = (self.timeline.events().count()).saturating_sub(SHOWN);
        let mut told = format!("a simulation failed: {why}\n\nits last events:\n");
        for event in self.timeline.events().skip(skip) {
            told.push_str(&format!("{event}\n"));
        }
        told.push_str(&format!("\nfaults: {:?}\n{}", self.injected, self.repeated));
        told
    }
}

impl<T> fmt::Debug for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("seed", &self.seed)
            .field("failure", &self.outcome.as_ref().err())
            .field("timeline", &self.timeline)
            .field("injected", &self.injected)
            .field("points", &self.points)
            .finish_non_exhaustive()
    }
}
