//! Durable messages: applied once, in order, with one outcome, whatever happens to silos in between.

#![allow(unreachable_pub)]

mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use behaviour::{Place, eventually};
use grange::prelude::*;
use grange::testing::Fault;
use grange::{Cause, SiloBuilder};

/// What the handlers of a test are to do.
#[derive(Clone, Default)]
struct Mood(Arc<Moods>);

#[derive(Default)]
struct Moods {
    /// So many more times: panic; ask to be run again later.
    panics: AtomicI64,
    retries: AtomicI64,
    runs: AtomicU64,
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Node {
    sent: u64,
    got: Vec<(String, u64)>,
    outcomes: Vec<String>,
}

#[entity]
impl Node {
    async fn put(&mut self, from: String, number: u64) {
        self.got.push((from, number));
    }
    async fn got(&self) -> Vec<(String, u64)> {
        self.got.clone()
    }
    async fn outcomes(&self) -> Vec<String> {
        self.outcomes.clone()
    }
    async fn sent(&self) -> u64 {
        self.sent
    }
    /// To each of them, in order, so many.
    async fn send(&mut self, to: Vec<String>, count: u64, turn: &mut Turn<Self>) -> u64 {
        let me = turn.key().clone();
        for _ in 0..count {
            for to in &to {
                turn.send(turn.entity::<Node>(to).put(me.clone(), self.sent));
            }
            self.sent += 1;
        }
        self.sent
    }
    async fn take(&mut self, from: String, amount: u64, turn: &mut Turn<Self>) -> Result<u64, String> {
        let mood = turn.data::<Mood>().0.clone();
        mood.runs.fetch_add(1, Ordering::SeqCst);
        self.got.push((from, amount));
        if mood.panics.fetch_sub(1, Ordering::SeqCst) > 0 {
            panic!("as the test wants");
        }
        if mood.retries.fetch_sub(1, Ordering::SeqCst) > 0 {
            turn.retry();
        }
        if amount == 13 { Err("unlucky".into()) } else { Ok(amount * 2) }
    }
    async fn give(&mut self, to: String, amount: u64, then: String, turn: &mut Turn<Self>) {
        let me = turn.key().clone();
        let target = turn.entity::<Node>(to);
        if then.is_empty() {
            turn.send(target.take(me, amount));
        } else {
            turn.send(target.take(me, amount).then(turn.entity::<Node>(then).taken(amount)));
        }
    }
    async fn taken(&mut self, amount: u64, outcome: Outcome<u64, String>) {
        self.outcomes.push(format!("{amount}: {outcome:?}"));
    }
    /// Asks another one in its turn, and passes a failure on.
    async fn ask(&mut self, other: String, turn: &mut Turn<Self>) -> Result<u64, String> {
        turn.data::<Mood>().0.runs.fetch_add(1, Ordering::SeqCst);
        if turn.data::<Mood>().0.panics.fetch_sub(1, Ordering::SeqCst) > 0 {
            panic!("as the test wants");
        }
        let got = turn.entity::<Node>(other).add().await.map_err(|error| error.to_string())?;
        self.sent += got;
        Ok(got)
    }
    async fn have_ask(&mut self, to: String, other: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(to).ask(other).then(turn.me().taken(0)));
    }
    async fn add(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }
    async fn have_send(&mut self, to: String, targets: Vec<String>, count: u64, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(to).send(targets, count).then(turn.me().sent_all()));
    }
    async fn sent_all(&mut self, outcome: Outcome<u64>) {
        self.outcomes.push(format!("sent: {outcome:?}"));
    }
    async fn tell_strangers(&mut self, count: u64, turn: &mut Turn<Self>) {
        for number in 0..count {
            turn.send(turn.entity::<Stranger>("s").put(number));
        }
    }
    async fn remind(&mut self, name: String, after_ms: u64, every_ms: u64, number: u64, turn: &mut Turn<Self>) {
        let mut message = turn.me().put(name.clone(), number).after(Duration::from_millis(after_ms));
        if every_ms > 0 {
            message = message.every(Duration::from_millis(every_ms));
        }
        turn.send(message.named(name));
    }
    async fn forget(&mut self, name: String, turn: &mut Turn<Self>) {
        turn.cancel(&name);
    }
    async fn delete(&mut self, turn: &mut Turn<Self>) {
        turn.delete();
    }
    async fn tell_newer(&mut self, number: u64, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<newer::Kin>("k").fresh(number));
        turn.send(turn.entity::<newer::Kin>("k").known(format!("secret {number}")));
    }
}

