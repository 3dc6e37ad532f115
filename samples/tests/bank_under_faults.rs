//! No money is lost or made, whatever goes wrong.

use grange::prelude::*;
use grange::testing::{Faults, Simulated, Simulation, TestCluster};
use samples::bank::{Account, Order, Transfer, host};

/// Alice pays bob. Each call is made until it is answered, under one key: once, however often that is.
async fn pay(client: &Client, key: impl Fn() -> Uuid) {
    let (opened, submitted) = (key(), key());
    while client.entity::<Account>("alice").open(100).idempotent(opened).await.is_err() {}
    let order = Order { from: "alice".into(), to: "bob".into(), amount: 30 };
    while client.entity::<Transfer>("t1").submit(order.clone()).idempotent(submitted).await.is_err() {}
}

async fn balances(client: &Client) -> Vec<u64> {
    let mut balances = Vec::new();
    for name in ["alice", "bob"] {
        let statement = client.entity::<Account>(name).statement().await.expect("a read");
        assert_eq!(statement.held, 0, "{name} waits for nothing");
        balances.push(statement.balance);
    }
    balances
}

async fn bob_is_paid_once(cluster: Simulated) {
    pay(&cluster.client(), || cluster.key()).await;
    cluster.settled(Duration::from_secs(60)).await;
    cluster.calm().await;
    assert_eq!(balances(&cluster.client()).await, [70, 30]);
    assert_eq!(cluster.dead_letters().await, 0);
}

#[test]
fn under_every_single_fault() {
    Simulation::new(0).silos(2, host).holds_under_every_fault(bob_is_paid_once);
}

#[test]
fn under_faults_by_chance_with_nobody_beside_another() {
    for seed in 0..20 {
        let bank = Simulation::new(seed).silos(3, host).scatter().faults(Faults::all());
        bank.run(bob_is_paid_once).expect_success();
    }
}

#[grange::test]
async fn in_real_time_when_a_silo_dies() -> grange::Result<()> {
    let mut bank = TestCluster::start(3, host).await?;
    pay(bank.client(), Uuid::now_v7).await;
    bank.crash(1).await;
    bank.settled(Duration::from_secs(60)).await?;
    assert_eq!(balances(bank.client()).await, [70, 30]);
    bank.stop().await
}
