//! The output gate: nothing leaves an entity before what it could have seen is committed, and what a commit came to is
//! told as it is.

#![allow(unreachable_pub)]

mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use behaviour::{Place, eventually, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use grange::prelude::*;
use grange::store::Refusal;
use grange::testing::Fault;
use tokio::sync::{Notify, Semaphore};

/// How a test and a handler meet.
#[derive(Clone, Default)]
struct Meeting {
    started: Arc<Notify>,
    go_on: Arc<Notify>,
}

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A reply that is counted for as long as it is somewhere.
#[derive(Debug, Serialize, Deserialize)]
struct Weight(u64);

impl Drop for Weight {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::SeqCst);
    }
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    sum: u64,
}

#[entity]
impl Tally {
    async fn add(&mut self, more: u64) -> u64 {
        self.sum += more;
        self.sum
    }
    async fn sum(&self) -> u64 {
        self.sum
    }
    async fn weigh(&self) -> Weight {
        KEPT.fetch_add(1, Ordering::SeqCst);
        Weight(self.sum)
    }
    async fn nothing(&mut self) -> u64 {
        self.sum
    }
    async fn reject(&mut self) -> Result<(), u64> {
        Err(self.sum)
    }
    async fn fall(&mut self) {
        panic!("as the test wants")
    }
    async fn tell(&mut self, to: String, turn: &mut Turn<Self>) {
        self.sum += 1;
        turn.send(turn.entity::<Tally>(to).add(10));
    }
    async fn ask(&mut self, to: String, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Meeting>().started.notify_one();
        turn.entity::<Tally>(to).add(10).await.unwrap()
    }
    async fn nudge(&self, to: String, turn: &Turn<Self>) {
        turn.entity::<Tally>(to).add(10).notify();
    }
    async fn settle(&mut self, turn: &mut Turn<Self>) {
        turn.data::<Meeting>().started.notify_one();
        turn.settled().await;
        turn.data::<Meeting>().go_on.notify_one();
    }
    async fn pause(&mut self, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Meeting>().started.notify_one();
        turn.data::<Meeting>().go_on.notified().await;
        self.sum
    }
}

/// An entity whose hook can be made to fail.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Hooked {
    sum: u64,
}

/// How many more times the hook goes well.
#[derive(Clone)]
struct Patience(Arc<Semaphore>);

#[entity]
impl Hooked {
    async fn on_activate(&mut self, turn: &mut Turn<Self>) -> Result<(), String> {
        turn.data::<Patience>().0.try_acquire().map(|permit| permit.forget()).map_err(|_| "no more".into())
    }
    async fn add(&mut self, more: u64) -> u64 {
        self.sum += more;
        self.sum
    }
    async fn sum(&self) -> u64 {
        self.sum
    }
    async fn reject(&mut self) -> Result<(), u64> {
        Err(self.sum)
    }
}

async fn silo(place: &Place, meeting: &Meeting) -> Silo {
    place.silo().entity::<Tally>().data(meeting.clone()).start().await.unwrap()
}

async fn turns(silo: &Silo, count: u64) {
    let look = async || {
        let metrics = silo.metrics();
        metrics.turns_done + metrics.turns_rejected + metrics.turns_panicked
    };
    eventually("turns", look, |ran| *ran >= count).await;
}

on_both_stores!(
    no_reply_leaves_before_the_commits_that_it_could_have_seen,
    turns_queued_behind_a_commit_all_go_in_the_next_one,
    no_message_leaves_before_its_commit,
    no_ask_leaves_before_the_commit_that_its_turn_rests_on,
    no_notification_leaves_before_the_commit_that_its_turn_rests_on,
    settled_waits_for_the_commit_that_the_turn_rests_on,
    no_repeat_is_acknowledged_before_the_commit_of_the_first,
    a_refused_commit_is_told_and_who_waited_is_served_from_the_store,
    a_commit_that_is_refused_at_once_is_told,
    a_lost_answer_is_resolved_by_the_same_commit,
    what_may_have_been_written_is_never_called_undone,
    a_store_that_fails_is_told_and_all_goes_on_when_it_is_back,
    a_hook_that_fails_does_not_call_undone_what_is_being_written,
    what_waits_for_a_commit_is_bounded,
);