/// A kind that is not always hosted.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Stranger {
    got: Vec<u64>,
}

#[entity]
impl Stranger {
    async fn put(&mut self, number: u64) {
        self.got.push(number);
    }
    async fn got(&self) -> Vec<u64> {
        self.got.clone()
    }
}

mod newer {
    use grange::prelude::*;

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub struct Kin {
        got: Vec<String>,
    }
    #[entity]
    impl Kin {
        pub async fn fresh(&mut self, number: u64) {
            self.got.push(number.to_string());
        }
        pub async fn known(&mut self, text: String) {
            self.got.push(text);
        }
        pub async fn got(&self) -> Vec<String> {
            self.got.clone()
        }
    }
}

mod older {
    use grange::prelude::*;

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub struct Kin {
        got: Vec<String>,
    }
    #[entity]
    impl Kin {
        pub async fn known(&mut self, text: String) {
            self.got.push(text);
        }
    }
}

mod other {
    use grange::prelude::*;

    /// The same kind, whose handlers want something else.
    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub struct Kin {
        got: Vec<String>,
    }
    #[entity]
    impl Kin {
        pub async fn fresh(&mut self, number: u64) {
            self.got.push(number.to_string());
        }
        pub async fn known(&mut self, number: u64) {
            self.got.push(number.to_string());
        }
        pub async fn got(&self) -> Vec<String> {
            self.got.clone()
        }
    }
}

on_both_stores!(
    an_outcome_reaches_its_continuation,
    a_continuation_may_be_on_a_third_entity,
    messages_of_a_pair_are_applied_in_their_order,
    an_entity_may_send_to_itself_and_to_many,
    messages_are_applied_once_and_in_order_whenever_silos_die,
    a_rejected_message_without_a_continuation_is_a_dead_letter,
    a_message_whose_handler_panics_is_given_up_and_holds_up_nobody_else,
    a_message_that_is_tried_again_does_not_wait_for_a_resend,
    a_handler_may_ask_to_be_run_later_as_often_as_it_needs,
    an_attempt_is_counted_before_it_is_made_also_behind_another_commit,
    what_is_unavailable_never_becomes_an_outcome,
    a_full_outbox_never_becomes_an_outcome,
    a_message_older_than_the_window_of_keys_can_still_ask,
    messages_wait_for_a_kind_that_nobody_hosts,
    messages_wait_for_a_handler_of_a_newer_version,
    a_message_that_cannot_be_decoded_is_a_dead_letter_and_holds_up_nobody,
    a_message_found_after_a_restart_is_delivered_without_a_call,
    one_failure_postpones_a_stream_once,
    a_reminder_fires_once_also_when_silos_die,
    a_reminder_repeats_until_it_is_cancelled,
    a_named_reminder_replaces_the_one_before_also_at_the_limit,
    a_deleted_entity_has_no_reminders_and_still_recognises_repeats,
);

fn nodes(place: &Place, mood: &Mood) -> SiloBuilder {
    place.silo().entity::<Node>().data(mood.clone()).limits(|limits| limits.attempts_max = 3)
}

fn numbers(from: &str, until: u64) -> Vec<(String, u64)> {
    (0..until).map(|number| (from.to_owned(), number)).collect()
}

async fn got(silo: &Silo, node: &str, what: &[(String, u64)]) {
    let node = silo.client().entity::<Node>(node);
    eventually("messages", async || node.got().await, |got| got.as_deref() == Ok(what)).await.unwrap();
}

