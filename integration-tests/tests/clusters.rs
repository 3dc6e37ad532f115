//! The store is a Redis Cluster of three masters: silos are killed, a master is killed, and nothing is lost.

use std::time::Duration;

use integration_tests::bench::{Bench, Plan, Store};
use integration_tests::random::seed;
use integration_tests::verifier::History;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_three_masters_kills_lose_nothing() {
    let mut bench = Bench::start("masters", seed(), Plan { masters: 3, ..Plan::default() }).await;
    let work = bench.work().await;
    for _ in 0..3 {
        bench.pass(Duration::from_secs(1)).await;
        let victim = bench.random.index(bench.silos.len());
        bench.silos[victim].silo.kill();
        bench.pass(Duration::from_millis(500)).await;
        bench.silos[victim].silo.restart().await;
    }
    for _ in 0..2 {
        bench.pass(Duration::from_secs(1)).await;
        let victim = bench.random.index(3);
        let Store::Masters(cluster) = &mut bench.store else { panic!("three masters") };
        cluster.nodes[victim].restart().await;
        cluster.agree().await;
    }
    bench.pass(Duration::from_secs(1)).await;
    let verdict = bench.judge_good(work, History::Kept).await;
    assert!(verdict.figures.acknowledged > 200, "it hardly worked: {verdict}");
    // Every master has its part.
    for node in bench.store.servers() {
        let keys: u64 = node.ask(&["DBSIZE"]).await.expect("DBSIZE");
        assert!(keys > 5, "{} has {keys} keys", node.address());
    }
}
