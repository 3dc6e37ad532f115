//! What a call costs in round trips to Redis, as Redis counts them.

use std::collections::BTreeMap;
use std::time::Duration;

use grange::Client;
use grange::prelude::*;
use integration_tests::application::Spot;
use integration_tests::bench::{Bench, Plan};
use integration_tests::random::seed;
use tokio::time::Instant;

/// Commands that clients send; those in scripts are counted by Redis too, and are no round trips.
const SCRIPTS: [&str; 3] = ["evalsha", "eval", "fcall"];

const TIMEOUT: Duration = Duration::from_secs(10);

/// What Redis did between two looks, beyond what silos do by themselves in that time.
struct Meter {
    before: BTreeMap<String, u64>,
    began: Instant,
    scripts_per_second: f64,
}

fn scripts(counts: &BTreeMap<String, u64>) -> u64 {
    SCRIPTS.iter().filter_map(|name| counts.get(*name)).sum()
}

fn count(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

impl Meter {
    /// How much silos do that are not asked for anything.
    async fn new(bench: &mut Bench) -> Self {
        let (before, began) = (bench.redis().command_counts().await, Instant::now());
        bench.pass(Duration::from_secs(3)).await;
        let after = bench.redis().command_counts().await;
        let scripts_per_second = (scripts(&after) - scripts(&before)) as f64 / began.elapsed().as_secs_f64();
        eprintln!("at rest: {scripts_per_second:.1} scripts a second");
        Self { before: after, began: Instant::now(), scripts_per_second }
    }

    async fn start(&mut self, bench: &mut Bench) {
        self.before = bench.redis().command_counts().await;
        self.began = Instant::now();
    }

    /// Scripts beyond those at rest, with some slack; and how often this command was run.
    async fn stop(&self, bench: &mut Bench, command: &str) -> (u64, u64) {
        let after = bench.redis().command_counts().await;
        let at_rest = self.scripts_per_second * self.began.elapsed().as_secs_f64() * 1.5 + 10.0;
        let scripts = (scripts(&after) - scripts(&self.before)).saturating_sub(at_rest as u64);
        (scripts, count(&after, command) - count(&self.before, command))
    }
}

/// An entity that is in this process, in memory.
async fn spot_at(client: &Client, process: u32) -> String {
    // Until everybody has heard of its share.
    for round in 0..50 {
        for number in 0..20 {
            let name = format!("at-{process}-{round}-{number}");
            if client.entity::<Spot>(&name).process().timeout(TIMEOUT).await == Ok(process) {
                return name;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("none of 1,000 entities is in process {process}");
}

#[tokio::test]
async fn a_call_makes_no_more_round_trips_than_it_has_to() {
    let mut bench = Bench::start("commands", seed(), Plan { silos: 2, ..Plan::default() }).await;
    // The client's only door is the other silo's.
    let door = bench.silos[0].silo.settings().listen.clone();
    let client = bench.client_of(&[door]).await;
    let far = bench.silos[1].silo.process().id();
    let spot = client.entity::<Spot>(spot_at(&client, far).await);
    let mut meter = Meter::new(&mut bench).await;

    meter.start(&mut bench).await;
    for _ in 0..2_000 {
        assert_eq!(spot.process().timeout(TIMEOUT).await, Ok(far));
    }
    let (scripts, _) = meter.stop(&mut bench, "hset").await;
    assert_eq!(scripts, 0, "warm reads in another silo made {scripts} round trips");

    meter.start(&mut bench).await;
    for _ in 0..500 {
        assert_eq!(spot.mark().timeout(TIMEOUT).await, Ok(far));
    }
    let (scripts, zadds) = meter.stop(&mut bench, "zadd").await;
    assert!(scripts <= 500, "500 commits made {scripts} scripts");
    assert!(zadds <= 500, "500 commits made {zadds} ZADD");

    meter.start(&mut bench).await;
    for number in 0..300 {
        let fresh = client.entity::<Spot>(format!("fresh-{number}"));
        fresh.process().timeout(TIMEOUT).await.expect("a read of a new entity");
    }
    let (scripts, _) = meter.stop(&mut bench, "hset").await;
    assert!(scripts <= 600, "300 first activations made {scripts} round trips");
    eprintln!("a first activation: {:.2} scripts", scripts as f64 / 300.0);

    // Each idempotent ask is one commit, like a plain one.
    meter.start(&mut bench).await;
    for _ in 0..200 {
        spot.mark().timeout(TIMEOUT).idempotent(Uuid::now_v7()).await.expect("an idempotent ask");
    }
    let (scripts, _) = meter.stop(&mut bench, "hset").await;
    assert!(scripts <= 200, "200 idempotent asks made {scripts} scripts");
}