async fn outcomes(silo: &Silo, node: &str, what: &[&str]) {
    let node = silo.client().entity::<Node>(node);
    let same = |got: &Result<Vec<String>, _>| got.as_ref().is_ok_and(|got| got == what);
    eventually("outcomes", async || node.outcomes().await, same).await.unwrap();
}

async fn an_outcome_reaches_its_continuation(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.give("b".into(), 5, "a".into()).await.unwrap();
    outcomes(&silo, "a", &["5: Ok(10)"]).await;
    a.give("b".into(), 13, "a".into()).await.unwrap();
    outcomes(&silo, "a", &["5: Ok(10)", "13: Err(Rejected(\"unlucky\"))"]).await;
    mood.0.panics.store(1_000, Ordering::SeqCst);
    a.give("b".into(), 7, "a".into()).await.unwrap();
    outcomes(&silo, "a", &["5: Ok(10)", "13: Err(Rejected(\"unlucky\"))", "7: Err(GivenUp)"]).await;
    got(&silo, "b", &[("a".into(), 5)]).await;
    assert_eq!(silo.dead_letters(10).await.unwrap(), []);
}

async fn a_continuation_may_be_on_a_third_entity(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    silo.client().entity::<Node>("a").give("b".into(), 5, "c".into()).await.unwrap();
    outcomes(&silo, "c", &["5: Ok(10)"]).await;
    got(&silo, "b", &[("a".into(), 5)]).await;
}

async fn messages_of_a_pair_are_applied_in_their_order(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    for _ in 0..20 {
        a.send(vec!["b".into(), "c".into(), "d".into()], 50).await.unwrap();
    }
    for target in ["b", "c", "d"] {
        got(&silo, target, &numbers("a", 1_000)).await;
    }
    assert_eq!(silo.metrics().messages_applied, 3_000);
}

async fn an_entity_may_send_to_itself_and_to_many(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    let many: Vec<String> = (0..100).map(|number| format!("n{number}")).chain(["a".into()]).collect();
    silo.client().entity::<Node>("a").send(many.clone(), 3).await.unwrap();
    for node in many {
        got(&silo, &node, &numbers("a", 3)).await;
    }
}

async fn messages_are_applied_once_and_in_order_whenever_silos_die(place: Place) {
    let mood = Mood::default();
    let targets = ["b", "c", "a"].map(String::from).to_vec();
    for round in 0..12 {
        let silo =
            nodes(&place, &mood).limits(|limits| limits.resend = Duration::from_millis(50)).start().await.unwrap();
        let a = silo.client().entity::<Node>("a");
        let before = place.store.seen().commits.len();
        let sending = tokio::spawn(a.send(targets.clone(), 40));
        place.store.until_commits(before + 1 + round * 5).await;
        place.crash(silo).await;
        sending.await.unwrap().ok();
    }
    let silo = nodes(&place, &mood).limits(|limits| limits.resend = Duration::from_millis(50)).start().await.unwrap();
    let sent = silo.client().entity::<Node>("a").sent().await.unwrap();
    assert!(sent > 0);
    for target in ["b", "c", "a"] {
        got(&silo, target, &numbers("a", sent)).await;
    }
}

