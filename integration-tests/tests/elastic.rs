//! Silos come and go under load, 1 → 2 → 5 → 2; entities follow, and nothing is lost.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use grange::Client;
use integration_tests::application::Spot;
use integration_tests::bench::{Bench, Plan};
use integration_tests::random::seed;
use integration_tests::verifier::History;
use integration_tests::wait::{LIMIT, eventually};

/// New entities that are placed to see where.
const SAMPLE: usize = 300;

/// How many of new entities each process got.
async fn shares(client: &Client, round: usize) -> BTreeMap<u32, usize> {
    let mut shares = BTreeMap::new();
    for number in 0..SAMPLE {
        let spot = client.entity::<Spot>(format!("round-{round}-{number}"));
        if let Ok(process) = spot.process().timeout(Duration::from_secs(5)).await {
            *shares.entry(process).or_default() += 1;
        }
    }
    shares
}

/// Waits until so many silos share new entities about equally.
async fn shared_by(bench: &mut Bench, silos: usize, rounds: &Cell<usize>) {
    let client = bench.client().await;
    let look = || {
        rounds.set(rounds.get() + 1);
        shares(&client, rounds.get())
    };
    let equal = SAMPLE / silos;
    let is_shared = |shares: &BTreeMap<u32, usize>| {
        shares.len() == silos && shares.values().all(|share| (equal / 2..=equal * 3 / 2).contains(share))
    };
    let shares = eventually(&format!("{silos} silos with equal shares"), LIMIT, look, is_shared).await;
    eprintln!("{silos} silos: {shares:?}");
}

#[tokio::test]
async fn silos_that_come_and_go_share_the_work_and_lose_nothing() {
    let mut bench = Bench::start("elastic", seed(), Plan { silos: 1, ..Plan::default() }).await;
    let (work, rounds) = (bench.work().await, Cell::new(0));
    shared_by(&mut bench, 1, &rounds).await;
    bench.add_silo().await;
    shared_by(&mut bench, 2, &rounds).await;
    for _ in 0..3 {
        bench.add_silo().await;
    }
    shared_by(&mut bench, 5, &rounds).await;
    // The oldest are among those that go.
    for number in [0, 2, 3] {
        let status = bench.silos[number].silo.drain(LIMIT).await;
        assert!(status.success(), "silo {number} ended with {status}");
    }
    shared_by(&mut bench, 2, &rounds).await;
    let verdict = bench.judge_good(work, History::Kept).await;
    assert!(verdict.figures.acknowledged > 200, "it hardly worked: {verdict}");
}
