use std::time::Duration;

use crate::load::{PATIENCE, TIMEOUT};
use crate::recording::Recording;
use crate::verifier::{Invariant, Verdict};

/// A deadline is passed by no more than this, also on a busy machine.
const LATE: Duration = Duration::from_secs(3);

/// I7: every call ends by its deadline, whatever is wrong.
pub(super) fn check(recording: &Recording, verdict: &mut Verdict) {
    for ask in &recording.asks {
        let Some((ended, how, _)) = &ask.ended else { continue };
        // The last of several tries may begin when the patience is nearly over.
        let limit = if ask.key.is_some() { PATIENCE + TIMEOUT } else { TIMEOUT };
        let took = Duration::from_micros(ended.at.saturating_sub(ask.asked.at));
        if took > limit + LATE {
            let what = format!("operation {} ({:?}) took {took:?}, ended {how:?}", ask.number, ask.operation);
            verdict.add(Invariant::InTime, what);
        }
    }
}