async fn a_rejected_message_without_a_continuation_is_a_dead_letter(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.give("b".into(), 13, String::new()).await.unwrap();
    a.give("b".into(), 5, String::new()).await.unwrap();
    got(&silo, "b", &[("a".into(), 5)]).await;
    let letters = silo.dead_letters(10).await.unwrap();
    let [(entity, number, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((entity.to_string(), letter.message.method.as_str()), ("Node/b".into(), "take"));
    assert!(matches!(letter.cause, Cause::Rejected(_)), "{letter:?}");
    assert_eq!(silo.metrics().dead_letters, 1);
    // Somebody has seen to it.
    silo.drop_dead_letter(entity, *number);
    let left = async || silo.dead_letters(10).await.unwrap().len();
    eventually("the letter is gone", left, |left| *left == 0).await;
}

async fn a_message_whose_handler_panics_is_given_up_and_holds_up_nobody_else(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).start().await.unwrap();
    mood.0.panics.store(3, Ordering::SeqCst);
    let client = silo.client();
    client.entity::<Node>("a").give("b".into(), 1, String::new()).await.unwrap();
    client.entity::<Node>("a").send(vec!["b".into()], 1).await.unwrap();
    client.entity::<Node>("z").send(vec!["b".into()], 1).await.unwrap();
    got(&silo, "b", &[("z".into(), 0), ("a".into(), 0)]).await;
    assert_eq!((mood.0.runs.load(Ordering::SeqCst), silo.metrics().turns_panicked), (3, 3));
    let letters = silo.dead_letters(10).await.unwrap();
    assert!(matches!(&letters[..], [(_, _, letter)] if letter.cause == Cause::GivenUp(3)), "{letters:?}");
}

async fn a_message_that_is_tried_again_does_not_wait_for_a_resend(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).limits(|limits| limits.resend = Duration::from_secs(600)).start().await.unwrap();
    mood.0.panics.store(2, Ordering::SeqCst);
    silo.client().entity::<Node>("a").give("b".into(), 1, "a".into()).await.unwrap();
    // Not asked: a call would get the target going.
    let applied = async || silo.metrics().messages_applied;
    eventually("the message and its continuation", applied, |applied| *applied == 2).await;
}

async fn a_handler_may_ask_to_be_run_later_as_often_as_it_needs(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).limits(|limits| limits.resend = Duration::from_millis(50)).start().await.unwrap();
    mood.0.retries.store(5, Ordering::SeqCst);
    silo.client().entity::<Node>("a").give("b".into(), 1, "a".into()).await.unwrap();
    outcomes(&silo, "a", &["1: Ok(2)"]).await;
    assert_eq!(mood.0.runs.load(Ordering::SeqCst), 6);
}

async fn an_attempt_is_counted_before_it_is_made_also_behind_another_commit(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).start().await.unwrap();
    let b = silo.client().entity::<Node>("b");
    mood.0.panics.store(1, Ordering::SeqCst);
    // The sender's commit, and the target's: a first attempt that failed.
    place.store.hold_after(2);
    silo.client().entity::<Node>("a").give("b".into(), 1, String::new()).await.unwrap();
    place.store.until_commits(2).await;
    let other = tokio::spawn(b.put("client".into(), 1));
    place.store.until_commits(3).await;
    eventually("the second delivery", async || silo.metrics().messages_sent, |sent| *sent == 2).await;
    // That one is written; the count of the second attempt, which follows it, is not.
    place.store.hold();
    other.await.unwrap().unwrap();
    place.store.until_commits(4).await;
    assert_eq!(mood.0.runs.load(Ordering::SeqCst), 1, "it ran before its attempt was written");
    place.store.let_go();
    got(&silo, "b", &[("client".into(), 1), ("a".into(), 1)]).await;
}

async fn what_is_unavailable_never_becomes_an_outcome(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood)
        .limits(|limits| {
            limits.resend = Duration::from_millis(50);
            // The turn's limit, and so the keyed ask's.
            limits.timeout_default = Duration::from_millis(300);
        })
        .start()
        .await
        .unwrap();
    let client = silo.client();
    client.entity::<Node>("b").sent().await.unwrap();
    client.entity::<Node>("a").sent().await.unwrap();
    // `c` can't be loaded for a while: longer than three tries take.
    place.store.claims([Fault::FailBefore; 20]);
    client.entity::<Node>("a").have_ask("b".into(), "c".into()).await.unwrap();
    outcomes(&silo, "a", &["0: Ok(1)"]).await;
}

