//! What an idle activation costs: resident memory and time, volatile and durable, and a million of them answering.
//!
//! `cargo bench --bench memory`; `ENTITIES=100000` for fewer.

#![allow(clippy::disallowed_methods)] // real time is what is measured

use std::time::Instant;

use benchmarks::resident;
use futures_util::stream::{FuturesUnordered, StreamExt};
use grange::prelude::*;

#[entity(volatile, key = u64)]
#[derive(Default)]
struct Light {
    count: u64,
}

#[entity]
impl Light {
    async fn touch(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

#[entity(key = u64)]
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    count: u64,
}

#[entity]
impl Kept {
    async fn peek(&self) -> u64 {
        self.count
    }
}

async fn touch_all(client: &Client, entities: u64, durable: bool) {
    let mut calls = FuturesUnordered::new();
    for n in 0..entities {
        if calls.len() >= 500 {
            calls.next().await;
        }
        let (light, kept) = (client.entity::<Light>(n), client.entity::<Kept>(n));
        calls.push(async move {
            if durable { kept.peek().await.expect("answers") } else { light.touch().await.expect("answers") }
        });
    }
    while calls.next().await.is_some() {}
}

fn main() {
    let entities = std::env::var("ENTITIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let silo = Silo::builder().entity::<Light>().entity::<Kept>().in_memory().start().await.expect("starts");
        let client = silo.client();
        for (name, durable) in [("volatile", false), ("durable, never stored", true)] {
            let before = resident();
            let started = Instant::now();
            touch_all(&client, entities, durable).await;
            let activated = started.elapsed();
            let each = (resident() - before) / entities;
            let started = Instant::now();
            touch_all(&client, entities, durable).await;
            let again = started.elapsed();
            println!(
                "{entities} {name}: {each} B each, activated {:.0}/s, answered again {:.0}/s, {} in memory",
                entities as f64 / activated.as_secs_f64(),
                entities as f64 / again.as_secs_f64(),
                silo.activations(),
            );
        }
    });
}
