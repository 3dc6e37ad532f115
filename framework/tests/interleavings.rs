//! What went wrong once in the middle of the silo, found by reading it: each is an order of events that must do no harm.

mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use behaviour::{Place, eventually, within};
use grange::prelude::*;
use grange::store::{Claim, Claimed, Field, Store};
use grange::testing::Fault;
use grange::wire::EntityId;
use tokio::sync::Semaphore;

/// What handlers tell the test, and the test them.
#[derive(Clone)]
struct Signs(Arc<Inner>);

struct Inner {
    runs: AtomicU64,
    begun: AtomicBool,
    database_is_away: AtomicBool,
    go_on: Semaphore,
}

impl Default for Signs {
    fn default() -> Self {
        Self(Arc::new(Inner {
            runs: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            database_is_away: AtomicBool::new(false),
            go_on: Semaphore::new(0),
        }))
    }
}

/// A kind that no silo here hosts.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Nobody {}

#[entity]
impl Nobody {
    async fn hear(&mut self) {}
}

/// A handler's own error that passes another entity's on.
#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("the other: {0}")]
struct AskFailed(#[from] CallError);

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Node {
    n: u64,
}

#[entity]
impl Node {
    async fn add(&mut self) -> u64 {
        self.n += 1;
        self.n
    }
    async fn n(&self) -> u64 {
        self.n
    }
    async fn fail(&mut self) -> u64 {
        panic!("as the test wants")
    }
    async fn add_and_leave(&mut self, turn: &mut Turn<Self>) {
        self.n += 1;
        turn.deactivate();
    }
    async fn tell_to_add(&mut self, to: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(to).add());
    }
    async fn tell_to_leave(&mut self, to: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(to).add_and_leave());
    }
    async fn tell_to_ask(&mut self, to: String, whom: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(&to).ask_to_fail(whom));
        turn.send(turn.entity::<Node>(&to).add());
    }
    async fn ask_to_fail(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, AskFailed> {
        turn.data::<Signs>().0.runs.fetch_add(1, SeqCst);
        Ok(turn.entity::<Node>(whom).fail().await?)
    }
    async fn tell_to_wait_and_ask(&mut self, to: String, whom: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Node>(to).wait_and_ask(whom));
    }
    /// Asks when the test says so.
    async fn wait_and_ask(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, AskFailed> {
        let signs = turn.data::<Signs>();
        signs.0.begun.store(true, SeqCst);
        let _go_on = signs.0.go_on.acquire().await;
        Ok(turn.entity::<Node>(whom).add().await?)
    }
    async fn ask(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, AskFailed> {
        Ok(turn.entity::<Node>(whom).add().await?)
    }
    async fn nag_nobody(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Nobody>("x").hear().every(Duration::from_millis(10)));
    }
    async fn remind_for_ever(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.me().add().after(Duration::from_millis(20)).every(Duration::MAX));
    }
    async fn remind_by_a_long_name(&mut self, bytes: usize, turn: &mut Turn<Self>) {
        turn.send(turn.me().add().named("x".repeat(bytes)));
    }
    async fn tell_many(&mut self, from: u64, count: u64, turn: &mut Turn<Self>) {
        for number in from..from + count {
            turn.send(turn.entity::<Node>(format!("t{number}")).add());
        }
    }
    async fn tell_ten(&mut self, turn: &mut Turn<Self>) {
        for _ in 0..10 {
            turn.send(turn.entity::<Nobody>("x").hear());
        }
    }
    async fn leave_an_ask_behind(&mut self, whom: String, turn: &mut Turn<Self>) {
        let whom = turn.entity::<Node>(whom);
        tokio::task::spawn_local(async move { whom.add().await });
    }
    #[allow(clippy::disallowed_methods)] // blocks its arbiter, which is the point
    async fn block(&mut self) -> u64 {
        self.n += 100;
        std::thread::sleep(Duration::from_millis(300));
        self.n
    }
}

/// A volatile one that never gets out of memory by itself.
#[entity(volatile)]
#[derive(Default)]
struct Stuck;

#[entity]
impl Stuck {
    async fn on_deactivate(&mut self) {
        std::future::pending::<()>().await;
    }
    async fn leave(&mut self, turn: &mut Turn<Self>) {
        turn.deactivate();
    }
    async fn hang(&mut self) {
        std::future::pending::<()>().await;
    }
    async fn ping(&mut self) -> u64 {
        1
    }
}

