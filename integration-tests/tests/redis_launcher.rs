//! Redis servers under test start, fail and come back as the tests of silos need it.

use std::time::Duration;

use integration_tests::proxy::{Direction, Proxy};
use integration_tests::servers::{Fsync, Redis, RedisCluster, RedisSettings};
use integration_tests::wait::{LIMIT, eventually};

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.tell(&["SET", key, value]).await;
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.ask(&["GET", key]).await.unwrap()
}

#[tokio::test]
async fn what_is_durable_survives_a_kill_and_a_lost_disk_is_empty() {
    let mut redis = Redis::start(RedisSettings::default()).await;
    set(&redis, "a", "1").await;
    redis.restart().await;
    assert_eq!(get(&redis, "a").await.as_deref(), Some("1"));
    redis.lose_disk();
    redis.restart().await;
    assert_eq!(get(&redis, "a").await, None);
}

#[tokio::test]
async fn a_cut_log_loses_its_end_only() {
    let mut redis = Redis::start(RedisSettings::default()).await;
    set(&redis, "a", "1").await;
    set(&redis, "b", "2").await;
    // In the midst of the last command.
    assert!(redis.cut_log_tail(5) > 5);
    redis.restart().await;
    assert_eq!((get(&redis, "a").await.as_deref(), get(&redis, "b").await), (Some("1"), None));
    redis.restart().await;
    assert_eq!((get(&redis, "a").await.as_deref(), get(&redis, "b").await), (Some("1"), None));
}

#[tokio::test]
async fn a_frozen_one_is_silent_and_goes_on() {
    let mut redis = Redis::start(RedisSettings { append_only: None, ..Default::default() }).await;
    set(&redis, "a", "1").await;
    redis.process().freeze();
    let silent = tokio::time::timeout(Duration::from_millis(200), redis.ask::<String>(&["PING"])).await;
    redis.process().thaw();
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(get(&redis, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_password_is_asked_for_and_memory_is_limited() {
    let settings = RedisSettings {
        append_only: Some(Fsync::EverySecond),
        password: Some("s3cret".into()),
        memory_bytes_max: Some(8 << 20),
        ..Default::default()
    };
    let redis = Redis::start(settings).await;
    assert!(redis.url().contains(":s3cret@"));
    let stranger = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
    let mut refused = stranger.get_multiplexed_async_connection().await.unwrap();
    assert!(redis::cmd("PING").query_async::<String>(&mut refused).await.is_err());
    redis.limit_memory(redis.memory_bytes().await / 2).await;
    let full = redis.ask::<String>(&["SET", "a", "1"]).await;
    assert!(full.unwrap_err().to_string().contains("OOM"));
    redis.limit_memory(0).await;
    set(&redis, "a", "1").await;
}

#[tokio::test]
async fn a_replica_that_lags_becomes_a_primary_without_the_end() {
    let mut primary = Redis::start(RedisSettings::default()).await;
    let link = Proxy::start(&primary.address(), 1);
    let replica = Redis::start(RedisSettings::default()).await;
    set(&primary, "a", "1").await;
    replica.follow(&link.address()).await;
    set(&primary, "b", "2").await;
    eventually("the replica's b", LIMIT, || get(&replica, "b"), |b| b.as_deref() == Some("2")).await;
    link.hold(Direction::Both);
    set(&primary, "c", "3").await;
    primary.kill();
    replica.promote().await;
    assert_eq!((get(&replica, "b").await.as_deref(), get(&replica, "c").await), (Some("2"), None));
    set(&replica, "c", "4").await;
}

#[tokio::test]
async fn commands_are_counted() {
    let redis = Redis::start(RedisSettings::default()).await;
    redis.ask::<redis::Value>(&["EVAL", "return 1", "0"]).await.unwrap();
    set(&redis, "a", "1").await;
    redis.flush_scripts().await;
    redis.flush_all().await;
    let counts = redis.command_counts().await;
    assert_eq!((counts.get("eval"), counts.get("set"), counts.get("flushall")), (Some(&1), Some(&1), Some(&1)));
    assert_eq!(counts.get("script|flush"), Some(&1));
}

#[tokio::test]
async fn a_redis_cluster_of_three_masters_serves_every_slot() {
    let mut cluster = RedisCluster::start(3, RedisSettings::default()).await;
    assert_eq!(cluster.url().split(',').count(), 3);
    // Each node serves its own share, and says of the others' who has it.
    let mut own = 0;
    for node in &cluster.nodes {
        for key in ["{1}", "{2}", "{3}", "{4}", "{5}", "{6}"] {
            own += usize::from(node.ask::<String>(&["SET", key, "1"]).await.is_ok());
        }
    }
    assert_eq!(own, 6);
    cluster.nodes[0].restart().await;
    cluster.agree().await;
}
