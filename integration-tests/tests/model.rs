//! The protocol of claim, commit and takeover, in every order of its steps; and without each of its rules, to see that the
//! checker finds what it was for. `-- --nocapture` prints how many states there were, and the counterexamples.

use integration_tests::model::{Bounds, Protocol, Step, Weakness};
use stateright::{Checker, HasDiscoveries, Model};

const NOTHING: Bounds = Bounds { turns: [0; 3], deaths: 0, losses: 0, releases: 0, restarts: 0, ticks: 0 };

const ONE_WRITER: &str = "one activation can commit";
const KNOWN_AGAIN: &str = "the store knows the commit that it applied last";
const KEPT: &str = "what was acknowledged stays";
const REFUSED: &str = "what was refused is not there";
const NOT_STALE: &str = "nobody serves beside a successor";
const ENDED: &str = "in the end every call has ended";

const ALL_ACKNOWLEDGED: &str = "everything is acknowledged";
const IN_DOUBT: &str = "a turn is there and its caller does not know";
const ONE_REFUSED: &str = "a turn of a silo that was taken over is refused";
const OUTLIVED: &str = "a silo keeps what another owns, and its lease is over";

/// No state within these bounds breaks a promise, and these cases occur.
fn holds(bounds: Bounds, cases: &[&'static str]) {
    let checker = Protocol::within(bounds).checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    eprintln!("{states} states, {steps} steps, at most {} in a row: {bounds:?}", checker.max_depth());
    for broken in [ONE_WRITER, KNOWN_AGAIN, KEPT, REFUSED, NOT_STALE, ENDED] {
        checker.assert_no_discovery(broken);
    }
    for case in cases {
        assert!(checker.discovery(case).is_some(), "it is never so: {case}");
    }
}

/// Without this rule a promise is broken.
fn breaks(weakness: Weakness, bounds: Bounds, promises: &[&str]) {
    let model = Protocol::without(weakness, bounds);
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken: Vec<(&str, Vec<Step>)> = checker
        .discoveries()
        .into_iter()
        .filter(|(property, _)| [ONE_WRITER, KNOWN_AGAIN, KEPT, REFUSED, NOT_STALE, ENDED].contains(property))
        .map(|(property, path)| (property, path.into_actions()))
        .collect();
    eprintln!("{weakness:?}, after {} states: {broken:?}", checker.unique_state_count());
    assert!(broken.iter().any(|(property, _)| promises.contains(property)), "{weakness:?} is not found: {broken:?}");
}

#[test]
fn two_turns_at_each_silo_and_nothing_goes_wrong() {
    holds(Bounds { turns: [2, 2, 2], ..NOTHING }, &[ALL_ACKNOWLEDGED]);
}

#[test]
fn many_turns_and_a_silo_dies() {
    let bounds = Bounds { turns: [2, 1, 1], deaths: 1, ticks: 1, ..NOTHING };
    holds(bounds, &[ALL_ACKNOWLEDGED, ONE_REFUSED, OUTLIVED]);
}

#[test]
fn silos_die_or_are_declared_dead() {
    holds(Bounds { turns: [1, 1, 1], deaths: 2, ticks: 1, ..NOTHING }, &[ALL_ACKNOWLEDGED, ONE_REFUSED, OUTLIVED]);
}

#[test]
fn answers_and_requests_are_lost_or_late() {
    holds(Bounds { turns: [1, 1, 1], losses: 2, ..NOTHING }, &[ALL_ACKNOWLEDGED, ONE_REFUSED, IN_DOUBT]);
}

#[test]
fn a_silo_dies_while_something_is_lost() {
    let bounds = Bounds { turns: [1, 1, 1], deaths: 1, losses: 1, ticks: 1, ..NOTHING };
    holds(bounds, &[ALL_ACKNOWLEDGED, ONE_REFUSED, IN_DOUBT, OUTLIVED]);
}

#[test]
fn claims_are_given_back_while_a_silo_dies() {
    let bounds = Bounds { turns: [2, 1, 0], deaths: 1, releases: 1, ticks: 1, ..NOTHING };
    holds(bounds, &[ALL_ACKNOWLEDGED, ONE_REFUSED, OUTLIVED]);
}

#[test]
fn claims_are_given_back_while_something_is_lost() {
    holds(Bounds { turns: [2, 1, 0], losses: 1, releases: 2, ..NOTHING }, &[ALL_ACKNOWLEDGED, ONE_REFUSED]);
}

#[test]
fn the_store_begins_a_new_life_while_something_is_lost() {
    let bounds = Bounds { turns: [1, 1, 0], losses: 1, restarts: 1, ..NOTHING };
    holds(bounds, &[ALL_ACKNOWLEDGED, ONE_REFUSED, IN_DOUBT]);
}

#[test]
fn the_store_begins_a_new_life_while_a_silo_dies() {
    let bounds = Bounds { turns: [1, 1, 0], deaths: 1, restarts: 1, ticks: 1, ..NOTHING };
    holds(bounds, &[ALL_ACKNOWLEDGED, ONE_REFUSED, OUTLIVED]);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn within_wider_bounds() {
    let more = [ALL_ACKNOWLEDGED, ONE_REFUSED];
    holds(Bounds { turns: [2, 2, 2], deaths: 1, ticks: 1, ..NOTHING }, &more);
    holds(Bounds { turns: [1, 1, 1], losses: 1, restarts: 1, ..NOTHING }, &more);
    holds(Bounds { turns: [1, 1, 0], deaths: 1, losses: 1, releases: 1, restarts: 1, ticks: 1 }, &more);
}

/// What most of the weaknesses need.
const TROUBLE: Bounds = Bounds { turns: [2, 1, 0], deaths: 1, losses: 1, releases: 0, restarts: 0, ticks: 1 };

#[test]
fn without_a_fence_two_write() {
    breaks(Weakness::NoFence, TROUBLE, &[ONE_WRITER, KEPT]);
}

#[test]
fn without_a_version_a_late_copy_overwrites() {
    breaks(Weakness::NoVersion, Bounds { losses: 2, ..TROUBLE }, &[KEPT]);
}

#[test]
fn without_a_generation_memory_outlives_the_store() {
    breaks(Weakness::NoGeneration, Bounds { restarts: 1, ..TROUBLE }, &[ONE_WRITER]);
}

#[test]
fn with_the_fence_before_the_id_an_applied_commit_is_denied() {
    breaks(Weakness::FenceBeforeId, TROUBLE, &[KNOWN_AGAIN]);
}

#[test]
fn without_its_id_an_applied_commit_is_denied() {
    breaks(Weakness::NoId, TROUBLE, &[KNOWN_AGAIN]);
}

#[test]
fn without_a_fresh_nonce_an_older_activation_writes() {
    breaks(Weakness::FenceKept, Bounds { losses: 2, ..TROUBLE }, &[ONE_WRITER]);
}

#[test]
fn a_lost_answer_to_a_claim_locks_its_silo_out() {
    breaks(Weakness::OwnClaimRefused, TROUBLE, &[ENDED]);
}

#[test]
fn without_a_row_that_says_dead_two_serve() {
    breaks(Weakness::TakesFromTheLiving, TROUBLE, &[NOT_STALE]);
}

#[test]
fn by_a_table_read_before_a_silo_that_just_joined_is_dead() {
    breaks(Weakness::UnknownIsDead, Bounds { turns: [1, 1, 1], ..TROUBLE }, &[NOT_STALE]);
}

#[test]
fn without_a_missed_renewal_two_serve() {
    breaks(Weakness::DeclaredWithoutAMiss, TROUBLE, &[NOT_STALE]);
}

#[test]
fn without_a_lease_two_serve() {
    breaks(Weakness::LeaseIgnored, TROUBLE, &[NOT_STALE]);
}

#[test]
fn a_lease_from_when_it_was_answered_is_too_long() {
    breaks(Weakness::LeaseFromTheAnswer, Bounds { ticks: 2, ..TROUBLE }, &[NOT_STALE]);
}

#[test]
fn a_silo_that_does_not_believe_its_death_serves_beside_its_successor() {
    breaks(Weakness::DeadRevives, TROUBLE, &[NOT_STALE]);
}

#[test]
fn what_is_kept_from_an_earlier_life_is_served_beside_a_successor() {
    breaks(Weakness::KeepsWhatIsVoid, TROUBLE, &[NOT_STALE]);
}

#[test]
fn a_refusal_after_a_lost_answer_hides_an_applied_commit() {
    breaks(Weakness::LaterRefusalIsDefinite, TROUBLE, &[REFUSED]);
}

#[test]
fn a_lost_answer_is_no_refusal() {
    breaks(Weakness::LostIsRefused, TROUBLE, &[REFUSED]);
}

#[test]
fn a_release_before_the_activation_is_gone_leaves_two_that_serve() {
    breaks(Weakness::ServesWhileReleasing, Bounds { releases: 1, ..TROUBLE }, &[NOT_STALE]);
}

#[test]
fn a_refusal_taken_for_done_loses_what_was_acknowledged() {
    breaks(Weakness::RefusedIsDone, TROUBLE, &[KEPT]);
}
