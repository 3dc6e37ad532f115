//! Several silos in one process, over a store that they share, and clients over TCP: the same in memory and on Redis.

mod behaviour;
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use behaviour::{eventually, within};
use grange::prelude::*;
use grange::store::MemoryStore;
use redis_server::RedisServer;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    received: Vec<u64>,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize, PartialEq)]
enum AccountError {
    #[error("insufficient funds")]
    Insufficient,
}

#[entity]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }
    async fn withdraw(&mut self, amount: u64) -> Result<u64, AccountError> {
        self.balance = self.balance.checked_sub(amount).ok_or(AccountError::Insufficient)?;
        Ok(self.balance)
    }
    async fn transfer(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> Result<(), AccountError> {
        self.balance = self.balance.checked_sub(amount).ok_or(AccountError::Insufficient)?;
        let payee = turn.entity::<Account>(to);
        turn.send(payee.receive(amount).then(turn.me().on_received(amount)));
        Ok(())
    }
    /// Asks the first of these to go on with the rest.
    async fn walk(&mut self, mut path: Vec<String>, turn: &mut Turn<Self>) -> Result<(), String> {
        if path.is_empty() {
            return Ok(());
        }
        let next = turn.entity::<Account>(path.remove(0));
        next.walk(path).await.map_err(|error| error.to_string())
    }
    /// When the other one is surely at it, too, asks it.
    async fn meet(&mut self, other: String, turn: &mut Turn<Self>) -> Result<u64, String> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        turn.entity::<Account>(other).deposit(0).await.map_err(|error| error.to_string())
    }
    async fn demand(&mut self, from: String, amount: u64, turn: &mut Turn<Self>) {
        let debtor = turn.entity::<Account>(from);
        turn.send(debtor.withdraw(amount));
    }
    async fn receive(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.received.push(amount);
        self.balance
    }
    async fn on_received(&mut self, amount: u64, outcome: Outcome<u64>) {
        if outcome.is_err() {
            self.balance += amount;
        }
    }
    async fn blob(&self, bytes: usize) -> Vec<u8> {
        vec![7; bytes]
    }
    /// Until the test lets it go on.
    async fn stand(&mut self) {
        GATE.notified().await;
    }
    async fn received(&self) -> Vec<u64> {
        self.received.clone()
    }
    async fn sum_of(&mut self, others: Vec<String>, turn: &mut Turn<Self>) -> u64 {
        let mut sum = self.balance;
        for other in others {
            sum += turn.entity::<Account>(other).deposit(0).await.unwrap_or(0);
        }
        sum
    }
}

static GATE: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// What the silos of a test share.
enum Ground {
    Memory(Arc<MemoryStore>),
    Redis(RedisServer),
}

impl Ground {
    async fn silo(&self) -> Silo {
        let silo = Silo::builder().entity::<Account>().cluster("test").listen("127.0.0.1:0").workers(2);
        let silo = match self {
            Self::Memory(store) => silo.store(store.clone()),
            Self::Redis(server) => silo.redis(format!("redis://127.0.0.1:{}", server.port)),
        };
        within("a silo starts", silo.start()).await.unwrap()
    }

    async fn silos<const N: usize>(&self) -> [Silo; N] {
        let mut silos = Vec::new();
        for _ in 0..N {
            silos.push(self.silo().await);
        }
        silos.try_into().unwrap()
    }
}

macro_rules! on_memory_and_redis { ($($test:ident)*) => {
    mod in_memory {
        use super::*;
        $(#[tokio::test] async fn $test() {
            super::$test(Ground::Memory(Arc::new(MemoryStore::new(1)))).await;
        })*
    }
    mod on_redis {
        use super::*;
        $(#[tokio::test] async fn $test() {
            super::$test(Ground::Redis(RedisServer::durable().await)).await;
        })*
    }
} }

on_memory_and_redis! {
    asks_that_go_round_between_silos_end_as_a_cycle
    a_client_calls_an_entity_of_one_silo
    entities_live_on_three_silos_and_everybody_reaches_them
    messages_go_from_silo_to_silo_once_and_in_order
    a_silo_that_leaves_gives_its_entities_to_the_others
}

async fn client(silos: &[&Silo]) -> Client {
    let addresses: Vec<&str> = silos.iter().map(|silo| silo.address().unwrap()).collect();
    within("a client connects", async { Client::connect(addresses).cluster("test").await }).await.unwrap()
}