async fn no_reply_leaves_before_the_commits_that_it_could_have_seen(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    let key = Uuid::now_v7();
    place.store.hold();
    let mut first = tally.add(1).idempotent(key);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    let (mut read, mut nothing, mut rejected) = (tally.sum(), tally.nothing(), tally.reject());
    let (mut fallen, mut repeat) = (tally.fall(), tally.add(1).idempotent(key));
    let early = (
        (&mut read).now_or_never(),
        (&mut nothing).now_or_never(),
        (&mut rejected).now_or_never(),
        (&mut fallen).now_or_never(),
        (&mut repeat).now_or_never(),
    );
    assert_eq!(early, (None, None, None, None, None));
    turns(&silo, 5).await;
    eventually("the repeat is seen", async || silo.metrics().calls_repeated, |repeated| *repeated == 1).await;
    let held = (
        (&mut first).now_or_never(),
        (&mut read).now_or_never(),
        (&mut nothing).now_or_never(),
        (&mut rejected).now_or_never(),
        (&mut fallen).now_or_never(),
        (&mut repeat).now_or_never(),
    );
    assert_eq!(held, (None, None, None, None, None, None));
    place.store.let_go();
    assert_eq!((first.await, read.await, nothing.await), (Ok(1), Ok(1), Ok(1)));
    assert_eq!(
        (rejected.await, fallen.await, repeat.await),
        (Err(CallError::Rejected(1)), Err(CallError::Panicked), Ok(1))
    );
}

async fn turns_queued_behind_a_commit_all_go_in_the_next_one(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    place.store.hold();
    let mut first = tally.add(1);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    let mut behind: Vec<_> = (0..200).map(|_| tally.add(1)).collect();
    for call in &mut behind {
        assert_eq!(call.now_or_never(), None);
    }
    turns(&silo, 201).await;
    place.store.let_go();
    assert_eq!(first.await, Ok(1));
    assert_eq!(join_all(behind).await, (2..=201).map(Ok).collect::<Vec<_>>());
    assert_eq!((silo.store_stats().commits, silo.metrics().commits), (2, 2));
}

async fn no_message_leaves_before_its_commit(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let client = silo.client();
    place.store.hold();
    let mut told = client.entity::<Tally>("a").tell("b".into());
    assert_eq!((&mut told).now_or_never(), None);
    place.store.until_commits(1).await;
    assert_eq!(client.entity::<Tally>("z").sum().await, Ok(0));
    assert_eq!((silo.metrics().messages_sent, client.entity::<Tally>("b").sum().await), (0, Ok(0)));
    place.store.let_go();
    assert_eq!(told.await, Ok(()));
    eventually("the message", async || client.entity::<Tally>("b").sum().await, |sum| *sum == Ok(10)).await.unwrap();
}

async fn no_ask_leaves_before_the_commit_that_its_turn_rests_on(place: Place) {
    let meeting = Meeting::default();
    let silo = silo(&place, &meeting).await;
    let client = silo.client();
    place.store.hold_after(0);
    let mut first = client.entity::<Tally>("a").add(1);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    let mut asking = client.entity::<Tally>("a").ask("b".into());
    assert_eq!((&mut asking).now_or_never(), None);
    meeting.started.notified().await;
    assert_eq!(client.entity::<Tally>("z").sum().await, Ok(0));
    assert_eq!(client.entity::<Tally>("b").sum().await, Ok(0));
    place.store.let_go();
    assert_eq!((first.await, asking.await), (Ok(1), Ok(10)));
}

async fn no_notification_leaves_before_the_commit_that_its_turn_rests_on(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let client = silo.client();
    place.store.hold();
    let mut first = client.entity::<Tally>("a").add(1);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    let mut nudging = client.entity::<Tally>("a").nudge("b".into());
    assert_eq!((&mut nudging).now_or_never(), None);
    turns(&silo, 2).await;
    assert_eq!(client.entity::<Tally>("b").sum().await, Ok(0));
    place.store.let_go();
    assert_eq!((first.await, nudging.await), (Ok(1), Ok(())));
    eventually("the notification", async || client.entity::<Tally>("b").sum().await, |sum| *sum == Ok(10))
        .await
        .unwrap();
}

