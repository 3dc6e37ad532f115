//! The network fails between silos and Redis, between silos, and between clients and silos; when it heals, nothing is
//! lost and nothing was done twice.

use std::time::Duration;

use integration_tests::bench::{Bench, Plan};
use integration_tests::proxy::{Direction, Lane};
use integration_tests::random::seed;
use integration_tests::verifier::History;

async fn bench(name: &str) -> Bench {
    Bench::start(name, seed(), Plan { has_proxies: true, ..Plan::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_that_is_cut_off_from_redis_is_taken_over_and_comes_back() {
    let mut bench = bench("cut-from-redis").await;
    let work = bench.work().await;
    for direction in [Direction::Both, Direction::One(Lane::Back)] {
        bench.pass(Duration::from_secs(1)).await;
        bench.silos[0].to_store().hold(direction);
        bench.pass(Duration::from_secs(7)).await;
        bench.silos[0].to_store().heal();
    }
    bench.pass(Duration::from_secs(1)).await;
    bench.silos[0].to_store().refuse();
    bench.pass(Duration::from_secs(3)).await;
    bench.silos[0].to_store().heal();
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silos_that_dont_reach_each_other_lose_nothing() {
    let mut bench = bench("between-silos").await;
    let work = bench.work().await;
    let faults = [Direction::Both, Direction::One(Lane::There), Direction::One(Lane::Back)];
    for (victim, direction) in faults.into_iter().enumerate() {
        bench.pass(Duration::from_secs(1)).await;
        bench.silos[victim].front().hold(direction);
        bench.pass(Duration::from_secs(3)).await;
        bench.silos[victim].front().heal();
    }
    // Nobody reaches anybody, and each reaches Redis.
    bench.silos.iter().for_each(|hosted| hosted.front().refuse());
    bench.pass(Duration::from_secs(2)).await;
    bench.silos.iter().for_each(|hosted| hosted.front().heal());
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_whose_connections_fail_get_the_answer_another_way() {
    let mut bench = bench("clients").await;
    let fronts: Vec<String> = bench.silos.iter().map(|hosted| hosted.front().address()).collect();
    let clients = [bench.client_of(&fronts).await, bench.client_of(&fronts).await];
    let work = bench.work_through(&clients);
    for round in 0..12 {
        bench.pass(Duration::from_millis(400)).await;
        let victim = bench.random.index(bench.silos.len());
        let front = bench.silos[victim].front();
        match round % 4 {
            0 => front.cut(),
            1 => front.cut_within(Direction::Both, 2_000),
            2 => front.delay(Direction::Both, Duration::from_millis(100)),
            _ => bench.silos.iter().for_each(|hosted| hosted.front().heal()),
        }
    }
    bench.judge_good(work, History::Kept).await;
}

/// FoundationDB's "swizzle": links fail one by one, and heal in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_fail_and_heal_in_random_order_lose_nothing() {
    let mut bench = bench("swizzle").await;
    let work = bench.work().await;
    for _ in 0..3 {
        for _ in 0..4 {
            let (victim, fault) = (bench.random.index(bench.silos.len()), bench.random.below(10));
            let hosted = &bench.silos[victim];
            let link = if fault % 2 == 0 { hosted.to_store() } else { hosted.front() };
            match fault / 2 {
                0 => link.hold(Direction::Both),
                1 => link.hold(Direction::One(if fault == 2 { Lane::There } else { Lane::Back })),
                2 => link.cut(),
                3 => link.cut_within(Direction::Both, 5_000),
                _ => link.throttle(Direction::Both, 20_000),
            }
            let pause = bench.random.between(Duration::from_millis(100), Duration::from_millis(700));
            bench.pass(pause).await;
        }
        let first = bench.random.index(bench.silos.len());
        for step in 0..bench.silos.len() {
            let hosted = &bench.silos[(first + step) % bench.silos.len()];
            hosted.front().heal();
            hosted.to_store().heal();
            bench.pass(Duration::from_millis(200)).await;
        }
    }
    bench.judge_good(work, History::Kept).await;
}
