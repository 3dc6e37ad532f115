use std::collections::{HashMap, HashSet};

use crate::recording::{Operation, Recording};
use crate::verifier::replies::outcomes;
use crate::verifier::{FinalState, Invariant, Verdict};

pub(crate) fn check(recording: &Recording, state: &FinalState, verdict: &mut Verdict) {
    let mut places: HashMap<(&str, _), u64> = HashMap::new();
    for (list, ids) in &state.lists {
        for (place, id) in (0..).zip(ids) {
            if let Some(before) = places.insert((list, *id), place) {
                verdict.figures.duplicated += 1;
                verdict.add(Invariant::ExactlyOnce, format!("{id} is in {list:?} twice, at {before} and {place}"));
            }
        }
    }
    let mut asked = HashSet::new();
    for (ask, outcome) in outcomes(recording) {
        let Operation::Add { list, id } = &ask.operation else { continue };
        asked.insert((list.as_str(), *id));
        let place = places.get(&(list.as_str(), *id));
        if outcome.is_applied() && place.is_none() {
            verdict.figures.lost += 1;
            verdict.add(Invariant::AcknowledgedLost, format!("{id} was acknowledged and is not in {list:?}"));
        }
        if outcome.is_refused() && place.is_some() {
            verdict.add(Invariant::ExactlyOnce, format!("{id} was refused and is in {list:?}"));
        }
    }
    for (list, id) in places.keys().filter(|added| !asked.contains(*added)) {
        verdict.add(Invariant::ExactlyOnce, format!("{id} is in {list:?}, and nobody added it"));
    }
    for ask in &recording.asks {
        let Operation::Add { list, id } = &ask.operation else { continue };
        let (Some(answer), Some(place)) = (ask.answer(), places.get(&(list.as_str(), *id))) else { continue };
        if answer != *place {
            let what = format!("{id} was answered to be at {answer} in {list:?}, and is at {place}");
            verdict.add(Invariant::SameReply, what);
        }
    }
}
