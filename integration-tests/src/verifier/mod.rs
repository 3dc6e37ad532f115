//! Whether the system did what it promised: from what clients recorded and the final state, and nothing else.
//!
//! It is a function of values, and is itself tested with recordings in which one promise is broken at a time.

mod deadlines;
mod gap;
mod lists;
mod money;
mod register;
mod replies;
mod state;
mod streams;
mod verdict;

pub use gap::longest_gap;
pub use register::{Interval, is_linearizable};
pub use state::FinalState;
pub use verdict::{Figures, Invariant, Verdict, Violation};

use crate::recording::Recording;

/// What the store was made to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// It kept all that it acknowledged.
    #[default]
    Kept,
    /// It lost the end of its log: acknowledged work may be gone, which is counted; what is left must be consistent.
    LostItsEnd,
}

/// Checks all of it.
pub fn verify(recording: &Recording, state: &FinalState, history: History) -> Verdict {
    let mut verdict = Verdict::default();
    money::check(recording, state, &mut verdict);
    streams::check(recording, state, &mut verdict);
    lists::check(recording, state, &mut verdict);
    replies::check(recording, &mut verdict);
    register::check(recording, state, &mut verdict);
    deadlines::check(recording, &mut verdict);
    verdict.figures.count(recording, state);
    if history == History::LostItsEnd {
        // An answer that was forgotten may be given otherwise the next time, and a register may go back: that is what
        // the loss of acknowledged writes means.
        let forgiven = [Invariant::AcknowledgedLost, Invariant::SameReply, Invariant::Linearizable];
        verdict.violations.retain(|violation| !forgiven.contains(&violation.invariant));
    }
    verdict
}
