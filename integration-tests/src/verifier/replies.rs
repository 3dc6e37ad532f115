use std::collections::BTreeMap;

use crate::recording::{Recorded, Recording};
use crate::verifier::{Invariant, Verdict};

/// What clients know of an operation, from every ask of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Refused,
    Unknown,
}

impl Outcome {
    pub(crate) fn is_applied(self) -> bool {
        self == Self::Applied
    }

    pub(crate) fn is_refused(self) -> bool {
        self == Self::Refused
    }
}

/// Each operation once, with what is known of it.
pub(crate) fn outcomes(recording: &Recording) -> impl Iterator<Item = (&Recorded, Outcome)> {
    let mut operations: BTreeMap<u64, (&Recorded, Outcome)> = BTreeMap::new();
    for ask in &recording.asks {
        let outcome = match (ask.answer(), ask.is_refused()) {
            (Some(_), _) => Outcome::Applied,
            (None, true) => Outcome::Refused,
            (None, false) => Outcome::Unknown,
        };
        let known = operations.entry(ask.number).or_insert((ask, outcome));
        known.1 = match (known.1, outcome) {
            (Outcome::Applied, _) | (_, Outcome::Applied) => Outcome::Applied,
            (Outcome::Unknown, _) | (_, Outcome::Unknown) => Outcome::Unknown,
            (Outcome::Refused, Outcome::Refused) => Outcome::Refused,
        };
    }
    operations.into_values()
}

pub(crate) fn check(recording: &Recording, verdict: &mut Verdict) {
    use crate::recording::Ended::{Answered, Rejected};
    let mut first = BTreeMap::new();
    for ask in recording.asks.iter().filter(|ask| ask.key.is_some()) {
        // What the handler said; what the framework said about a try is not the operation's outcome.
        let Some((_, reply @ (Answered(_) | Rejected), _)) = &ask.ended else { continue };
        let before = first.entry(ask.key).or_insert(reply);
        if *before != reply {
            let what = format!("{:?} was answered {before:?}, then {reply:?}", ask.operation);
            verdict.add(Invariant::SameReply, what);
        }
    }
}