/// One that needs a database to be in memory.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Needy {
    n: u64,
}

#[entity]
impl Needy {
    async fn on_activate(&mut self, turn: &mut Turn<Self>) {
        let signs = turn.data::<Signs>();
        signs.0.runs.fetch_add(1, SeqCst);
        assert!(!signs.0.database_is_away.load(SeqCst), "the database is away");
    }
    async fn n(&self) -> u64 {
        self.n
    }
    async fn add(&mut self) {
        self.n += 1;
    }
    async fn remind(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.me().add().after(Duration::from_millis(50)));
    }
}

fn silo(place: &Place, signs: &Signs) -> grange::SiloBuilder {
    place.silo().entity::<Node>().entity::<Stuck>().entity::<Needy>().workers(1).data(signs.clone())
}

fn id(key: &str) -> EntityId {
    EntityId::new("Node", rmp_serde::to_vec(key).unwrap())
}

/// What the store has of a node, once its silo has let go of it.
async fn fields(place: &Place, key: &str) -> Vec<Field> {
    let id = id(key);
    let claim = Claim { id: id.clone(), owner: Uuid::new_v4(), nonce: 1, now: 1, over: None };
    let Claimed::Granted(record) = place.store.claim(claim).await.unwrap() else { panic!("{key} is not released") };
    place.store.release(id, record.fence).await.unwrap();
    record.fields.into_keys().collect()
}

on_both_stores!(
    an_entity_that_could_not_be_woken_is_woken_again,
    a_handler_that_always_fails_is_given_up_also_when_it_is_another_one_s_fault,
    a_cycle_that_closes_late_is_found_at_once,
    a_message_is_not_forgotten_before_its_effect_is_committed,
    a_sender_whose_trim_was_lost_does_not_let_its_target_forget,
    what_is_remembered_again_while_a_trim_is_on_its_way_stays,
    many_acknowledgements_are_trimmed_some_at_a_time,
    a_store_that_fails_uses_up_no_attempts,
    a_target_that_leaves_at_once_keeps_no_record_of_its_senders,
    reminders_wait_for_room_in_the_outbox,
    what_gathers_without_a_commit_in_flight_is_bounded,
    a_period_without_end_harms_nobody,
    what_is_too_long_for_a_store_is_refused_by_its_name,
    a_turn_that_blocks_past_its_limit_is_rolled_back,
    an_ask_that_outlives_its_turn_waits_for_what_the_turn_had_seen,
    who_comes_when_a_hook_fails_hears_of_the_hook,
);

async fn an_entity_that_could_not_be_woken_is_woken_again(place: Place) {
    let signs = Signs::default();
    let first = silo(&place, &signs).start().await.unwrap();
    first.client().entity::<Needy>("a").remind().await.unwrap();
    first.shutdown().await.unwrap();
    signs.0.database_is_away.store(true, SeqCst);
    let before = signs.0.runs.load(SeqCst);
    let second = silo(&place, &signs).start().await.unwrap();
    eventually("the first try", async || signs.0.runs.load(SeqCst), |runs| *runs > before).await;
    signs.0.database_is_away.store(false, SeqCst);
    let applied = async || second.metrics().messages_applied;
    eventually("the reminder, without a call", applied, |applied| *applied == 1).await;
}

async fn a_handler_that_always_fails_is_given_up_also_when_it_is_another_one_s_fault(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).limits(|limits| limits.attempts_max = 2).start().await.unwrap();
    silo.client().entity::<Node>("a").tell_to_ask("b".into(), "c".into()).await.unwrap();
    // A panic of the other is a definite answer, and so is what the handler makes of it.
    let letters = async || silo.dead_letters(10).await.unwrap().len();
    eventually("the dead letter", letters, |letters| *letters == 1).await;
    let n = async || silo.client().entity::<Node>("b").n().await;
    eventually("the message behind it", n, |n| *n == Ok(1)).await.unwrap();
}

async fn a_cycle_that_closes_late_is_found_at_once(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let client = silo.client();
    client.entity::<Node>("s").tell_to_wait_and_ask("b".into(), "a".into()).await.unwrap();
    eventually("b at work", async || signs.0.begun.load(SeqCst), |begun| *begun).await;
    // a waits for b, and searches in vain; then b asks a.
    let ask = tokio::spawn(client.entity::<Node>("a").ask("b".into()).timeout(Duration::from_secs(10)));
    tokio::time::sleep(Duration::from_millis(600)).await; // longer than the first searches
    signs.0.go_on.add_permits(1);
    // The younger one, b's, is the cycle's victim: a is served.
    assert_eq!(within("the end of the cycle", ask).await.unwrap(), Ok(1));
    assert_eq!(silo.metrics().calls_cyclic, 1);
}

