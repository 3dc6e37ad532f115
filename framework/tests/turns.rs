//! Turns: one exclusive turn at a time, reads side by side, and what one handler does is nobody else's trouble.

#![allow(unreachable_pub)]

mod behaviour;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use behaviour::{Place, eventually, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use grange::SiloBuilder;
use grange::prelude::*;
use tokio::sync::{Barrier, Notify};

/// Where tests and handlers meet.
#[derive(Clone, Default)]
struct Meeting(Arc<Signals>);

#[derive(Default)]
struct Signals {
    started: Notify,
    go_on: Notify,
    ran: AtomicU64,
}

#[derive(Clone)]
struct Together(Arc<Barrier>);

#[entity(mailbox = 200)]
#[derive(Default, Serialize, Deserialize)]
struct Worker {
    count: u64,
    order: Vec<u64>,
}

#[entity]
impl Worker {
    /// Read, yield, write: two at a time would lose one.
    async fn step(&mut self) -> u64 {
        let before = self.count;
        for _ in 0..before % 3 {
            tokio::task::yield_now().await;
        }
        self.count = before + 1;
        self.count
    }
    async fn count(&self) -> u64 {
        self.count
    }
    async fn append(&mut self, number: u64) {
        if number.is_multiple_of(7) {
            tokio::task::yield_now().await;
        }
        self.order.push(number);
    }
    async fn order(&self) -> Vec<u64> {
        self.order.clone()
    }
    /// Ends when all are there.
    async fn meet(&self, turn: &Turn<Self>) -> bool {
        turn.data::<Together>().0.wait().await;
        true
    }
    async fn look_long(&self, turn: &Turn<Self>) -> u64 {
        let meeting = turn.data::<Meeting>().0.clone();
        meeting.started.notify_one();
        meeting.go_on.notified().await;
        self.count
    }
    async fn pause(&mut self, turn: &mut Turn<Self>) -> u64 {
        let meeting = turn.data::<Meeting>().0.clone();
        meeting.started.notify_one();
        meeting.go_on.notified().await;
        meeting.ran.fetch_add(1, Ordering::SeqCst);
        self.count += 100;
        self.count
    }
    async fn forever(&mut self, turn: &mut Turn<Self>) {
        self.count = 999;
        turn.data::<Meeting>().0.started.notify_one();
        std::future::pending::<()>().await;
    }
    async fn look_forever(&self) {
        std::future::pending::<()>().await;
    }
    async fn fall(&mut self) {
        self.count = 999;
        tokio::task::yield_now().await;
        panic!("as the test wants")
    }
    async fn fall_reading(&self) {
        panic!("as the test wants")
    }
    async fn remaining(&self, other: String, turn: &Turn<Self>) -> (u64, u64) {
        let mine = turn.remaining().as_millis() as u64;
        let theirs = if other.is_empty() {
            mine
        } else {
            turn.entity::<Worker>(&other).remaining(String::new()).await.unwrap().0
        };
        (mine, theirs)
    }
    /// By a task that is outside of the arbiter's `LocalSet`.
    async fn have_stepped(&self, other: String, turn: &Turn<Self>) -> u64 {
        tokio::spawn(turn.entity::<Worker>(other).step()).await.unwrap().unwrap()
    }
    async fn ask_forever(&mut self, other: String, turn: &mut Turn<Self>) -> Result<(), String> {
        turn.entity::<Worker>(other).forever().await.map_err(|error| error.to_string())
    }
    #[allow(clippy::disallowed_methods)] // blocks its arbiter, which is the point
    async fn block(&mut self, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Meeting>().0.started.notify_one();
        std::thread::sleep(Duration::from_millis(700));
        self.count
    }
    async fn locally(&mut self) -> u64 {
        let count = Rc::new(std::cell::Cell::new(self.count));
        tokio::task::yield_now().await;
        count.set(count.get() + 1);
        self.count = count.get();
        count.get()
    }
    async fn swallow(&mut self, fragile: Fragile) -> u64 {
        let _ = fragile;
        self.count
    }
    async fn hand_out(&self) -> Fragile {
        Fragile { drops: true, reads: false }
    }
    async fn give(&mut self, to: String, fragile: Fragile, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Worker>(to).swallow(fragile));
    }
}

/// Panics when it is dropped, or when it is read.
#[derive(Debug, Serialize)]
struct Fragile {
    drops: bool,
    reads: bool,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        if self.drops && !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            drops: bool,
            reads: bool,
        }
        let Fields { drops, reads } = Fields::deserialize(deserializer)?;
        assert!(!reads, "read");
        Ok(Fragile { drops, reads })
    }
}

