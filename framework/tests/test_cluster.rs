//! The cluster for tests of applications, used as an application would.

use grange::prelude::*;
use grange::testing::{Fault, TestCluster};

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }
    async fn pay(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> u64 {
        self.balance = self.balance.saturating_sub(amount);
        turn.send(turn.entity::<Account>(to).deposit(amount));
        self.balance
    }
    async fn balance(&self) -> u64 {
        self.balance
    }
    /// A read that asks another one, which comes back to this one.
    async fn look_round(&self, by: String, turn: &Turn<Self>) -> Result<u64, String> {
        let me = turn.key().clone();
        turn.entity::<Account>(by).look_at(me).await.map_err(|error| error.to_string())
    }
    async fn look_at(&self, whom: String, turn: &Turn<Self>) -> Result<u64, String> {
        tokio::time::sleep(Duration::from_millis(400)).await;
        turn.entity::<Account>(whom).balance().await.map_err(|error| error.to_string())
    }
    async fn remind_soon(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.me().deposit(1).after(Duration::from_secs(4)));
    }
    async fn remind(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.me().deposit(1).after(Duration::from_secs(3_600)));
    }
}

const LIMIT: Duration = Duration::from_secs(15);

async fn cluster(silos: usize) -> TestCluster {
    TestCluster::start(silos, |silo| silo.entity::<Account>().workers(1)).await.expect("it starts")
}

#[tokio::test]
async fn money_that_is_under_way_arrives_once_whoever_dies() {
    let mut cluster = cluster(3).await;
    let account = |name: &str| cluster.client().entity::<Account>(name);
    let names: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for name in &names {
        account(name).deposit(100).await.expect("a deposit");
    }
    for pair in names.windows(2) {
        account(&pair[0]).pay(pair[1].clone(), 10).await.expect("a payment");
    }
    // Each has some; they are counted at each sweep.
    let counts = || (0..3).map(|number| cluster.silo(number).map_or(0, Silo::activations));
    let spread = async {
        while counts().any(|count| count == 0) {
            tokio::task::yield_now().await
        }
    };
    within("some on each silo", spread).await;
    cluster.crash(1).await;
    cluster.settled(LIMIT).await.expect("everything arrives");
    let mut sum = 0;
    for name in &names {
        let balance = cluster.client().entity::<Account>(name).deposit(0).idempotent(Uuid::now_v7()).await;
        sum += balance.expect("a balance");
    }
    assert_eq!(sum, 6_000);
    assert!(cluster.silo(0).is_some() && cluster.silo(1).is_none());
    cluster.stop().await.expect("the others stop");
}

#[tokio::test]
async fn silos_come_and_go_and_nobody_notices() {
    let mut cluster = cluster(1).await;
    for round in 1..=3 {
        let added = cluster.add().await.expect("one more");
        assert_eq!(cluster.client().entity::<Account>("a").deposit(1).await, Ok(2 * round - 1));
        cluster.leave(added - 1).await.expect("one less");
        assert_eq!(cluster.client().entity::<Account>("a").deposit(1).await, Ok(2 * round));
    }
    cluster.stop().await.expect("it stops");
}

/// Entities moved, and the store did not hear that their old silo gave them back: it names that one as their owner.
#[tokio::test]
async fn what_was_let_go_unheard_is_reached_and_woken() {
    let mut cluster = cluster(1).await;
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for name in &names {
        let account = cluster.client().entity::<Account>(name);
        account.deposit(1).await.expect("a deposit");
        account.remind_soon().await.expect("a reminder");
    }
    cluster.store().lose_releases(true);
    let added = cluster.add().await.expect("one more");
    let left = async || cluster.silo(0).map_or(0, Silo::activations) < names.len();
    within("some have left", async {
        while !left().await {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    })
    .await;
    // Longer than a release is tried again.
    tokio::time::sleep(Duration::from_millis(800)).await;
    cluster.store().lose_releases(false);
    // By the new silo, which finds the claims of the old one.
    let client = cluster.silo(added).expect("it runs").client();
    for name in &names {
        let balance = client.entity::<Account>(name).balance().timeout(Duration::from_secs(5)).await;
        assert!(balance.is_ok(), "{name}: {balance:?}");
    }
    cluster.settled(LIMIT).await.expect("every reminder fires");
    for name in &names {
        assert_eq!(client.entity::<Account>(name).balance().await, Ok(2), "{name}");
    }
    cluster.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_read_of_its_own_chain_does_not_wait_for_the_move_that_waits_for_it() {
    let mut cluster = cluster(1).await;
    let client = cluster.client().clone();
    let looks: Vec<_> = (0..40)
        .map(|number| {
            let by = format!("by-{number}");
            tokio::spawn(client.entity::<Account>(number.to_string()).look_round(by).timeout(Duration::from_secs(10)))
        })
        .collect();
    // All are at it; now some belong elsewhere.
    let all = async {
        while cluster.silo(0).map_or(0, Silo::activations) < 80 {
            tokio::task::yield_now().await
        }
    };
    within("all at work", all).await;
    cluster.add().await.expect("one more");
    for look in looks {
        assert_eq!(within("a look", look).await.expect("it ends"), Ok(0));
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

#[tokio::test]
async fn its_store_fails_as_it_is_told() {
    let cluster = cluster(1).await;
    let account = cluster.client().entity::<Account>("a");
    account.deposit(1).await.expect("a deposit");
    cluster.store().commits([Fault::FailBefore; 4]);
    let error = account.deposit(1).await.expect_err("the commit failed, and so did each repetition");
    assert!(error.may_have_applied(), "{error}");
    assert_eq!(account.deposit(1).await, Ok(2));
}

#[tokio::test]
async fn what_does_not_settle_is_named() {
    let cluster = cluster(1).await;
    cluster.client().entity::<Account>("late").remind().await.expect("a reminder");
    let error = cluster.settled(Duration::from_millis(50)).await.expect_err("the reminder waits").to_string();
    assert!(error.contains("Account/late"), "{error}");
}

#[tokio::test]
async fn no_cluster_is_none() {
    let error = TestCluster::start(0, |silo| silo.entity::<Account>()).await.expect_err("none");
    assert!(error.to_string().contains("at least one silo"), "{error}");
    let error = TestCluster::start(1, |silo| silo).await.expect_err("no kinds");
    assert!(error.to_string().contains("no kind"), "{error}");
}