async fn a_sender_whose_trim_was_lost_does_not_let_its_target_forget(place: Place) {
    let signs = Signs::default();
    let first = silo(&place, &signs).start().await.unwrap();
    let (a, b) = (first.client().entity::<Node>("a"), first.client().entity::<Node>("b"));
    place.store.lose_trims(1);
    a.tell_to_add("b".into()).await.unwrap();
    eventually("the first", async || b.n().await, |n| *n == Ok(1)).await.unwrap();
    a.tell_to_add("b".into()).await.unwrap();
    eventually("the second", async || b.n().await, |n| *n == Ok(2)).await.unwrap();
    place.crash(first).await;
    let second = silo(&place, &signs).start().await.unwrap();
    let (a, b) = (second.client().entity::<Node>("a"), second.client().entity::<Node>("b"));
    a.tell_to_add("b".into()).await.unwrap();
    eventually("the third", async || b.n().await, |n| n.as_ref().is_ok_and(|n| *n >= 3)).await.unwrap();
    assert_eq!(b.n().await, Ok(3), "a message was applied twice");
}

/// The target was told to forget its sender while an earlier trim was on its way, and then applied the sender's next
/// message: that it did is not part of what the next trim removes.
async fn what_is_remembered_again_while_a_trim_is_on_its_way_stays(place: Place) {
    let signs = Signs::default();
    let first = silo(&place, &signs).start().await.unwrap();
    let [a, b, x] = ["a", "b", "x"].map(|key| first.client().entity::<Node>(key));
    place.store.hold_trims(id("b"));
    x.tell_to_add("b".into()).await.unwrap();
    within("the target's trim", place.store.until(|seen| seen.trims.contains(&id("b")))).await;
    // The sender's trim was applied, so it has told the target to forget: before it is told to send again.
    a.tell_to_add("b".into()).await.unwrap();
    within("the sender's trim", place.store.until(|seen| seen.trims.contains(&id("a")))).await;
    eventually("its end", async || first.store_stats().trims, |trims| *trims == 2).await;
    // This one's sender does not forget it.
    place.store.hold_trims(id("a"));
    a.tell_to_add("b".into()).await.unwrap();
    eventually("the message", async || b.n().await, |n| *n == Ok(3)).await.unwrap();
    place.store.let_trims_go(&id("b"));
    eventually("the held trim's end", async || first.store_stats().trims, |trims| *trims >= 3).await;
    // Whatever the target still wants to remove goes with its next commit.
    assert_eq!(b.add().await, Ok(4));
    place.crash(first).await;
    let second = silo(&place, &signs).start().await.unwrap();
    let (a, b) = (second.client().entity::<Node>("a"), second.client().entity::<Node>("b"));
    a.tell_to_add("b".into()).await.unwrap();
    eventually("the third", async || b.n().await, |n| n.as_ref().is_ok_and(|n| *n >= 5)).await.unwrap();
    assert_eq!(b.n().await, Ok(5), "a message was applied twice");
}

/// Acknowledgements gather behind a trim that is on its way, more than a store takes at a time.
async fn many_acknowledgements_are_trimmed_some_at_a_time(place: Place) {
    const TARGETS: u64 = 1_200;
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let (a, messages) = (silo.client().entity::<Node>("a"), async || silo.metrics().messages_applied);
    place.store.hold_trims(id("a"));
    for from in (0..TARGETS).step_by(400) {
        a.tell_many(from, 400).await.unwrap();
    }
    eventually("the messages", messages, |applied| *applied == TARGETS).await;
    place.store.let_trims_go(&id("a"));
    silo.shutdown().await.unwrap();
    let left = fields(&place, "a").await.into_iter().filter(|field| matches!(field, Field::Outbox(_)));
    assert_eq!(left.count(), 0, "what was acknowledged is still there");
    let trims = place.store.seen().trims_max;
    assert!(trims <= 500, "a trim of {trims} fields");
}