async fn settled_waits_for_the_commit_that_the_turn_rests_on(place: Place) {
    let meeting = Meeting::default();
    let silo = silo(&place, &meeting).await;
    let tally = silo.client().entity::<Tally>("a");
    place.store.hold();
    let mut first = tally.add(1);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    let mut settling = tally.settle();
    assert_eq!((&mut settling).now_or_never(), None);
    meeting.started.notified().await;
    assert_eq!(silo.client().entity::<Tally>("z").sum().await, Ok(0));
    assert_eq!(meeting.go_on.notified().now_or_never(), None);
    place.store.let_go();
    assert_eq!((first.await, settling.await), (Ok(1), Ok(())));
}

async fn no_repeat_is_acknowledged_before_the_commit_of_the_first(place: Place) {
    let resend = |limits: &mut grange::Limits| limits.resend = Duration::from_millis(30);
    let silo = place.silo().entity::<Tally>().data(Meeting::default()).limits(resend).start().await.unwrap();
    let client = silo.client();
    // The sender's commit goes through; the target's waits, and is refused.
    place.store.commits([Fault::None, Fault::Refuse(Refusal::Superseded)]);
    place.store.hold_after(1);
    assert_eq!(client.entity::<Tally>("a").tell("b".into()).await, Ok(()));
    eventually("a repeat", async || silo.metrics().messages_repeated, |repeated| *repeated > 0).await;
    place.store.let_go();
    eventually("the message", async || client.entity::<Tally>("b").sum().await, |sum| *sum == Ok(10)).await.unwrap();
    let applied = async || silo.store_stats().trims;
    eventually("the acknowledgement", applied, |trims| *trims > 0).await;
    assert_eq!(client.entity::<Tally>("b").sum().await, Ok(10));
}

async fn a_refused_commit_is_told_and_who_waited_is_served_from_the_store(place: Place) {
    let meeting = Meeting::default();
    let silo = silo(&place, &meeting).await;
    let tally = silo.client().entity::<Tally>("a");
    assert_eq!(tally.add(1).await, Ok(1));
    place.store.commits([Fault::Refuse(Refusal::Superseded)]);
    place.store.hold();
    let (mut refused, mut behind) = (tally.add(10), tally.add(100));
    assert_eq!((&mut refused).now_or_never(), None);
    place.store.until_commits(2).await;
    assert_eq!((&mut behind).now_or_never(), None);
    let (mut running, mut waiting) = (tally.pause(), tally.add(1000));
    assert_eq!((&mut running).now_or_never(), None);
    meeting.started.notified().await;
    assert_eq!((&mut waiting).now_or_never(), None);
    place.store.let_go();
    let not_applied = |answer: &Result<u64, CallError>| matches!(answer, Err(CallError::NotApplied { .. }));
    let (refused, behind, running) = (refused.await, behind.await, running.await);
    assert!(
        not_applied(&refused) && not_applied(&behind) && not_applied(&running),
        "{refused:?} {behind:?} {running:?}"
    );
    assert_eq!((waiting.await, tally.sum().await), (Ok(1001), Ok(1001)));
}

async fn a_commit_that_is_refused_at_once_is_told(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    assert_eq!(tally.add(1).await, Ok(1));
    place.store.commits([Fault::Refuse(Refusal::Superseded)]);
    let refused = tally.add(10).timeout(Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(CallError::NotApplied { .. })), "{refused:?}");
    assert_eq!(tally.add(100).await, Ok(101));
}

