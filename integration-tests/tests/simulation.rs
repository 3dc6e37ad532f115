//! The cluster in one thread: seeds, stories under every single fault, and mutants, each of which must be found.
//!
//! `cargo xtask simulate` runs more of the same.

use grange::Mutant;
use grange::testing::Faults;
use integration_tests::simulation::chance;
use integration_tests::simulation::stories::STORIES;

#[test]
fn no_seed_breaks_a_promise() {
    // 32, 35 and 53 found a trim that came late and entered its entity in the agenda for good.
    for seed in (0..10).chain([32, 35, 53]) {
        let _ = chance::run(seed, Faults::all(), None).expect_success();
    }
}

#[test]
fn every_story_ends_well() {
    let failed: Vec<String> = STORIES
        .iter()
        .filter_map(|story| {
            let report = story.run(0, None);
            let why = report.outcome.as_ref().err()?;
            Some(format!("{}: {}", story.name, report.told(why)))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// The pause at the moment of a claim among them: what waited for the claim was applied a second time.
#[test]
fn stories_end_well_with_every_single_fault() {
    // The others have more points than an unoptimized build has time for.
    let short = ["transfer with continuation", "reservation with timeout", "entity moving while messages arrive"];
    for story in STORIES.iter().filter(|story| short.contains(&story.name)) {
        let sweep = story.sweep(0).expect_success();
        assert!(sweep.points > 10, "{}: {sweep:?}", story.name);
    }
}

/// What finds a mutant.
enum By {
    /// The load under faults, from this seed.
    Seed(u64),
    /// The story with this name.
    Story(&'static str),
}

fn is_found(mutant: Mutant, by: &By) -> bool {
    match by {
        By::Seed(seed) => chance::run(*seed, Faults::all(), Some(mutant)).outcome.is_err(),
        By::Story(name) => {
            let story = STORIES.iter().find(|story| story.name == *name).expect("a story has this name");
            story.run(0, Some(mutant)).outcome.is_err()
        }
    }
}

macro_rules! found { ($($test:ident $mutant:ident $by:expr;)*) => {
    $(#[test] fn $test() {
        assert!(is_found(Mutant::$mutant, &$by), "nobody notices: {}", Mutant::$mutant.what());
    })*

    #[test]
    fn every_mutant_is_named_here() {
        let mut named = vec![$(Mutant::$mutant),*];
        named.sort();
        assert_eq!(named, Mutant::ALL);
    }
} }

// By what finds it first, as docs/mutants.md has it.
found! {
    acknowledges_before_commit AcknowledgesBeforeCommit By::Seed(9);
    answers_before_commit AnswersBeforeCommit By::Story("8: one shard loses its tail");
    sends_before_commit SendsBeforeCommit By::Story("5: the outcome's way back");
    lease_ignored LeaseIgnored By::Story("nothing stale from a silo that is cut off");
    rollback_skipped RollbackSkipped By::Story("13: dead letters");
    repeats_applied RepeatsApplied By::Story("fan-out to 10 entities");
    gaps_applied GapsApplied By::Story("13: dead letters");
    gaps_acknowledged GapsAcknowledged By::Story("13: dead letters");
    firsts_unproven FirstsUnproven By::Story("5: the outcome's way back");
    seen_not_recorded SeenNotRecorded By::Story("fan-out to 10 entities");
    key_not_recorded KeyNotRecorded By::Story("idempotent ask across a failover");
    keys_repeated KeysRepeated By::Story("idempotent ask across a failover");
    outbox_not_stored OutboxNotStored By::Story("fan-out to 10 entities");
    numbers_start_again NumbersStartAgain By::Story("entity moving while messages arrive");
    agenda_not_written AgendaNotWritten By::Story("10: due soon, and due tomorrow");
    wakes_ignored WakesIgnored By::Story("entity moving while messages arrive");
    not_repeated NotRepeated By::Story("fan-out to 10 entities");
    forgets_too_soon ForgetsTooSoon By::Seed(3);
    trims_what_is_known TrimsWhatIsKnown By::Seed(46);
    trims_unversioned TrimsUnversioned By::Seed(57);
    commits_unfenced CommitsUnfenced By::Seed(2);
    commits_unversioned CommitsUnversioned By::Seed(0);
    refused_is_done RefusedIsDone By::Seed(2);
    lost_is_refused LostIsRefused By::Seed(0);
    lost_is_repeated LostIsRepeated By::Story("15: a retry that kills");
    takes_from_the_living TakesFromTheLiving By::Story("1: a duplicate before the commit");
    dead_revives DeadRevives By::Story("nothing stale from a silo that is cut off");
    keeps_what_is_void KeepsWhatIsVoid By::Story("the store is emptied");
    continuations_dropped ContinuationsDropped By::Story("transfer with continuation");
    gives_up_at_once GivesUpAtOnce By::Story("1: a duplicate before the commit");
}