/// The handler succeeds each time, and the commit of what it did fails: that is no failure of the message.
async fn a_store_that_fails_uses_up_no_attempts(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).limits(|limits| limits.attempts_max = 2).start().await.unwrap();
    let b = silo.client().entity::<Node>("b");
    b.add().await.unwrap();
    // The sender's own commit; then the target's, each of which is sent four times.
    let failed = [Fault::FailBefore; 4];
    let counted = [Fault::None];
    place.store.commits(counted.into_iter().chain(failed));
    for _ in 0..3 {
        place.store.commits(counted.into_iter().chain(failed));
    }
    silo.client().entity::<Node>("a").tell_to_add("b".into()).await.unwrap();
    eventually("the message", || b.n(), |n| *n == Ok(2)).await.unwrap();
    assert_eq!(silo.dead_letters(10).await.unwrap().len(), 0);
    silo.shutdown().await.unwrap();
}

/// A trim is refused because the store forgot the claim: the entity finds out, and gets out of memory.
#[tokio::test]
async fn who_lost_its_claim_unnoticed_is_loaded_anew() {
    let (place, signs) = (Place::memory(), Signs::default());
    let silo = silo(&place, &signs).start().await.unwrap();
    place.store.hold_trims(id("a"));
    silo.client().entity::<Node>("a").tell_to_add("b".into()).await.unwrap();
    within("the trim", place.store.until(|seen| seen.trims.contains(&id("a")))).await;
    place.forget(behaviour::incarnation(&silo));
    place.store.let_trims_go(&id("a"));
    within("the end of the silo", silo.shutdown()).await.unwrap();
}

/// A message whose target crashes while the commit that applied it is on its way.
async fn a_message_is_not_forgotten_before_its_effect_is_committed(place: Place) {
    let signs = Signs::default();
    let first = silo(&place, &signs).start().await.unwrap();
    place.store.hold_after(1);
    first.client().entity::<Node>("a").tell_to_add("b".into()).await.unwrap();
    within("the target's commit", place.store.until_commits(2)).await;
    place.crash(first).await;
    place.store.let_go();
    let second = silo(&place, &signs).start().await.unwrap();
    let b = second.client().entity::<Node>("b");
    eventually("the message, sent again", || b.n(), |n| *n == Ok(1)).await.unwrap();
}

/// The same with a silo that acknowledges early loses it: the check can fail.
#[tokio::test]
async fn a_silo_that_acknowledges_early_loses_a_message() {
    let (place, signs) = (Place::memory(), Signs::default());
    let first = silo(&place, &signs).mutant(grange::Mutant::AcknowledgesBeforeCommit).start().await.unwrap();
    place.store.hold_after(1);
    first.client().entity::<Node>("a").tell_to_add("b".into()).await.unwrap();
    within("the target's commit", place.store.until_commits(2)).await;
    eventually("the sender forgets", async || first.store_stats().trims, |trims| *trims > 0).await;
    place.crash(first).await;
    place.store.let_go();
    let outbox = fields(&place, "a").await.into_iter().filter(|field| matches!(field, Field::Outbox(_)));
    assert_eq!(outbox.count(), 0, "the sender still has it");
    let second = silo(&place, &signs).start().await.unwrap();
    assert_eq!(second.client().entity::<Node>("b").n().await, Ok(0), "it was applied");
}

async fn a_target_that_leaves_at_once_keeps_no_record_of_its_senders(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    for sender in 0..20 {
        silo.client().entity::<Node>(format!("s{sender}")).tell_to_leave("t".into()).await.unwrap();
    }
    let applied = async || silo.metrics().messages_applied;
    eventually("the messages", applied, |applied| *applied == 20).await;
    // What tells the target to forget shows in no counter.
    tokio::time::sleep(Duration::from_millis(300)).await;
    silo.shutdown().await.unwrap();
    let kept: Vec<_> =
        fields(&place, "t").await.into_iter().filter(|field| matches!(field, Field::Activity(_))).collect();
    assert_eq!(kept, []);
}

async fn reminders_wait_for_room_in_the_outbox(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).limits(|limits| limits.outbox_messages_max = 5).start().await.unwrap();
    silo.client().entity::<Node>("a").nag_nobody().await.unwrap();
    let sent = async || silo.metrics().messages_sent;
    eventually("the outbox is full", sent, |sent| *sent >= 5).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // twenty more would have fired
    silo.shutdown().await.unwrap();
    let outbox = fields(&place, "a").await.into_iter().filter(|field| matches!(field, Field::Outbox(_))).count();
    assert!(outbox <= 5, "{outbox} messages with a limit of 5");
}

