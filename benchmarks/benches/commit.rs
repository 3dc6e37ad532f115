//! A hot durable entity on the embedded store, with fsync: turns that commit one by one beside turns that commit in
//! groups, in the same run. And turns over many entities, whose commits share an fsync.
//!
//! `cargo bench --bench commit`

#![allow(clippy::disallowed_methods)] // real time is what is measured

use std::time::{Duration, Instant};

use benchmarks::{interleaved, median, print_row};
use futures_util::stream::{FuturesUnordered, StreamExt};
use grange::prelude::*;

const ROUNDS: usize = 7;
const ALONE: u32 = 500;
const GROUPED: u32 = 100_000;
const IN_FLIGHT: usize = 900;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    ballast: [u64; 7],
}

#[entity]
impl Counter {
    async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }
}

/// So many turns, so many at a time, spread over so many entities.
async fn turns(client: &Client, entities: u64, turns: u32, in_flight: usize) -> Duration {
    let counters: Vec<_> = (0..entities).map(|n| client.entity::<Counter>(format!("{n}"))).collect();
    let started = Instant::now();
    let mut calls = FuturesUnordered::new();
    for turn in 0..turns as usize {
        calls.push(counters[turn % counters.len()].add(1));
        if calls.len() >= in_flight
            && let Some(answer) = calls.next().await
        {
            answer.expect("answers");
        }
    }
    while let Some(answer) = calls.next().await {
        answer.expect("answers");
    }
    started.elapsed()
}

fn main() {
    let directory = std::env::temp_dir().join(format!("grange-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let silo = Silo::builder().entity::<Counter>().embedded(&directory).start().await.expect("starts");
        let client = silo.client();
        let taken = interleaved::<4>(ROUNDS, |contender| round(&client, contender));
        println!(
            "turns of durable entities on the embedded store, each with its fsync before the answer ({ROUNDS} rounds):"
        );
        print_row("  one entity, one turn at a time", &taken[0], ALONE, &taken[0]);
        let scale = |taken: &[Duration], turns: u32| -> Vec<Duration> {
            taken.iter().map(|taken| taken.mul_f64(f64::from(ALONE) / f64::from(turns))).collect()
        };
        print_row("  one hot entity, 900 callers", &scale(&taken[1], GROUPED), ALONE, &taken[0]);
        print_row("  100 entities, 100 callers", &scale(&taken[2], GROUPED / 10), ALONE, &taken[0]);
        print_row("  1,000 entities, 900 callers", &scale(&taken[3], GROUPED / 10), ALONE, &taken[0]);
        let rate = |taken: &[Duration], turns: u32| f64::from(turns) / median(taken).as_secs_f64();
        println!(
            "turns/s: {:.0} one by one, {:.0} hot ({:.0}×), {:.0} over 100 entities, {:.0} over 1,000",
            rate(&taken[0], ALONE),
            rate(&taken[1], GROUPED),
            rate(&taken[1], GROUPED) / rate(&taken[0], ALONE),
            rate(&taken[2], GROUPED / 10),
            rate(&taken[3], GROUPED / 10),
        );
        silo.shutdown().await.expect("stops");
    });
    let _ = std::fs::remove_dir_all(directory);
}

fn round(client: &Client, contender: usize) -> Duration {
    let client = client.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(match contender {
            0 => turns(&client, 1, ALONE, 1),
            1 => turns(&client, 1, GROUPED, IN_FLIGHT),
            2 => turns(&client, 100, GROUPED / 10, 100),
            _ => turns(&client, 1_000, GROUPED / 10, IN_FLIGHT),
        })
    })
    .join()
    .expect("the round ends")
}