async fn a_full_outbox_never_becomes_an_outcome(place: Place) {
    let few = |limits: &mut grange::Limits| {
        limits.resend = Duration::from_millis(50);
        limits.outbox_messages_max = 10;
    };
    let silo = nodes(&place, &Mood::default()).limits(few).start().await.unwrap();
    let client = silo.client();
    client.entity::<Node>("b").tell_strangers(8).await.unwrap();
    let refused = client.entity::<Node>("b").tell_strangers(8).await;
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
    client.entity::<Node>("a").have_send("b".into(), vec!["c".into()], 5).await.unwrap();
    let postponed = async || (silo.metrics().messages_postponed, client.entity::<Node>("a").outcomes().await.unwrap());
    let (_, outcomes_then) =
        eventually("tries", postponed, |(times, outcomes)| *times > 5 || !outcomes.is_empty()).await;
    assert_eq!(outcomes_then, Vec::<String>::new());
    silo.shutdown().await.unwrap();
    let silo = nodes(&place, &Mood::default()).entity::<Stranger>().limits(few).start().await.unwrap();
    outcomes(&silo, "a", &["sent: Ok(5)"]).await;
    got(&silo, "c", &numbers("b", 5)).await;
}

async fn a_message_older_than_the_window_of_keys_can_still_ask(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood)
        .limits(|limits| {
            limits.resend = Duration::from_millis(50);
            limits.attempts_max = 6;
            limits.key_window = Duration::from_millis(20);
        })
        .start()
        .await
        .unwrap();
    // Its first tries fail, until it is older than keys are remembered.
    mood.0.panics.store(3, Ordering::SeqCst);
    silo.client().entity::<Node>("a").have_ask("b".into(), "c".into()).await.unwrap();
    outcomes(&silo, "a", &["0: Ok(1)"]).await;
}

async fn messages_wait_for_a_kind_that_nobody_hosts(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    silo.client().entity::<Node>("a").tell_strangers(20).await.unwrap();
    silo.shutdown().await.unwrap();
    let silo = nodes(&place, &Mood::default()).entity::<Stranger>().start().await.unwrap();
    let stranger = silo.client().entity::<Stranger>("s");
    let all: Vec<u64> = (0..20).collect();
    eventually("messages", async || stranger.got().await, |got| got.as_ref() == Ok(&all)).await.unwrap();
}

async fn messages_wait_for_a_handler_of_a_newer_version(place: Place) {
    let quick = |limits: &mut grange::Limits| limits.resend = Duration::from_millis(50);
    let silo = nodes(&place, &Mood::default()).entity::<older::Kin>().limits(quick).start().await.unwrap();
    silo.client().entity::<Node>("a").tell_newer(1).await.unwrap();
    eventually("tries", async || silo.metrics().messages_postponed, |times| *times > 4).await;
    silo.shutdown().await.unwrap();
    let silo = nodes(&place, &Mood::default()).entity::<newer::Kin>().limits(quick).start().await.unwrap();
    let kin = silo.client().entity::<newer::Kin>("k");
    let all = ["1".to_owned(), "secret 1".to_owned()];
    eventually("messages", async || kin.got().await, |got| got.as_deref() == Ok(&all)).await.unwrap();
}

async fn a_message_that_cannot_be_decoded_is_a_dead_letter_and_holds_up_nobody(place: Place) {
    let silo = nodes(&place, &Mood::default()).entity::<other::Kin>().start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.tell_newer(1).await.unwrap();
    a.tell_newer(2).await.unwrap();
    let kin = silo.client().entity::<other::Kin>("k");
    let all = ["1".to_owned(), "2".to_owned()];
    eventually("messages", async || kin.got().await, |got| got.as_deref() == Ok(&all)).await.unwrap();
    let letters =
        eventually("letters", async || silo.dead_letters(10).await.unwrap(), |letters| letters.len() == 2).await;
    assert!(letters.iter().all(|(.., letter)| matches!(letter.cause, Cause::Undecodable(_))), "{letters:?}");
}