async fn what_gathers_without_a_commit_in_flight_is_bounded(place: Place) {
    let signs = Signs::default();
    let few = |limits: &mut grange::Limits| limits.group_turns_max = 10;
    let silo = silo(&place, &signs).limits(few).start().await.unwrap();
    let node = silo.client().entity::<Node>("a");
    let busy = tokio::spawn(node.wait_and_ask("b".into()));
    eventually("a at work", async || signs.0.begun.load(SeqCst), |begun| *begun).await;
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(node.tell_ten())).collect();
    tokio::task::yield_now().await;
    signs.0.go_on.add_permits(1);
    busy.await.unwrap().unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // 100 turns that queued behind a sleeping one, ten at most in a commit.
    assert!(silo.store_stats().commits >= 10, "{:?}", silo.store_stats());
}

async fn a_period_without_end_harms_nobody(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let node = silo.client().entity::<Node>("a");
    node.remind_for_ever().await.unwrap();
    eventually("its one firing", async || node.n().await, |n| *n == Ok(1)).await.unwrap();
    within("a shutdown, which needs the sweep", silo.shutdown()).await.unwrap();
}

async fn what_is_too_long_for_a_store_is_refused_by_its_name(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let (node, long) = (silo.client().entity::<Node>("a"), "k".repeat(70_000));
    let asked = silo.client().entity::<Node>(&long).add().await;
    assert!(matches!(&asked, Err(CallError::TooLarge { what, .. }) if what == "the key"), "{asked:?}");
    let told = node.tell_to_add(long).await;
    assert!(matches!(told, Err(CallError::TooLarge { .. })), "{told:?}");
    let reminded = node.remind_by_a_long_name(70_000).await;
    assert!(matches!(reminded, Err(CallError::TooLarge { .. })), "{reminded:?}");
    assert_eq!(node.add().await, Ok(1));
}

async fn a_turn_that_blocks_past_its_limit_is_rolled_back(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let node = silo.client().entity::<Node>("a");
    assert_eq!(node.block().timeout(Duration::from_millis(50)).await, Err(CallError::Timeout));
    assert_eq!(node.n().await, Ok(0));
}

async fn an_ask_that_outlives_its_turn_waits_for_what_the_turn_had_seen(place: Place) {
    let signs = Signs::default();
    let silo = silo(&place, &signs).start().await.unwrap();
    let (a, b) = (silo.client().entity::<Node>("a"), silo.client().entity::<Node>("b"));
    assert_eq!((a.n().await, b.n().await), (Ok(0), Ok(0)));
    place.store.hold();
    let first = tokio::spawn(a.add());
    let before = place.store.until_commits(1).await.commits.len();
    let second = tokio::spawn(a.leave_an_ask_behind("b".into()));
    let done = async || silo.metrics().turns_done;
    eventually("both turns", done, |done| *done >= 4).await;
    // b's turn would hand over a commit of its own.
    assert_eq!(place.store.seen().commits.len(), before);
    place.store.let_go();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    eventually("b", async || b.n().await, |n| *n == Ok(1)).await.unwrap();
}

async fn who_comes_when_a_hook_fails_hears_of_the_hook(place: Place) {
    let signs = Signs::default();
    signs.0.database_is_away.store(true, SeqCst);
    let silo = silo(&place, &signs).start().await.unwrap();
    let refused = silo.client().entity::<Needy>("a").n().await;
    let Err(CallError::Unavailable { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("on_activate"), "{reason}");
}

#[tokio::test]
async fn a_turn_has_its_limit_also_where_another_activation_was() {
    let place = Place::memory();
    let silo = silo(&place, &Signs::default());
    let silo = silo.limits(|limits| limits.timeout_default = Duration::from_millis(200)).start().await.unwrap();
    let stuck = silo.client().entity::<Stuck>("a");
    stuck.leave().await.unwrap();
    // Its hook is ended at its limit, and the next activation takes its place with a handler that hangs.
    let hung = stuck.hang().timeout(Duration::from_millis(500)).await;
    assert!(hung.is_err(), "{hung:?}");
    assert_eq!(within("the next turn", stuck.ping().timeout(Duration::from_secs(5))).await, Ok(1));
}