async fn a_lost_answer_is_resolved_by_the_same_commit(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    place.store.commits([Fault::FailAfter, Fault::FailAfter]);
    assert_eq!(tally.add(1).timeout(Duration::from_secs(5)).await, Ok(1));
    let seen = place.store.seen();
    let ids: Vec<u128> = seen.commits.iter().map(|(_, commit)| *commit).collect();
    assert_eq!((ids.len(), ids.iter().all(|id| *id == ids[0])), (3, true));
    assert_eq!((silo.store_stats().commits, tally.sum().await), (1, Ok(1)));
}

async fn what_may_have_been_written_is_never_called_undone(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    place.store.commits([Fault::FailAfter; 4]);
    let mut unknown = tally.add(1).timeout(Duration::from_secs(5));
    assert_eq!((&mut unknown).now_or_never(), None);
    place.store.until_commits(1).await;
    // Behind it, and not written for certain.
    let mut gathered = tally.add(10);
    assert_eq!((&mut gathered).now_or_never(), None);
    let answer = unknown.await;
    assert!(matches!(answer, Err(CallError::Unknown { .. })), "{answer:?}");
    let answer = gathered.await;
    assert!(matches!(answer, Err(CallError::NotApplied { .. })), "{answer:?}");
    assert_eq!(tally.sum().await, Ok(1));
}

async fn a_store_that_fails_is_told_and_all_goes_on_when_it_is_back(place: Place) {
    let silo = silo(&place, &Meeting::default()).await;
    let tally = silo.client().entity::<Tally>("a");
    assert_eq!(tally.add(1).await, Ok(1));
    place.store.outage(true);
    let unknown = tally.add(10).timeout(Duration::from_secs(5)).await;
    assert!(matches!(unknown, Err(CallError::Unknown { .. })), "{unknown:?}");
    let unavailable = tally.add(100).await;
    assert!(matches!(unavailable, Err(CallError::Unavailable { .. })), "{unavailable:?}");
    place.store.outage(false);
    assert_eq!(tally.add(1000).await, Ok(1001));
}

async fn a_hook_that_fails_does_not_call_undone_what_is_being_written(place: Place) {
    let patience = Patience(Arc::new(Semaphore::new(1)));
    let silo = place.silo().entity::<Hooked>().data(patience.clone()).start().await.unwrap();
    let hooked = silo.client().entity::<Hooked>("a");
    place.store.hold();
    let mut writing = hooked.add(1);
    assert_eq!((&mut writing).now_or_never(), None);
    place.store.until_commits(1).await;
    // Rolled back, so that the hook is to run again; it fails.
    let (mut rejected, mut next) = (hooked.reject(), hooked.add(10));
    assert_eq!(((&mut rejected).now_or_never(), (&mut next).now_or_never()), (None, None));
    turns(&silo, 4).await;
    place.store.let_go();
    let written = writing.await;
    // Only then: another claim would be in the way of what is being written.
    let applied = async || silo.store_stats().commits;
    eventually("the commit", applied, |commits| *commits >= 1).await;
    patience.0.add_permits(100);
    let sum = hooked.sum().await;
    let honest = match &written {
        Ok(sum) => *sum == 1,
        Err(error) => error.may_have_applied(),
    };
    assert!(honest, "the store has {sum:?}, and its caller was told {written:?}");
}

async fn what_waits_for_a_commit_is_bounded(place: Place) {
    let few = |limits: &mut grange::Limits| {
        limits.calls_max = 50;
        limits.mailbox_calls_max = 50;
    };
    let silo = place.silo().workers(1).entity::<Tally>().data(Meeting::default()).limits(few).start().await.unwrap();
    let tally = silo.client().entity::<Tally>("a");
    place.store.hold();
    let mut first = tally.add(1);
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    for _ in 0..50 {
        // Callers who don't wait for ever: what they were to be told is of no use any more.
        let mut reads: Vec<_> = (0..20).map(|_| tally.weigh()).collect();
        reads.iter_mut().for_each(|read| drop(read.now_or_never()));
        let ran = silo.client().entity::<Tally>("z").sum();
        within("an answer", ran).await.unwrap();
    }
    let held = KEPT.load(Ordering::SeqCst);
    place.store.let_go();
    assert!(held <= 100, "{held} replies were held for one commit, with limits of 50 calls");
}