async fn a_message_found_after_a_restart_is_delivered_without_a_call(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    silo.client().entity::<Node>("a").tell_strangers(3).await.unwrap();
    place.crash(silo).await;
    let silo = nodes(&place, &Mood::default()).entity::<Stranger>().start().await.unwrap();
    eventually("messages", async || silo.metrics().messages_applied, |applied| *applied == 3).await;
}

async fn one_failure_postpones_a_stream_once(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.sent().await.unwrap();
    // The target can't be loaded when a window of messages comes for it; from then on it can.
    place.store.claims([Fault::FailBefore]);
    a.send(vec!["b".into()], 16).await.unwrap();
    let start = tokio::time::Instant::now();
    got(&silo, "b", &numbers("a", 16)).await;
    assert!(start.elapsed() < Duration::from_secs(3), "after one failure the stream rested for {:?}", start.elapsed());
}

async fn a_reminder_fires_once_also_when_silos_die(place: Place) {
    let mood = Mood::default();
    let silo = nodes(&place, &mood).start().await.unwrap();
    silo.client().entity::<Node>("a").remind("x".into(), 300, 0, 1).await.unwrap();
    place.crash(silo).await;
    let silo = nodes(&place, &mood).start().await.unwrap();
    eventually("the reminder", async || silo.metrics().messages_applied, |applied| *applied == 1).await;
    place.crash(silo).await;
    let silo = nodes(&place, &mood).start().await.unwrap();
    // Another one, later than whatever is left of the first.
    silo.client().entity::<Node>("a").remind("y".into(), 100, 0, 2).await.unwrap();
    got(&silo, "a", &[("x".into(), 1), ("y".into(), 2)]).await;
}

async fn a_reminder_repeats_until_it_is_cancelled(place: Place) {
    let silo = nodes(&place, &Mood::default()).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.remind("x".into(), 0, 30, 1).await.unwrap();
    let count = async || a.got().await.unwrap().len();
    eventually("three", count, |count| *count >= 3).await;
    a.forget("x".into()).await.unwrap();
    // What had fired is on its way, before this one.
    a.remind("end".into(), 100, 0, 9).await.unwrap();
    eventually("the end", async || a.got().await.unwrap(), |got| got.last() == Some(&("end".into(), 9))).await;
    let then = a.got().await.unwrap().len();
    a.remind("end".into(), 100, 0, 10).await.unwrap();
    eventually("the end", async || a.got().await.unwrap(), |got| got.last() == Some(&("end".into(), 10))).await;
    assert_eq!(a.got().await.unwrap().len(), then + 1);
}

async fn a_named_reminder_replaces_the_one_before_also_at_the_limit(place: Place) {
    let one = |limits: &mut grange::Limits| limits.reminders_max = 1;
    let silo = nodes(&place, &Mood::default()).limits(one).start().await.unwrap();
    let a = silo.client().entity::<Node>("a");
    a.remind("x".into(), 60_000, 0, 1).await.unwrap();
    assert_eq!(a.remind("x".into(), 50, 0, 2).await, Ok(()));
    got(&silo, "a", &[("x".into(), 2)]).await;
}

async fn a_deleted_entity_has_no_reminders_and_still_recognises_repeats(place: Place) {
    // The sender's trims are lost, and so it sends again.
    let mood = Mood::default();
    let silo = nodes(&place, &mood).start().await.unwrap();
    let client = silo.client();
    client.entity::<Node>("b").remind("x".into(), 300, 0, 1).await.unwrap();
    client.entity::<Node>("a").send(vec!["b".into()], 3).await.unwrap();
    got(&silo, "b", &numbers("a", 3)).await;
    client.entity::<Node>("b").delete().await.unwrap();
    assert_eq!(client.entity::<Node>("b").got().await, Ok(vec![]));
    client.entity::<Node>("a").send(vec!["b".into()], 1).await.unwrap();
    client.entity::<Node>("b").remind("y".into(), 600, 0, 2).await.unwrap();
    got(&silo, "b", &[("a".into(), 3), ("y".into(), 2)]).await;
}
