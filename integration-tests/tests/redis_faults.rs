//! Redis fails in its own ways, under load: killed, frozen, slow, full, emptied, with the end of its log lost, replaced
//! by a replica that lags. What it kept stays; what it lost leaves the rest consistent; no silo gets stuck.

use std::time::Duration;

use integration_tests::bench::{Bench, Plan};
use integration_tests::load::{Keys, Population, open_accounts};
use integration_tests::proxy::{Direction, Proxy};
use integration_tests::random::seed;
use integration_tests::servers::{Fsync, Redis, RedisSettings};
use integration_tests::verifier::History;
use integration_tests::wait::LIMIT;

async fn bench(name: &str, fsync: Fsync) -> Bench {
    let redis = RedisSettings { append_only: Some(fsync), ..RedisSettings::default() };
    Bench::start(name, seed(), Plan { silos: 2, redis, ..Plan::default() }).await
}

async fn with_proxies(name: &str) -> Bench {
    Bench::start(name, seed(), Plan { silos: 2, has_proxies: true, ..Plan::default() }).await
}

/// The store was emptied: everything works as at the beginning.
async fn begins_anew(bench: &mut Bench) {
    // The old ones have done work of which the next recording knows nothing.
    bench.population = Population::new("anew-", 24);
    open_accounts(&bench.client().await, &bench.population, &Keys::default()).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(2)).await;
    let verdict = bench.judge_good(work, History::Kept).await;
    assert!(verdict.figures.acknowledged > 50, "it hardly worked: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_a_durable_log_it_loses_nothing() {
    let mut bench = bench("redis-kill", Fsync::Always).await;
    let work = bench.work().await;
    for _ in 0..3 {
        bench.pass(Duration::from_secs(1)).await;
        bench.redis().kill();
        let down = bench.random.between(Duration::from_millis(10), Duration::from_millis(1_500));
        bench.pass(down).await;
        bench.redis().restart().await;
    }
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_end_of_its_log_what_is_left_is_consistent() {
    let mut bench = bench("redis-tail", Fsync::EverySecond).await;
    let work = bench.work().await;
    for _ in 0..4 {
        bench.pass(Duration::from_millis(1_500)).await;
        let cut = 1 + bench.random.below(4_000);
        bench.redis().cut_log_tail(cut);
        // Twice: what a torn end does may show at the second start only.
        bench.redis().restart().await;
        bench.redis().restart().await;
    }
    bench.pass(Duration::from_secs(1)).await;
    let verdict = bench.judge_good(work, History::LostItsEnd).await;
    eprintln!("lost with the end of the log: {}", verdict.figures.lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_it_is_used_anew() {
    let mut bench = bench("redis-empty", Fsync::Always).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(1)).await;
    bench.redis().lose_disk();
    bench.redis().restart().await;
    bench.pass(Duration::from_secs(1)).await;
    // What it says of the past is of no use; that it ends matters.
    let verdict = bench.judge(work, History::LostItsEnd).await;
    eprintln!("after a lost disk: {:?}, {:?}", verdict.broken(), verdict.figures);
    begins_anew(&mut bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_it_is_used_anew() {
    let mut bench = bench("redis-flush", Fsync::Always).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(1)).await;
    bench.redis().flush_all().await;
    bench.pass(Duration::from_secs(2)).await;
    let verdict = bench.judge(work, History::LostItsEnd).await;
    eprintln!("after FLUSHALL: {:?}, {:?}", verdict.broken(), verdict.figures);
    begins_anew(&mut bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_it_is_waited_for() {
    let mut bench = bench("redis-freeze", Fsync::Always).await;
    let work = bench.work().await;
    for pause in [500, 3_000, 7_000] {
        bench.pass(Duration::from_millis(700)).await;
        bench.redis().process().freeze();
        bench.pass(Duration::from_millis(pause)).await;
        bench.redis().process().thaw();
    }
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_it_makes_everything_slow_and_nothing_wrong() {
    let mut bench = with_proxies("redis-slow").await;
    let work = bench.work().await;
    bench.pass(Duration::from_millis(500)).await;
    bench.silos.iter().for_each(|hosted| hosted.to_store().delay(Direction::Both, Duration::from_millis(100)));
    bench.pass(Duration::from_secs(5)).await;
    bench.silos.iter().for_each(|hosted| hosted.to_store().heal());
    let verdict = bench.judge_good(work, History::Kept).await;
    assert!(verdict.figures.acknowledged > 50, "it hardly worked: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_scripts_it_is_given_them_again() {
    let mut bench = bench("redis-scripts", Fsync::Always).await;
    let work = bench.work().await;
    for _ in 0..20 {
        bench.pass(Duration::from_millis(100)).await;
        bench.redis().flush_scripts().await;
    }
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_it_refuses_and_nothing_is_lost() {
    let mut bench = bench("redis-full", Fsync::Always).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(1)).await;
    let used = bench.redis().memory_bytes().await;
    bench.redis().limit_memory(used / 2).await;
    bench.pass(Duration::from_secs(3)).await;
    bench.redis().limit_memory(0).await;
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

/// A small disk, for root.
async fn on_a_small_disk(name: &str, fsync: Fsync) -> Bench {
    let redis = RedisSettings { append_only: Some(fsync), disk_bytes: Some(64 << 20), ..RedisSettings::default() };
    Bench::start(name, seed(), Plan { silos: 2, redis, ..Plan::default() }).await
}

/// What could not be written to the log was not done, so Redis ends: it is started again when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_its_durable_log_it_ends_and_nothing_is_lost() {
    let mut bench = on_a_small_disk("redis-disk", Fsync::Always).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(1)).await;
    bench.redis().disk().fill();
    bench.redis().process().ended(LIMIT).await;
    bench.redis().disk().free();
    bench.redis().restart().await;
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

/// It refuses to write until there is room, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_its_log_it_refuses_and_nothing_is_lost() {
    let mut bench = on_a_small_disk("redis-disk-everysec", Fsync::EverySecond).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(1)).await;
    bench.redis().disk().fill();
    bench.pass(Duration::from_secs(4)).await;
    bench.redis().disk().free();
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_by_a_replica_that_lags_it_leaves_what_is_consistent() {
    let mut bench = with_proxies("redis-failover").await;
    let link = Proxy::start(&bench.redis().address(), bench.random.below(u64::MAX));
    let replica = Redis::start(RedisSettings::default()).await;
    replica.follow(&link.address()).await;
    let work = bench.work().await;
    bench.pass(Duration::from_secs(2)).await;
    link.hold(Direction::Both);
    bench.pass(Duration::from_millis(300)).await;
    bench.redis().kill();
    replica.promote().await;
    let address = replica.address();
    bench.silos.iter().for_each(|hosted| hosted.to_store().lead_to(&address));
    bench.replace_store(replica);
    bench.pass(Duration::from_secs(3)).await;
    let verdict = bench.judge_good(work, History::LostItsEnd).await;
    eprintln!("lost by the failover: {}", verdict.figures.lost);
}
