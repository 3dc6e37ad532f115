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
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for name in &names {
        account(name).deposit(100).await.expect("a deposit");
    }
    for pair in names.windows(2) {
        account(&pair[0]).pay(pair[1].clone(), 10).await.expect("a payment");
    }
    let spread = (0..3).map(|number| cluster.silo(number).expect("it runs").activations() > 0);
    assert!(spread.into_iter().all(|some| some), "{cluster:?}");
    cluster.crash(1).await;
    cluster.settled(LIMIT).await.expect("everything arrives");
    let mut sum = 0;
    for name in &names {
        let balance = cluster.client().entity::<Account>(name).deposit(0).idempotent(Uuid::now_v7()).await;
        sum += balance.expect("a balance");
    }
    assert_eq!(sum, 2_000);
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