/// Its `Drop`, its `Default` and its `Serialize` panic when they are told to.
#[entity]
#[derive(Default, Deserialize)]
struct Brittle {
    drops: bool,
    breaks: bool,
    count: u64,
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.drops && !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

impl Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.breaks, "written");
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Brittle", 3)?;
        fields.serialize_field("drops", &self.drops)?;
        fields.serialize_field("breaks", &self.breaks)?;
        fields.serialize_field("count", &self.count)?;
        fields.end()
    }
}

#[entity]
impl Brittle {
    async fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
    async fn arm(&mut self) -> Result<(), String> {
        self.drops = true;
        Err("rolled back, and so dropped".into())
    }
    async fn break_it(&mut self) {
        self.breaks = true;
    }
}

on_both_stores!(
    one_exclusive_turn_runs_at_a_time,
    reads_run_side_by_side,
    an_exclusive_turn_waits_for_reads_and_reads_wait_for_it,
    calls_of_one_caller_run_in_their_order,
    a_call_dropped_before_it_starts_is_not_run,
    a_started_turn_goes_on_without_its_caller,
    a_panic_fails_its_own_call_only,
    a_panic_of_a_state_being_dropped_fails_nobody_else,
    a_panic_of_an_argument_being_dropped_fails_nobody_else,
    a_panic_of_a_reply_being_dropped_fails_nobody_else,
    a_panic_of_an_argument_being_decoded_fails_nobody_else,
    a_panic_of_a_state_being_encoded_rolls_the_turn_back,
    a_turn_past_its_limit_is_rolled_back_and_the_next_one_runs,
    a_read_past_its_limit_lets_the_next_turn_run,
    a_nested_ask_has_what_is_left_of_the_time,
    a_call_does_not_end_before_its_time,
    a_blocked_arbiter_does_not_keep_calls_beyond_their_time,
    a_full_mailbox_says_so,
    callers_that_went_away_do_not_fill_a_mailbox,
    handlers_may_hold_what_is_not_send,
    calls_work_from_tasks_and_combinators,
    a_handler_may_give_a_call_to_a_task,
);

fn workers(place: &Place, meeting: &Meeting) -> SiloBuilder {
    let together = Together(Arc::new(Barrier::new(32)));
    place.silo().workers(1).entity::<Worker>().entity::<Brittle>().data(meeting.clone()).data(together)
}

async fn one_exclusive_turn_runs_at_a_time(place: Place) {
    let silo = workers(&place, &Meeting::default()).workers(3).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let callers = (0..64).map(|_| {
        let worker = worker.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                worker.step().await.unwrap();
            }
        })
    });
    join_all(callers).await.into_iter().for_each(|caller| caller.unwrap());
    assert_eq!(worker.count().await, Ok(64 * 20));
}

async fn a_handler_may_give_a_call_to_a_task(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    for count in 1..=10 {
        let stepped = within("a call that a task makes", worker.have_stepped("b".into())).await;
        assert_eq!(stepped, Ok(count));
    }
}

async fn reads_run_side_by_side(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let met = join_all((0..32).map(|_| worker.meet())).await;
    assert_eq!(met, vec![Ok(true); 32]);
}

async fn an_exclusive_turn_waits_for_reads_and_reads_wait_for_it(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let (worker, other) = (silo.client().entity::<Worker>("a"), silo.client().entity::<Worker>("b"));
    let (mut long, mut step, mut count) = (worker.look_long(), worker.step(), worker.count());
    assert_eq!((&mut long).now_or_never(), None);
    within("the read", meeting.0.started.notified()).await;
    assert_eq!(((&mut step).now_or_never(), (&mut count).now_or_never()), (None, None));
    // One arbiter, one order: when this is answered, those have been looked at.
    assert_eq!(other.step().await, Ok(1));
    assert_eq!(((&mut step).now_or_never(), (&mut count).now_or_never()), (None, None));
    meeting.0.go_on.notify_one();
    assert_eq!((long.await, step.await, count.await), (Ok(0), Ok(1), Ok(1)));
}

async fn calls_of_one_caller_run_in_their_order(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    join_all((0..200).map(|number| worker.append(number))).await;
    assert_eq!(worker.order().await, Ok((0..200).collect()));
}

async fn a_call_dropped_before_it_starts_is_not_run(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let (mut pause, mut dropped) = (worker.pause(), worker.step());
    assert_eq!(((&mut pause).now_or_never(), (&mut dropped).now_or_never()), (None, None));
    within("the turn", meeting.0.started.notified()).await;
    drop(dropped);
    meeting.0.go_on.notify_one();
    assert_eq!((pause.await, worker.count().await), (Ok(100), Ok(100)));
    assert_eq!(silo.metrics().calls_abandoned, 1);
}

