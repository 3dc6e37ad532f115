//! kameo: actors, not virtual: the server spawns them beforehand and registers each by name in a table of hashes that the nodes
//! share (Kademlia), where the client looks it up once. They keep no state, nothing places or moves them, and repeated messages
//! are not recognised.
//!
//! Its nodes are peers of libp2p: one connection, by address, and a stream of its own for each ask. It is encrypted, as in kameo's
//! documentation: over TCP, plain text was slower.
//!
//! `peer-kameo server tcp|quic PORT`, `peer-kameo client tcp|quic PORT`

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::StreamExt;
use kameo::prelude::*;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{Config, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, quic, tcp, yamux};
use peer_kit::{argument, end_when_alone, rounds, say, work};
use serde::{Deserialize, Serialize};

/// As many as there will be callers.
const ACTORS: usize = 1_000;

/// Streams at the same time. By default there are fewer than callers, and asks fail; one that has ended is counted for a while.
const STREAMS_MAX: u32 = 8 * ACTORS as u32;

/// Events between a connection and its swarm. By default there are so few that each often waits for the other.
const EVENTS_MAX: usize = 256;

#[derive(Actor, RemoteActor)]
struct Counter {
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct Add {
    n: u64,
}

#[remote_message]
impl Message<Add> for Counter {
    type Reply = u64;

    async fn handle(&mut self, add: Add, _context: &mut Context<Self, u64>) -> u64 {
        self.count += add.n;
        self.count
    }
}

#[derive(NetworkBehaviour)]
struct Node {
    kameo: remote::Behaviour,
}

#[tokio::main]
async fn main() {
    let address = address(&argument(1), &argument(2));
    match argument(0).as_str() {
        "server" => serve(address).await,
        _ => ask(address).await,
    }
}

async fn serve(address: Multiaddr) {
    let mut node = node();
    node.listen_on(address).expect("a port");
    run(node);
    for number in 0..ACTORS {
        let counter = Counter::spawn(Counter { count: 0 });
        counter.register(name(number)).await.expect("a name");
    }
    end_when_alone();
    say("ready");
    std::future::pending::<()>().await;
}

async fn ask(address: Multiaddr) {
    let mut node = node();
    node.dial(address).expect("an address");
    run(node);
    let mut counters = Vec::new();
    for number in 0..ACTORS {
        counters.push(look_up(&name(number)).await);
    }
    let mut rounds = rounds();
    say("ready");
    while let Some(round) = rounds.recv().await {
        let caller = |number: u64| {
            let counter = counters[number as usize].clone();
            async move {
                for _ in 0..round.each {
                    counter.ask(&Add { n: 1 }).await.expect("answers");
                }
            }
        };
        say(work(round, caller).await.as_nanos());
    }
}

fn address(transport: &str, port: &str) -> Multiaddr {
    let address = match transport {
        "tcp" => format!("/ip4/127.0.0.1/tcp/{port}"),
        "quic" => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        _ => panic!("tcp or quic"),
    };
    address.parse().expect("an address")
}

fn name(number: usize) -> String {
    format!("c{number}")
}

fn node() -> Swarm<Node> {
    let mut streams = yamux::Config::default();
    streams.set_max_num_streams(STREAMS_MAX as usize);
    let quic = |mut config: quic::Config| {
        config.max_concurrent_stream_limit = STREAMS_MAX;
        config
    };
    let messaging = remote::messaging::Config::default().with_max_concurrent_streams(STREAMS_MAX as usize);
    let node = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, || streams)
        .expect("a transport")
        .with_quic_config(quic)
        .with_behaviour(|key| Node { kameo: remote::Behaviour::new(key.public().to_peer_id(), messaging) })
        .expect("a behaviour")
        .with_swarm_config(tuned)
        .build();
    node.behaviour().kameo.init_global();
    node
}

fn tuned(swarm: Config) -> Config {
    swarm
        // Saves each ask a round trip, which would settle the one protocol that a stream can have.
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_notify_handler_buffer_size(NonZeroUsize::new(EVENTS_MAX).expect("more than none"))
        .with_per_connection_event_buffer_size(EVENTS_MAX)
        // Between its rounds are those of the others.
        .with_idle_connection_timeout(Duration::from_secs(3_600))
}

/// Has the node do its work, from now on.
fn run(mut node: Swarm<Node>) {
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } = node.select_next_some().await {
                // The table of names is asked only of peers whose address is known.
                node.add_peer_address(peer_id, endpoint.get_remote_address().clone());
            }
        }
    });
}

async fn look_up(name: &str) -> RemoteActorRef<Counter> {
    for _ in 0..100 {
        if let Ok(Some(counter)) = RemoteActorRef::lookup(name).await {
            return counter;
        }
        // The nodes find each other a moment after they start.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no actor has the name {name}");
}