async fn a_client_calls_an_entity_of_one_silo(ground: Ground) {
    let one = ground.silo().await;
    let client = client(&[&one]).await;
    let alice = client.entity::<Account>("alice");
    assert_eq!(alice.deposit(5).await, Ok(5));
    assert_eq!(alice.withdraw(9).await, Err(CallError::Rejected(AccountError::Insufficient)));
    assert_eq!(alice.balance().await, Ok(5));
    let key = Uuid::now_v7();
    assert_eq!(alice.deposit(1).idempotent(key).await, Ok(6));
    assert_eq!(alice.deposit(1).idempotent(key).await, Ok(6));
    one.shutdown().await.unwrap();
}

async fn entities_live_on_three_silos_and_everybody_reaches_them(ground: Ground) {
    let silos = ground.silos::<3>().await;
    let client = client(&[&silos[0]]).await;
    for number in 0..60_u64 {
        let account = client.entity::<Account>(format!("{number}"));
        assert_eq!(within("a deposit", account.deposit(number)).await, Ok(number));
    }
    for silo in &silos {
        let inside = silo.client();
        for number in 0..60_u64 {
            let account = inside.entity::<Account>(format!("{number}"));
            assert_eq!(within("a balance", account.balance()).await, Ok(number));
        }
    }
    // Those that came into memory before all silos had their share move to where they belong.
    let live = async || {
        for number in 0..60_u64 {
            within("a balance", client.entity::<Account>(number.to_string()).balance()).await.unwrap();
        }
        silos.iter().map(Silo::activations).collect::<Vec<_>>()
    };
    eventually("the entities are spread", live, |live| live.iter().all(|live| *live >= 8)).await;
    let others: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let sum = client.entity::<Account>("sum").sum_of(others);
    assert_eq!(within("asks between silos", sum).await, Ok((0..60).sum::<u64>()));
    for silo in silos {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

async fn messages_go_from_silo_to_silo_once_and_in_order(ground: Ground) {
    let silos = ground.silos::<3>().await;
    let client = client(&[&silos[1]]).await;
    let payer = client.entity::<Account>("payer");
    payer.deposit(1_000_000).await.unwrap();
    for number in 1..=30_u64 {
        for payee in 0..6 {
            within("a transfer", payer.transfer(format!("payee {payee}"), number)).await.unwrap();
        }
    }
    for payee in 0..6 {
        let payee = client.entity::<Account>(format!("payee {payee}"));
        let all: Vec<u64> = (1..=30).collect();
        let received = eventually("the messages arrive", || payee.received(), |found| found == &Ok(all.clone())).await;
        assert_eq!(received, Ok(all.clone()), "each once, in order");
    }
    for silo in silos {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

async fn a_silo_that_leaves_gives_its_entities_to_the_others(ground: Ground) {
    let mut silos = vec![ground.silo().await, ground.silo().await];
    let client = client(&[&silos[0], &silos[1]]).await;
    for number in 0..40_u64 {
        client.entity::<Account>(format!("{number}")).deposit(number).await.unwrap();
    }
    silos.push(ground.silo().await);
    let leaving = silos.remove(0);
    let going = tokio::spawn(async move { leaving.shutdown().await });
    for round in 0..20 {
        for number in 0..40_u64 {
            let account = client.entity::<Account>(format!("{number}"));
            let deposit = account.deposit(1).idempotent(Uuid::now_v7()).timeout(Duration::from_secs(5));
            assert_eq!(within("a deposit", deposit).await, Ok(number + round + 1));
        }
    }
    within("a shutdown", going).await.unwrap().unwrap();
    for silo in silos {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

/// Both kinds: a chain that comes back to where it began, and two chains that wait for each other.
async fn asks_that_go_round_between_silos_end_as_a_cycle(ground: Ground) {
    let silos = ground.silos::<3>().await;
    let client = client(&[&silos[0]]).await;
    let names: Vec<String> = (0..12).map(|number| format!("round {number}")).collect();
    let spread = async || {
        for name in &names {
            within("a balance", client.entity::<Account>(name.clone()).balance()).await.unwrap();
        }
        silos.iter().map(Silo::activations).collect::<Vec<_>>()
    };
    eventually("they are spread", spread, |live| live.iter().all(|live| *live >= 2)).await;
    let mut path = names[1..].to_vec();
    path.push(names[0].clone());
    let walked = client.entity::<Account>(names[0].clone()).walk(path).timeout(Duration::from_secs(5));
    let error = within("a walk in a circle", walked).await.unwrap_err().to_string();
    assert!(error.contains("a cycle of asks") && error.contains("round 11"), "{error}");
    for pair in names.chunks(2) {
        let (one, other) = (client.entity::<Account>(pair[0].clone()), client.entity::<Account>(pair[1].clone()));
        let one = one.meet(pair[1].clone()).timeout(Duration::from_secs(5));
        let other = other.meet(pair[0].clone()).timeout(Duration::from_secs(5));
        let (one, other) = within("two that wait for each other", async { tokio::join!(one, other) }).await;
        let cyclic = [&one, &other]
            .into_iter()
            .filter(|end| end.as_ref().is_err_and(|error| error.to_string().contains("a cycle")));
        assert_eq!(cyclic.count(), 1, "{one:?} {other:?}");
    }
    for silo in silos {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn a_silo_with_another_secret_does_not_join() {
    let store = Arc::new(MemoryStore::new(1));
    let silo = |secret: &'static str| {
        let silo = Silo::builder().entity::<Account>().cluster("test").listen("127.0.0.1:0").workers(1);
        silo.store(store.clone()).secret(secret).start()
    };
    let one = within("a silo starts", silo("a secret of some length")).await.unwrap();
    let refused = within("another is refused", silo("a secret of other length")).await.unwrap_err();
    assert!(refused.to_string().contains("secret"), "{refused}");
    let same = within("a silo starts", silo("a secret of some length")).await.unwrap();
    let stranger =
        async { Client::connect([one.address().unwrap()]).cluster("test").secret("not the secret at all").await };
    let refused = within("a client is refused", stranger).await.unwrap_err();
    assert!(refused.to_string().contains("secret"), "{refused}");
    for silo in [one, same] {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_letter_is_tried_again() {
    let store = Arc::new(MemoryStore::new(1));
    let ground = Ground::Memory(store);
    let [one, two] = ground.silos::<2>().await;
    let client = client(&[&one]).await;
    let (payer, payee) = (client.entity::<Account>("payer"), client.entity::<Account>("payee"));
    payer.deposit(10).await.unwrap();
    payer.demand("payee".into(), 5).await.unwrap();
    let listed = || async { one.dead_letters(10).await.unwrap() };
    let letters = eventually("a withdrawal from nothing is a dead letter", listed, |letters| letters.len() == 1).await;
    let (entity, number, letter) = &letters[0];
    payee.deposit(7).await.unwrap();
    two.replay_dead_letter(entity, *number, letter);
    let withdrawn = eventually("it is tried again", || payee.balance(), |balance| *balance == Ok(2)).await;
    assert_eq!(withdrawn, Ok(2));
    eventually("it is no dead letter any more", listed, Vec::is_empty).await;
    for silo in [one, two] {
        within("a shutdown", silo.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_finds_a_silo_again_that_was_restarted() {
    let silo = |address: String| {
        let silo = Silo::builder().entity::<Account>().in_memory().cluster("test").workers(1);
        within("a silo starts", silo.listen(address).start())
    };
    let first = silo("127.0.0.1:0".into()).await.unwrap();
    let address = first.address().unwrap().to_owned();
    let client = client(&[&first]).await;
    assert_eq!(client.entity::<Account>("a").deposit(1).await, Ok(1));
    within("a shutdown", first.shutdown()).await.unwrap();
    let second = silo(address).await.unwrap();
    let deposit = client.entity::<Account>("a").deposit(2).timeout(Duration::from_secs(10));
    assert_eq!(within("a call of the new one", deposit).await, Ok(2), "it has nothing of the first one's memory");
    within("a shutdown", second.shutdown()).await.unwrap();
}

/// A runtime on a thread of its own, which runs only for as long as it is told to.
struct Elsewhere(tokio::runtime::Runtime);

impl Elsewhere {
    fn new() -> Self {
        Self(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
    }

    /// What this comes to there; nothing runs there any more when it is known.
    fn run<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| self.0.block_on(work)).join().unwrap())
    }
}

/// Without any runtime.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut work = std::pin::pin!(work);
    loop {
        match work.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

async fn lone_silo() -> Silo {
    let silo = Silo::builder().entity::<Account>().in_memory().cluster("test").workers(1).listen("127.0.0.1:0");
    within("a silo starts", silo.start()).await.unwrap()
}

fn counted(silo: &Silo, what: &str) -> u64 {
    let name = format!("grange_wire_{what}_total");
    silo.wire_counters().iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
}

#[tokio::test]
async fn a_call_that_its_client_dropped_before_it_started_is_not_run() {
    let silo = lone_silo().await;
    let client = client(&[&silo]).await;
    let account = client.entity::<Account>("a");
    let standing = tokio::spawn(account.stand().into_future());
    eventually("a turn", async || silo.activations(), |count| *count == 1).await;
    for _ in 0..3 {
        let before = counted(&silo, "frames_in");
        let mut dropped = Box::pin(account.deposit(1).into_future());
        assert!(futures_util::FutureExt::now_or_never(&mut dropped).is_none());
        eventually("the call", async || counted(&silo, "frames_in"), |count| *count > before).await;
        drop(dropped);
        eventually("word that it is over", async || counted(&silo, "frames_in"), |count| *count > before + 1).await;
    }
    GATE.notify_one();
    within("the turn before them", standing).await.unwrap().unwrap();
    assert_eq!(account.balance().await, Ok(0));
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outlives_the_runtime_in_which_it_connected() {
    let silo = lone_silo().await;
    let elsewhere = Elsewhere::new();
    let client = elsewhere.run(client(&[&silo]));
    let account = client.entity::<Account>("a");
    assert_eq!(elsewhere.run(account.deposit(1)), Ok(1));
    tokio::task::spawn_blocking(move || drop(elsewhere)).await.unwrap();
    assert_eq!(within("a call after its end", account.deposit(1)).await, Ok(2));
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_not_sent_when_its_runtime_ended_is_not_in_doubt() {
    let silo = lone_silo().await;
    let elsewhere = Elsewhere::new();
    let client = elsewhere.run(client(&[&silo]));
    let account = client.entity::<Account>("a");
    // Nobody polls its connection.
    let mut call = Box::pin(account.deposit(1).into_future());
    assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    tokio::task::spawn_blocking(move || drop(elsewhere)).await.unwrap();
    assert_eq!(within("the call", call).await, Ok(1));
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_large_together_all_arrive() {
    let silo = lone_silo().await;
    let client = client(&[&silo]).await;
    let account = client.entity::<Account>("a");
    assert_eq!(account.deposit(1).await, Ok(1));
    let blobs = (0..50).map(|_| account.blob(700_000).into_future());
    let blobs = within("50 answers of 700 kB", futures_util::future::join_all(blobs)).await;
    let lengths: Vec<_> = blobs.iter().map(|blob| blob.as_ref().map(Vec::len)).collect();
    assert!(lengths.iter().all(|length| *length == Ok(700_000)), "{lengths:?}");
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_runtime_stands_still_is_used_from_others() {
    let silo = lone_silo().await;
    let elsewhere = Elsewhere::new();
    let client = elsewhere.run(client(&[&silo]));
    let account = client.entity::<Account>("a");
    // Nobody polls its connection. What was not sent is not lost, and not in doubt.
    assert_eq!(within("a call from another runtime", account.deposit(1)).await, Ok(1));
    assert_eq!(elsewhere.run(account.deposit(1)), Ok(2), "where it connected it works as well");
    tokio::task::spawn_blocking(move || drop(elsewhere)).await.unwrap();
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_between_two_blocking_calls_puts_none_in_doubt() {
    let silo = lone_silo().await;
    let elsewhere = Elsewhere::new();
    let client = elsewhere.run(client(&[&silo]));
    let account = client.entity::<Account>("a");
    assert_eq!(elsewhere.run(account.deposit(1)), Ok(1));
    eventually("another connection", async || counted(&silo, "accepted"), |count| *count == 2).await;
    assert_eq!(elsewhere.run(account.deposit(1)), Ok(2));
    tokio::task::spawn_blocking(move || drop(elsewhere)).await.unwrap();
    within("a shutdown", silo.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_connects_from_within_a_runtime_that_nobody_polls() {
    let silo = lone_silo().await;
    let addresses = [silo.address().unwrap().to_owned()];
    let connecting = tokio::task::spawn_blocking(|| {
        let elsewhere = Elsewhere::new();
        let _entered = elsewhere.0.enter();
        block_on(async { Client::connect(addresses).cluster("test").await })
    });
    let client = within("a client connects", connecting).await.unwrap().unwrap();
    assert_eq!(within("a call", client.entity::<Account>("a").deposit(1)).await, Ok(1));
    within("a shutdown", silo.shutdown()).await.unwrap();
}