async fn a_started_turn_goes_on_without_its_caller(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let mut pause = worker.pause();
    assert_eq!((&mut pause).now_or_never(), None);
    within("the turn", meeting.0.started.notified()).await;
    drop(pause);
    meeting.0.go_on.notify_one();
    assert_eq!(worker.count().await, Ok(100));
}

async fn a_panic_fails_its_own_call_only(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let (worker, other) = (silo.client().entity::<Worker>("a"), silo.client().entity::<Worker>("b"));
    assert_eq!(worker.step().await, Ok(1));
    let (fell, fell_reading, step, others) =
        tokio::join!(worker.fall(), worker.fall_reading(), worker.step(), other.step());
    assert_eq!((fell, fell_reading, step, others), (Err(CallError::Panicked), Err(CallError::Panicked), Ok(2), Ok(1)));
    assert_eq!((worker.count().await, silo.metrics().turns_panicked), (Ok(2), 2));
}

/// The silo is as it should be: a call to an entity of the same kind on the same arbiter.
async fn still_there(silo: &Silo) {
    assert_eq!(within("another entity", silo.client().entity::<Worker>("z").count()).await, Ok(0));
    assert_eq!(within("another kind", silo.client().entity::<Brittle>("z").count()).await, Ok(1));
}

async fn a_panic_of_a_state_being_dropped_fails_nobody_else(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let brittle = silo.client().entity::<Brittle>("a");
    assert_eq!(brittle.count().await, Ok(1));
    let _ = within("the armed turn", brittle.arm()).await;
    still_there(&silo).await;
    assert_eq!(within("the entity itself", brittle.count()).await, Ok(2));
}

async fn a_panic_of_an_argument_being_dropped_fails_nobody_else(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    assert_eq!(worker.swallow(Fragile { drops: true, reads: false }).await, Err(CallError::Panicked));
    // Dropped before it starts: the silo has to drop its arguments.
    let (mut pause, mut dropped) = (worker.pause(), worker.swallow(Fragile { drops: true, reads: false }));
    assert_eq!(((&mut pause).now_or_never(), (&mut dropped).now_or_never()), (None, None));
    within("the turn", meeting.0.started.notified()).await;
    drop(dropped);
    meeting.0.go_on.notify_one();
    assert_eq!(within("the turn before it", pause).await, Ok(100));
    still_there(&silo).await;
}

async fn a_panic_of_a_reply_being_dropped_fails_nobody_else(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    silo.client().entity::<Worker>("a").hand_out().notify();
    let ran = async || silo.metrics().turns_done;
    eventually("the turn", ran, |ran| *ran == 1).await;
    still_there(&silo).await;
}

async fn a_panic_of_an_argument_being_decoded_fails_nobody_else(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    worker.give("b".into(), Fragile { drops: false, reads: true }).await.unwrap();
    eventually("a try", async || silo.metrics().messages_sent, |sent| *sent > 0).await;
    still_there(&silo).await;
    assert_eq!(within("the target", silo.client().entity::<Worker>("b").count()).await, Ok(0));
}

async fn a_panic_of_a_state_being_encoded_rolls_the_turn_back(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let brittle = silo.client().entity::<Brittle>("a");
    assert_eq!(brittle.count().await, Ok(1));
    let broken = brittle.break_it().await;
    assert!(matches!(broken, Err(CallError::Invalid { .. })), "{broken:?}");
    assert_eq!(brittle.count().await, Ok(2));
}

async fn a_turn_past_its_limit_is_rolled_back_and_the_next_one_runs(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    assert_eq!(worker.step().await, Ok(1));
    let (expired, step) = tokio::join!(worker.forever().timeout(Duration::from_millis(60)), worker.step());
    assert_eq!((expired, step), (Err(CallError::Timeout), Ok(2)));
    assert_eq!(silo.metrics().turns_expired, 1);
}

async fn a_read_past_its_limit_lets_the_next_turn_run(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let (expired, step) = tokio::join!(worker.look_forever().timeout(Duration::from_millis(60)), worker.step());
    assert_eq!((expired, step), (Err(CallError::Timeout), Ok(1)));
}

async fn a_nested_ask_has_what_is_left_of_the_time(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let (a, b) = (silo.client().entity::<Worker>("a"), silo.client().entity::<Worker>("b"));
    let (mine, theirs) = a.remaining("b".into()).timeout(Duration::from_millis(9_000)).await.unwrap();
    assert!(theirs <= mine && mine <= 9_500, "{theirs} of {mine} ms");
    // The inner turn ends with the outer one, and its entity is free again.
    let outer = a.ask_forever("b".into()).timeout(Duration::from_millis(80)).await;
    assert!(matches!(outer, Err(CallError::Timeout | CallError::Rejected(_))), "{outer:?}");
    assert_eq!((a.step().await, b.step().await), (Ok(1), Ok(1)));
}

