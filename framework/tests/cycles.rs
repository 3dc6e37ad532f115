//! Cycles of asks end as `Cycle` and not at their deadline; what only takes its time is left alone.

#![allow(unreachable_pub)]

mod behaviour;

use std::sync::Arc;

use behaviour::{Place, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use grange::prelude::*;
use tokio::sync::{Barrier, Notify};

/// Two chains close together: each has its entity before it asks for the other's.
#[derive(Clone)]
struct Both(Arc<Barrier>);

#[derive(Clone, Default)]
struct Signals(Arc<(Notify, Notify)>);

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Knot {
    count: u64,
}

/// How a chain ended, in words.
fn told<T: std::fmt::Debug>(answer: Result<T, CallError<String>>) -> Result<T, String> {
    answer.map_err(|error| match error {
        CallError::Rejected(told) => told,
        CallError::Cycle { chain } => format!("cycle {}", chain.join(" ")),
        other => format!("{other:?}"),
    })
}

#[entity]
impl Knot {
    async fn step(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
    async fn look(&self) -> u64 {
        self.count
    }
    /// Asks the first of them to go on with the rest; the last one steps.
    async fn walk(&mut self, path: Vec<String>, turn: &mut Turn<Self>) -> Result<u64, String> {
        let Some((next, rest)) = path.split_first() else {
            self.count += 1;
            return Ok(self.count);
        };
        told(turn.entity::<Knot>(next).walk(rest.to_vec()).await)
    }
    async fn read_on(&self, path: Vec<String>, turn: &Turn<Self>) -> Result<u64, String> {
        let Some((next, rest)) = path.split_first() else { return Ok(self.count) };
        told(turn.entity::<Knot>(next).read_on(rest.to_vec()).await)
    }
    async fn read_then_write(&self, to: String, turn: &Turn<Self>) -> Result<u64, String> {
        told(turn.entity::<Knot>(to).walk(vec![turn.key().clone()]).await)
    }
    async fn meet(&mut self, other: String, turn: &mut Turn<Self>) -> Result<u64, String> {
        turn.data::<Both>().0.wait().await;
        told(turn.entity::<Knot>(other).walk(vec![]).await)
    }
    async fn slow(&mut self, turn: &mut Turn<Self>) -> u64 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let _ = turn;
        self.count += 1;
        self.count
    }
    async fn ask_slow(&mut self, other: String, turn: &mut Turn<Self>) -> Result<u64, String> {
        turn.entity::<Knot>(other).slow().await.map_err(|error| format!("{error:?}"))
    }
    async fn give_word(&self, turn: &Turn<Self>) {
        turn.data::<Signals>().0.1.notify_one();
    }
    /// Says that it runs, waits for the word, and asks.
    async fn wait_and_ask(&mut self, other: String, turn: &mut Turn<Self>) -> Result<u64, String> {
        let signals = turn.data::<Signals>().0.clone();
        signals.0.notify_one();
        signals.1.notified().await;
        told(turn.entity::<Knot>(other).walk(vec![]).await)
    }
}

on_both_stores!(
    an_entity_that_asks_itself_is_told_at_once,
    a_chain_that_comes_back_is_told_with_its_way,
    of_two_chains_that_close_together_one_is_told_and_one_goes_on,
    of_three_chains_that_close_together_one_is_told,
    a_cycle_is_found_behind_a_long_queue,
    a_read_that_leads_back_to_a_write_is_a_cycle,
    reads_of_one_chain_may_come_back,
    reads_of_one_chain_may_come_back_past_a_waiting_writer,
    contention_and_slow_turns_are_no_cycle,
    many_reads_that_wait_do_not_drown_an_arbiter_in_probes,
);

/// Everything must be over well before this.
const DEADLINE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(3);

async fn knots(place: &Place, together: usize) -> Silo {
    let silo = place.silo().entity::<Knot>().data(Both(Arc::new(Barrier::new(together)))).data(Signals::default());
    silo.limits(|limits| limits.timeout_default = DEADLINE).start().await.unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let start = tokio::time::Instant::now();
    let value = within("the end of a cycle", future).await;
    assert!(start.elapsed() < SOON, "it took {:?}: the deadline ended it, not the search", start.elapsed());
    value
}

fn way(path: &[&str]) -> Result<u64, String> {
    let names: Vec<String> = path.iter().map(|key| format!("Knot/{key}")).collect();
    Err(format!("cycle {}", names.join(" ")))
}

fn rejected(answer: Result<u64, CallError<String>>) -> Result<u64, String> {
    told(answer)
}

async fn an_entity_that_asks_itself_is_told_at_once(place: Place) {
    let silo = knots(&place, 1).await;
    let a = silo.client().entity::<Knot>("a");
    assert_eq!(rejected(soon(a.walk(vec!["a".into()])).await), way(&["a", "a"]));
    assert_eq!((a.step().await, silo.metrics().calls_cyclic), (Ok(1), 1));
}

async fn a_chain_that_comes_back_is_told_with_its_way(place: Place) {
    let silo = knots(&place, 1).await;
    let a = silo.client().entity::<Knot>("a");
    let two = soon(a.walk(vec!["b".into(), "a".into()])).await;
    assert_eq!(rejected(two), way(&["a", "b", "a"]));
    let three = soon(a.walk(vec!["b".into(), "c".into(), "a".into()])).await;
    assert_eq!(rejected(three), way(&["a", "b", "c", "a"]));
    let inner = soon(a.walk(vec!["b".into(), "c".into(), "b".into()])).await;
    assert_eq!(rejected(inner), way(&["b", "c", "b"]));
    assert_eq!(silo.client().entity::<Knot>("b").step().await, Ok(1));
}

/// One hears of the cycle and the rest go on; a chain that meets a cycle ends its own turn.
fn one_victim(answers: &[Result<u64, String>]) {
    let victims = answers.iter().filter(|answer| answer.as_ref().is_err_and(|told| told.starts_with("cycle "))).count();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((victims, done), (1, answers.len() - 1), "{answers:?}");
}

async fn of_two_chains_that_close_together_one_is_told_and_one_goes_on(place: Place) {
    let silo = knots(&place, 2).await;
    let client = silo.client();
    for round in 0..10 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let (one, two) = soon(futures_util::future::join(
            client.entity::<Knot>(&a).meet(b.clone()),
            client.entity::<Knot>(&b).meet(a.clone()),
        ))
        .await;
        one_victim(&[rejected(one), rejected(two)]);
    }
}

