//! Idempotent asks: one effect and one reply under a key, whatever is retried and whatever fails in between.

#![allow(unreachable_pub)]

mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use behaviour::{Place, eventually, within};
use futures_util::future::join_all;
use grange::SiloBuilder;
use grange::prelude::*;
use grange::store::Refusal;
use grange::testing::Fault;

#[derive(Clone, Default)]
struct Mood(Arc<(AtomicU64, AtomicI64)>);

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Till {
    sum: u64,
}

#[entity]
impl Till {
    async fn add(&mut self, more: u64, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Mood>().0.0.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.sum += more;
        self.sum
    }
    async fn take(&mut self, less: u64) -> Result<u64, u64> {
        self.sum = self.sum.checked_sub(less).ok_or(self.sum)?;
        Ok(self.sum)
    }
    async fn sum(&self) -> u64 {
        self.sum
    }
    async fn fall(&mut self, turn: &mut Turn<Self>) -> u64 {
        if turn.data::<Mood>().0.1.fetch_sub(1, Ordering::SeqCst) > 0 {
            panic!("as the test wants");
        }
        self.sum += 1;
        self.sum
    }
    /// Asks another one on the way.
    async fn pass(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> u64 {
        let there = turn.entity::<Till>(to).add(amount).await.unwrap();
        self.sum += amount;
        there
    }
    async fn key(&mut self, turn: &mut Turn<Self>) -> Option<Uuid> {
        turn.idempotency_key()
    }
}

fn tills(place: &Place, mood: &Mood) -> SiloBuilder {
    place.silo().entity::<Till>().data(mood.clone())
}

fn key_at(ms_ago: i64) -> Uuid {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    uuid::Builder::from_unix_timestamp_millis((now - ms_ago) as u64, &[7; 10]).into_uuid()
}

on_both_stores!(
    one_key_is_one_effect_and_one_reply,
    a_rejection_is_an_outcome_that_stays,
    copies_at_the_same_time_are_one,
    a_key_is_remembered_across_restarts,
    a_key_stands_for_one_call,
    a_key_whose_age_does_not_show_or_is_out_of_the_window_is_refused,
    keys_are_bounded_and_forgotten_with_time,
    a_retry_goes_through_a_failing_store,
    a_retry_of_a_lost_commit_has_one_effect,
    a_read_under_a_key_is_retried,
    a_panic_is_not_remembered,
    an_ask_on_the_way_is_made_once_when_its_turn_runs_again,
    the_turn_knows_its_key,
);

async fn one_key_is_one_effect_and_one_reply(place: Place) {
    let mood = Mood::default();
    let silo = tills(&place, &mood).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    let key = Uuid::now_v7();
    assert_eq!(till.add(5).idempotent(key).await, Ok(5));
    assert_eq!(till.add(5).await, Ok(10));
    for _ in 0..5 {
        assert_eq!(till.add(5).idempotent(key).await, Ok(5));
    }
    assert_eq!((till.sum().await, mood.0.0.load(Ordering::SeqCst), silo.metrics().calls_repeated), (Ok(10), 2, 5));
}

async fn a_rejection_is_an_outcome_that_stays(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    let key = Uuid::now_v7();
    assert_eq!(till.take(5).idempotent(key).await, Err(CallError::Rejected(0)));
    assert_eq!(till.add(50).await, Ok(50));
    assert_eq!(till.take(5).idempotent(key).await, Err(CallError::Rejected(0)));
    place.crash(silo).await;
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    assert_eq!((till.take(5).idempotent(key).await, till.sum().await), (Err(CallError::Rejected(0)), Ok(50)));
}

async fn copies_at_the_same_time_are_one(place: Place) {
    let mood = Mood::default();
    let silo = tills(&place, &mood).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    for round in 1..=20 {
        let key = Uuid::now_v7();
        let copies = (0..10).map(|_| tokio::spawn(till.add(1).idempotent(key)));
        let replies: Vec<_> = join_all(copies).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(replies, vec![Ok(round); 10]);
    }
    assert_eq!(mood.0.0.load(Ordering::SeqCst), 20);
}

async fn a_key_is_remembered_across_restarts(place: Place) {
    let key = Uuid::now_v7();
    for _ in 0..4 {
        let silo = tills(&place, &Mood::default()).start().await.unwrap();
        assert_eq!(silo.client().entity::<Till>("a").add(5).idempotent(key).await, Ok(5));
        place.crash(silo).await;
    }
    assert_eq!(place.store.seen().commits.len(), 1);
}

async fn a_key_stands_for_one_call(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let (a, b) = (silo.client().entity::<Till>("a"), silo.client().entity::<Till>("b"));
    let key = Uuid::now_v7();
    assert_eq!(a.add(5).idempotent(key).await, Ok(5));
    assert_eq!(a.add(6).idempotent(key).await, Err(CallError::KeyReused));
    assert_eq!(a.take(5).idempotent(key).await, Err(CallError::KeyReused));
    assert_eq!(a.sum().await, Ok(5));
    // Another entity, another memory.
    assert_eq!(b.add(6).idempotent(key).await, Ok(6));
}

async fn a_key_whose_age_does_not_show_or_is_out_of_the_window_is_refused(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    for key in [Uuid::new_v4(), Uuid::nil(), key_at(601_000), key_at(-60_000)] {
        let refused = till.add(5).idempotent(key).await;
        assert!(matches!(refused, Err(CallError::TooOld { .. })), "{refused:?}");
    }
    assert_eq!(till.add(5).idempotent(key_at(500_000)).await, Ok(5));
    assert_eq!(till.add(5).idempotent(key_at(-5_000)).await, Ok(10));
    assert_eq!(till.add(5).idempotent(Uuid::now_v7()).await, Ok(15));
}

async fn keys_are_bounded_and_forgotten_with_time(place: Place) {
    let silo = tills(&place, &Mood::default())
        .limits(|limits| {
            limits.keys_max = 3;
            limits.key_window = Duration::from_millis(500);
        })
        .start()
        .await
        .unwrap();
    let till = silo.client().entity::<Till>("a");
    let first = Uuid::now_v7();
    assert_eq!(till.add(1).idempotent(first).await, Ok(1));
    assert_eq!(till.add(1).idempotent(Uuid::now_v7()).await, Ok(2));
    assert_eq!(till.add(1).idempotent(Uuid::now_v7()).await, Ok(3));
    let full = till.add(1).timeout(Duration::from_millis(50)).idempotent(Uuid::now_v7()).await;
    assert!(matches!(full, Err(CallError::Overloaded { .. } | CallError::Timeout)), "{full:?}");
    // With time there is room again, and what was forgotten is refused.
    eventually("their time is over", async || key_expired(first), |expired| *expired).await;
    let room = till.add(1).timeout(Duration::from_millis(300)).idempotent(Uuid::now_v7()).await;
    assert_eq!(room, Ok(4));
    let forgotten = till.add(1).idempotent(first).await;
    assert!(matches!(forgotten, Err(CallError::TooOld { .. })), "{forgotten:?}");
}

fn key_expired(key: Uuid) -> bool {
    let (seconds, nanos) = key.get_timestamp().unwrap().to_unix();
    let made = Duration::new(seconds, nanos);
    std::time::UNIX_EPOCH.elapsed().unwrap() > made + Duration::from_millis(700)
}

async fn a_retry_goes_through_a_failing_store(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    assert_eq!(till.add(1).await, Ok(1));
    place.store.outage(true);
    let keyed = tokio::spawn(till.add(10).idempotent(Uuid::now_v7()));
    within("tries", place.store.until(|seen| seen.claims >= 3)).await;
    place.store.outage(false);
    assert_eq!((within("the ask", keyed).await.unwrap(), till.sum().await), (Ok(11), Ok(11)));
}

async fn a_retry_of_a_lost_commit_has_one_effect(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    let ends = [
        vec![Fault::FailAfter; 4],
        vec![Fault::FailBefore; 4],
        vec![Fault::Refuse(Refusal::Superseded)],
        vec![Fault::FailBefore, Fault::FailAfter, Fault::FailBefore, Fault::FailBefore],
    ];
    for (number, faults) in (1..).zip(ends) {
        place.store.commits(faults);
        assert_eq!(within("the ask", till.add(1).idempotent(Uuid::now_v7())).await, Ok(number));
    }
    assert_eq!((till.sum().await, silo.store_stats().commits), (Ok(4), 4));
}

async fn a_read_under_a_key_is_retried(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    place.store.claims([Fault::FailBefore]);
    let read = within("the read", till.sum().timeout(Duration::from_secs(5)).idempotent(Uuid::now_v7())).await;
    assert_eq!(read, Ok(0));
    // Not remembered: the same key reads again.
    assert_eq!(till.add(5).await, Ok(5));
    assert_eq!(silo.metrics().calls_repeated, 0);
}

async fn a_panic_is_not_remembered(place: Place) {
    let mood = Mood::default();
    mood.0.1.store(1, Ordering::SeqCst);
    let silo = tills(&place, &mood).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    let key = Uuid::now_v7();
    assert_eq!(till.fall().idempotent(key).await, Err(CallError::Panicked));
    assert_eq!((till.fall().idempotent(key).await, till.fall().idempotent(key).await), (Ok(1), Ok(1)));
}

async fn an_ask_on_the_way_is_made_once_when_its_turn_runs_again(place: Place) {
    let mood = Mood::default();
    let silo = tills(&place, &mood).start().await.unwrap();
    let client = silo.client();
    // The inner ask is committed; then the outer turn's commit is refused, and the turn runs again.
    place.store.commits([Fault::None, Fault::Refuse(Refusal::Superseded)]);
    let passed = client.entity::<Till>("a").pass("b".into(), 5).idempotent(Uuid::now_v7());
    assert_eq!(within("the ask", passed).await, Ok(5));
    assert_eq!((client.entity::<Till>("a").sum().await, client.entity::<Till>("b").sum().await), (Ok(5), Ok(5)));
    assert_eq!(mood.0.0.load(Ordering::SeqCst), 1);
}

async fn the_turn_knows_its_key(place: Place) {
    let silo = tills(&place, &Mood::default()).start().await.unwrap();
    let till = silo.client().entity::<Till>("a");
    let key = Uuid::now_v7();
    assert_eq!((till.key().idempotent(key).await, till.key().await), (Ok(Some(key)), Ok(None)));
}
