use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use super::pair::{Landing, Pair};

/// What may happen to two entities that write to each other.
#[derive(Debug, Clone)]
enum Event {
    Send { side: usize },
    Remind { side: usize, name: u8, ms: u64 },
    Cancel { side: usize, name: u8 },
    Pass { ms: u64 },
    Fire { side: usize },
    Commit { side: usize, landing: Landing },
    Crash { side: usize },
    Dispatch { side: usize, again: bool },
    BeginTrim { side: usize },
    EndTrim { side: usize },
    Deliver { which: usize, stays: bool },
    Lose { which: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let side = || 0..2_usize;
    let landing = prop_oneof![6 => Just(Landing::Landed), 1 => Just(Landing::Unheard), 1 => Just(Landing::Lost)];
    prop_oneof![
        6 => side().prop_map(|side| Event::Send { side }),
        1 => (side(), 0..3_u8, 0..5_000_u64).prop_map(|(side, name, ms)| Event::Remind { side, name, ms }),
        1 => (side(), 0..3_u8).prop_map(|(side, name)| Event::Cancel { side, name }),
        2 => (0..3_000_u64).prop_map(|ms| Event::Pass { ms }),
        1 => side().prop_map(|side| Event::Fire { side }),
        8 => (side(), landing).prop_map(|(side, landing)| Event::Commit { side, landing }),
        1 => side().prop_map(|side| Event::Crash { side }),
        6 => (side(), any::<bool>()).prop_map(|(side, again)| Event::Dispatch { side, again }),
        2 => side().prop_map(|side| Event::BeginTrim { side }),
        3 => side().prop_map(|side| Event::EndTrim { side }),
        16 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, stays)| Event::Deliver { which, stays }),
        1 => any::<usize>().prop_map(|which| Event::Lose { which }),
    ]
}

fn happens(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut pair = Pair::new();
    for event in events {
        match event {
            Event::Send { side } => pair.send(side, None),
            Event::Remind { side, name, ms } => pair.send(side, Some((name, ms))),
            Event::Cancel { side, name } => pair.cancel(side, name),
            Event::Pass { ms } => pair.pass(ms),
            Event::Fire { side } => pair.fire(side),
            Event::Commit { side, landing } => pair.commit(side, landing)?,
            Event::Crash { side } => pair.crash(side),
            Event::Dispatch { side, again } => pair.dispatch(side, again),
            Event::BeginTrim { side } => pair.begin_trim(side),
            Event::EndTrim { side } => pair.end_trim(side)?,
            Event::Deliver { which, stays } => pair.deliver(which, stays),
            Event::Lose { which } => pair.lose(which),
        }
        pair.check_order()?;
    }
    pair.pass(10_000);
    pair.settle_down()
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn messages_apply_once_and_in_order_and_the_agenda_names_who_has_some(events in vec(event(), 1..150)) {
        happens(events)?;
    }
}

/// Each mistake is found: the property can fail.
#[cfg(feature = "testing")]
#[test]
fn a_mistake_in_the_messaging_is_found() {
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

    use crate::mutant::{Mutant, Planted};

    for mutant in [
        Mutant::RepeatsApplied,
        Mutant::GapsApplied,
        Mutant::SeenNotRecorded,
        Mutant::OutboxNotStored,
        Mutant::NumbersStartAgain,
        Mutant::AgendaNotWritten,
    ] {
        let config = Config { cases: 1_000, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let _planted = Planted::plant(Some(mutant));
        let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let found = TestRunner::new_with_rng(config, random).run(&vec(event(), 1..150), happens);
        assert!(found.is_err(), "{mutant:?} is not found");
    }
}

/// A commit overtakes the trim, and a copy of the message comes before the trim is made again: too rare for chance.
#[cfg(feature = "testing")]
#[test]
fn who_is_told_to_forget_too_soon_applies_a_repeat() {
    use crate::mutant::{Mutant, Planted};

    let landed = |side| Event::Commit { side, landing: Landing::Landed };
    let deliver = |which, stays| Event::Deliver { which, stays };
    let events = || {
        vec![
            Event::Send { side: 0 },
            landed(0),
            Event::Dispatch { side: 0, again: false },
            deliver(0, true), // the message, and a copy stays on its way
            landed(1),
            deliver(1, false), // the acknowledgement
            Event::BeginTrim { side: 0 },
            Event::Send { side: 0 },
            landed(0),
            Event::EndTrim { side: 0 },
            deliver(1, false), // with the mistake: "forget"
            deliver(0, false), // the copy
            landed(1),
        ]
    };
    happens(events()).unwrap();
    let _planted = Planted::plant(Some(Mutant::ForgetsTooSoon));
    happens(events()).unwrap_err();
}