async fn of_three_chains_that_close_together_one_is_told(place: Place) {
    let silo = knots(&place, 3).await;
    let client = silo.client();
    for round in 0..10 {
        let keys: Vec<String> = (0..3).map(|number| format!("{round}-{number}")).collect();
        let asks = (0..3).map(|number| client.entity::<Knot>(&keys[number]).meet(keys[(number + 1) % 3].clone()));
        let answers: Vec<_> = soon(join_all(asks)).await.into_iter().map(rejected).collect();
        one_victim(&answers);
    }
}

async fn a_cycle_is_found_behind_a_long_queue(place: Place) {
    let silo = knots(&place, 1).await;
    let client = silo.client();
    // `b` runs, and waits for the word.
    let mut second = client.entity::<Knot>("b").wait_and_ask("a".into());
    assert!((&mut second).now_or_never().is_none());
    let probe = client.entity::<Knot>("probe");
    probe.step().await.unwrap();
    // `a` asks `b`, and waits behind it.
    let mut first = client.entity::<Knot>("a").walk(vec!["b".into()]);
    assert!((&mut first).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Others, who ask for `a` and are in nobody's way.
    let mut others: Vec<_> =
        (0..40).map(|number| client.entity::<Knot>(format!("o{number}")).walk(vec!["a".into()])).collect();
    others.iter_mut().for_each(|call| assert!(call.now_or_never().is_none()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Now `b` asks for `a`: the last in its queue closes the cycle.
    let word = silo.client().entity::<Knot>("word");
    let (second, first, _) = soon(async { tokio::join!(second, first, word.give_word()) }).await;
    one_victim(&[rejected(second), rejected(first)]);
    assert!(soon(join_all(others)).await.into_iter().all(|other| other.is_ok()));
}

async fn a_read_that_leads_back_to_a_write_is_a_cycle(place: Place) {
    let silo = knots(&place, 1).await;
    let answer = soon(silo.client().entity::<Knot>("a").read_then_write("b".into())).await;
    assert_eq!(rejected(answer), way(&["a", "b", "a"]));
}

async fn reads_of_one_chain_may_come_back(place: Place) {
    let silo = knots(&place, 1).await;
    let a = silo.client().entity::<Knot>("a");
    let path = ["b", "a", "c", "b", "a"].map(String::from).to_vec();
    assert_eq!(soon(a.read_on(path)).await, Ok(0));
    assert_eq!(silo.metrics().calls_cyclic, 0);
}

async fn reads_of_one_chain_may_come_back_past_a_waiting_writer(place: Place) {
    let silo = knots(&place, 1).await;
    let a = silo.client().entity::<Knot>("a");
    for _ in 0..20 {
        let path = ["b", "a", "b", "a"].map(String::from).to_vec();
        let (read, step) = soon(futures_util::future::join(a.read_on(path), a.step())).await;
        assert!(read.is_ok() && step.is_ok(), "{read:?} {step:?}");
    }
    assert_eq!(silo.metrics().calls_cyclic, 0);
}

async fn contention_and_slow_turns_are_no_cycle(place: Place) {
    let silo = knots(&place, 1).await;
    let client = silo.client();
    // All want the same one, through others that others want as well; each turn is longer than the suspicion.
    let asks = (0..8).map(|number| client.entity::<Knot>(format!("w{}", number % 4)).ask_slow("slow".into()));
    let answers = within("slow turns", join_all(asks)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(silo.metrics().calls_cyclic, 0);
}

async fn many_reads_that_wait_do_not_drown_an_arbiter_in_probes(place: Place) {
    let silo = knots(&place, 1).await;
    let client = silo.client();
    // Two layers of reads that wait for a slow turn, each with a writer before more asks of turns.
    let slow = tokio::spawn(client.entity::<Knot>("slow").slow());
    let lower: Vec<_> =
        (0..150).map(|_| client.entity::<Knot>("lower").read_on(vec!["slow".into()])).map(tokio::spawn).collect();
    let mut layers = lower;
    layers.extend(
        (0..150).map(|_| tokio::spawn(client.entity::<Knot>("upper").read_on(vec!["lower".into(), "slow".into()]))),
    );
    let writers =
        [tokio::spawn(client.entity::<Knot>("lower").step()), tokio::spawn(client.entity::<Knot>("upper").step())];
    layers.extend((0..20).map(|number| {
        tokio::spawn(client.entity::<Knot>(format!("t{number}")).read_on(vec![
            "upper".into(),
            "lower".into(),
            "slow".into(),
        ]))
    }));
    let start = tokio::time::Instant::now();
    let mut longest = Duration::ZERO;
    while start.elapsed() < Duration::from_millis(350) {
        let asked = tokio::time::Instant::now();
        within("another entity", client.entity::<Knot>("bystander").look()).await.unwrap();
        longest = longest.max(asked.elapsed());
    }
    let slow = slow.await.unwrap();
    assert_eq!(slow, Ok(1), "and another entity took {longest:?} to answer meanwhile");
    for layer in layers {
        within("a read", layer).await.unwrap().unwrap();
    }
    for writer in writers {
        within("a writer", writer).await.unwrap().unwrap();
    }
    assert!(longest < Duration::from_secs(1), "meanwhile another entity took {longest:?} to answer");
    assert_eq!(silo.metrics().calls_cyclic, 0);
}

/// Kinds whose names are equally long: nothing of one may be taken for the other's.
mod twins {
    use grange::prelude::*;

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Ann {
        count: u64,
    }
    #[entity]
    impl Ann {
        pub(crate) async fn slow(&mut self) -> u64 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            self.count += 1;
            self.count
        }
    }

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Bob {
        count: u64,
    }
    #[entity]
    impl Bob {
        pub(crate) async fn ask_slow(&mut self, turn: &mut Turn<Self>) -> Result<u64, String> {
            turn.entity::<Ann>("ann").slow().await.map_err(|error| format!("{error:?}"))
        }
    }

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Driver {
        count: u64,
    }
    #[entity]
    impl Driver {
        pub(crate) async fn drive_ann(&mut self, turn: &mut Turn<Self>) -> Result<u64, String> {
            turn.entity::<Ann>("ann").slow().await.map_err(|error| format!("{error:?}"))
        }
        pub(crate) async fn drive_bob(&mut self, turn: &mut Turn<Self>) -> Result<u64, String> {
            match turn.entity::<Bob>("bob").ask_slow().await {
                Ok(count) => Ok(count),
                Err(error) => Err(format!("{error:?}")),
            }
        }
    }
}

#[tokio::test]
async fn turns_of_different_kinds_are_never_taken_for_each_other() {
    use twins::{Ann, Bob, Driver};
    let builder = Silo::builder().in_memory().workers(1).entity::<Ann>().entity::<Bob>().entity::<Driver>();
    let silo = builder.start().await.unwrap();
    let client = silo.client();
    // The first time an entity is asked it has to be loaded.
    let (one, two) =
        futures_util::future::join(client.entity::<Driver>("1").drive_ann(), client.entity::<Driver>("2").drive_bob())
            .await;
    assert_eq!((one, two, silo.metrics().calls_cyclic), (Ok(1), Ok(2), 0));
}
