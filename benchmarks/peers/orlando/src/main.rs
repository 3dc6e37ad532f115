//! orlando: virtual actors ("grains") placed by a ring of hashes, over gRPC. Whoever calls has to join the ring and then owns
//! grains, too; here only those of the other process are asked. It keeps no state here, and repeats what timed out without
//! recognising it.
//!
//! `peer-orlando server PORT`, `peer-orlando client PORT`

use std::sync::Arc;

use async_trait::async_trait;
use orlando_cluster::{ClusterSilo, HashRing, NetworkMessage, SiloAddress};
use orlando_core::{Grain, GrainContext, GrainHandler, Message};
use peer_kit::{argument, end_when_alone, rounds, say, work};
use serde::{Deserialize, Serialize};

const HOST: &str = "127.0.0.1";

struct Counter;

impl Grain for Counter {
    type State = u64;
    fn grain_type_name() -> &'static str {
        "Counter"
    }
}

#[derive(Serialize, Deserialize)]
struct Add {
    n: u64,
}

impl Message for Add {
    type Result = u64;
}

impl NetworkMessage for Add {
    fn message_type_name() -> &'static str {
        "Add"
    }
}

#[async_trait]
impl GrainHandler<Add> for Counter {
    async fn handle(count: &mut u64, add: Add, _context: &GrainContext) -> u64 {
        *count += add.n;
        *count
    }
}

#[tokio::main]
async fn main() {
    let port = argument(1).parse::<u16>().expect("a port");
    match argument(0).as_str() {
        "server" => {
            end_when_alone();
            say("ready");
            silo(port, "server").serve().await.expect("it serves");
        }
        _ => ask(port).await,
    }
}

fn silo(port: u16, id: &str) -> Arc<ClusterSilo> {
    Arc::new(ClusterSilo::builder().host(HOST).port(port).silo_id(id).register::<Counter, Add>().build())
}

async fn ask(port: u16) {
    let own = silo(port + 1, "client");
    let serving = own.clone();
    tokio::spawn(async move { serving.serve().await.expect("it serves") });
    let mut tries = 0;
    while let Err(error) = own.join_cluster(&format!("{HOST}:{port}")).await {
        tries += 1;
        assert!(tries < 100, "it does not join: {error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // The ring says whose a grain is; it settles a moment after a silo has joined.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let keys = keys_of_the_server(port);
    let mut rounds = rounds();
    say("ready");
    while let Some(round) = rounds.recv().await {
        let caller = |number: u64| {
            let grain = own.get_ref::<Counter>(keys[number as usize].clone());
            async move {
                for _ in 0..round.each {
                    grain.ask(Add { n: 1 }).await.expect("answers");
                }
            }
        };
        say(work(round, caller).await.as_nanos());
    }
}

/// A thousand keys of grains that the other process owns.
fn keys_of_the_server(port: u16) -> Vec<String> {
    let mut ring = HashRing::new(150);
    for (port, id) in [(port, "server"), (port + 1, "client")] {
        ring.add(SiloAddress { host: HOST.into(), port, silo_id: id.into() });
    }
    let is_the_servers =
        |key: &String| ring.get(&format!("Counter/{key}")).is_some_and(|silo| silo.silo_id == "server");
    (0_u64..).map(|number| format!("c{number}")).filter(is_the_servers).take(1_000).collect()
}
