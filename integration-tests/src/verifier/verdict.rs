use std::fmt;
use std::time::Duration;

use crate::recording::Recording;
use crate::verifier::{FinalState, longest_gap};

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I2: money is neither made nor lost.
    Conservation,
    /// I3: what was acknowledged stays.
    AcknowledgedLost,
    /// I4: each effect once: none twice, none that was refused, none that nobody asked for, no message lost.
    ExactlyOnce,
    /// I5: messages from one entity to another arrive in their order, and whole.
    Order,
    /// I6: the same key, the same reply; and the reply agrees with the state.
    SameReply,
    /// I7: a call ends by its deadline.
    InTime,
    /// I8: when the faults are over, everything that is pending comes to its end.
    Drained,
    /// I10: a register looks as if there was one copy of it.
    Linearizable,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conservation => "I2 conservation",
            Self::AcknowledgedLost => "I3 nothing acknowledged is lost",
            Self::ExactlyOnce => "I4 exactly once",
            Self::Order => "I5 order",
            Self::SameReply => "I6 same key, same reply",
            Self::InTime => "I7 in time",
            Self::Drained => "I8 drained",
            Self::Linearizable => "I10 linearizable",
        })
    }
}

/// A promise that was broken, where and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What shows it.
    pub what: String,
}

/// What a run comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Figures.
    pub figures: Figures,
}

/// What there was, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations, each counted once.
    pub operations: u64,
    /// … that were answered.
    pub acknowledged: u64,
    /// … that failed, for certain without an effect.
    pub refused: u64,
    /// … of which nobody knows.
    pub unknown: u64,
    /// Tries beyond the first.
    pub retried: u64,
    /// Numbered messages that were sent.
    pub messages: u64,
    /// Acknowledged operations and sent messages that are gone.
    pub lost: u64,
    /// Effects that are there twice.
    pub duplicated: u64,
    /// Messages that were overtaken.
    pub reordered: u64,
    /// The longest time for which an entity that was asked did not answer.
    pub longest_gap: Duration,
}

impl Verdict {
    pub(crate) fn add(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.violations.push(Violation { invariant, what: what.into() });
    }

    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// The promises that were broken, each once.
    pub fn broken(&self) -> Vec<Invariant> {
        let mut broken: Vec<_> = self.violations.iter().map(|violation| violation.invariant).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }
}

impl Figures {
    pub(crate) fn count(&mut self, recording: &Recording, state: &FinalState) {
        for ask in &recording.asks {
            self.retried += ask.ended.as_ref().map_or(0, |(_, _, retries)| u64::from(*retries));
        }
        let mut seen = std::collections::HashSet::new();
        for ask in recording.asks.iter().filter(|ask| seen.insert(ask.number)) {
            self.operations += 1;
            self.acknowledged += u64::from(ask.answer().is_some());
            self.refused += u64::from(ask.is_refused());
            self.unknown += u64::from(ask.is_unknown());
        }
        self.messages = state.sources.values().flat_map(|sent| sent.values()).sum();
        self.longest_gap = longest_gap(recording);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 30;
        for Violation { invariant, what } in self.violations.iter().take(SHOWN_MAX) {
            writeln!(f, "{invariant}: {what}")?;
        }
        if let Some(more) = self.violations.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            writeln!(f, "… and {more} more")?;
        }
        write!(f, "{:?}", self.figures)
    }
}