async fn a_call_does_not_end_before_its_time(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let time = Duration::from_millis(15);
    for _ in 0..40 {
        let start = tokio::time::Instant::now();
        assert_eq!(worker.look_forever().timeout(time).await, Err(CallError::Timeout));
        let took = start.elapsed();
        assert!(took >= time, "a call with {time:?} ended after {took:?}");
    }
}

async fn a_blocked_arbiter_does_not_keep_calls_beyond_their_time(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let (worker, other) = (silo.client().entity::<Worker>("a"), silo.client().entity::<Worker>("b"));
    let mut blocking = worker.block();
    assert_eq!((&mut blocking).now_or_never(), None);
    within("the turn", meeting.0.started.notified()).await;
    assert_eq!(other.step().timeout(Duration::from_millis(50)).await, Err(CallError::Timeout));
    assert_eq!((&mut blocking).now_or_never(), None);
    assert_eq!((blocking.await, silo.metrics().blocked), (Ok(0), 1));
    assert_eq!(other.count().await, Ok(0));
}

async fn a_full_mailbox_says_so(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let mut pause = worker.pause();
    assert_eq!((&mut pause).now_or_never(), None);
    within("the turn", meeting.0.started.notified()).await;
    let mut waiting: Vec<_> = (0..200).map(|_| worker.step()).collect();
    waiting.iter_mut().for_each(|call| assert_eq!(call.now_or_never(), None));
    let refused = worker.step().await;
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
    meeting.0.go_on.notify_one();
    assert_eq!(pause.await, Ok(100));
    assert_eq!(join_all(waiting).await, (101..=300).map(Ok).collect::<Vec<_>>());
}

async fn callers_that_went_away_do_not_fill_a_mailbox(place: Place) {
    let meeting = Meeting::default();
    let silo = workers(&place, &meeting).start().await.unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let mut pause = worker.pause();
    assert_eq!((&mut pause).now_or_never(), None);
    within("the turn", meeting.0.started.notified()).await;
    for _ in 0..250 {
        assert_eq!(worker.step().now_or_never(), None);
    }
    assert_eq!(silo.client().entity::<Worker>("b").count().await, Ok(0));
    let mut step = worker.step();
    assert_eq!((&mut step).now_or_never(), None);
    assert_eq!(silo.client().entity::<Worker>("b").count().await, Ok(0));
    meeting.0.go_on.notify_one();
    assert_eq!((pause.await, step.await), (Ok(100), Ok(101)));
}

async fn handlers_may_hold_what_is_not_send(place: Place) {
    let silo = workers(&place, &Meeting::default()).start().await.unwrap();
    assert_eq!(silo.client().entity::<Worker>("a").locally().await, Ok(1));
}

async fn calls_work_from_tasks_and_combinators(place: Place) {
    let silo = workers(&place, &Meeting::default()).workers(3).start().await.unwrap();
    let client = silo.client();
    let spawned = tokio::spawn(client.entity::<Worker>("a").step()).await.unwrap();
    let mut set = tokio::task::JoinSet::new();
    (0..10).for_each(|number| drop(set.spawn(client.entity::<Worker>(format!("w{number}")).step())));
    let selected = tokio::select! {
        step = client.entity::<Worker>("b").step() => step,
        () = std::future::pending() => unreachable!(),
    };
    assert_eq!((spawned, selected, set.join_all().await), (Ok(1), Ok(1), vec![Ok(1); 10]));
}

#[test]
fn a_silo_serves_callers_in_any_runtime() {
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let silo = current.block_on(Silo::builder().in_memory().entity::<Worker>().start()).unwrap();
    let worker = silo.client().entity::<Worker>("a");
    let step = worker.clone();
    assert_eq!(current.block_on(step.step()), Ok(1));
    let step = worker.clone();
    assert_eq!(multi.block_on(async move { tokio::spawn(async move { step.step().await }).await.unwrap() }), Ok(2));
    let step = worker.clone();
    assert_eq!(actix_rt::System::new().block_on(async move { step.step().await }), Ok(3));
    // None at all.
    assert_eq!(futures_executor_block_on(worker.step()), Ok(4));
    multi.block_on(silo.shutdown()).unwrap();
}

/// An executor that is nobody's runtime.
fn futures_executor_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
