//! ractor_cluster: actors, not virtual: the server spawns them beforehand, and each is mirrored into the client's node. They
//! keep no state, nothing places or moves them, and repeated messages are not recognised.
//!
//! `peer-ractor server PORT`, `peer-ractor client PORT`

use peer_kit::{argument, end_when_alone, rounds, say, work};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::{NodeServer, NodeServerMessage, RactorClusterMessage};

/// As many as there will be callers.
const ACTORS: usize = 1_000;

const GROUP: &str = "counters";

struct Counter;

#[derive(RactorClusterMessage)]
enum Ask {
    #[rpc]
    Add(u64, RpcReplyPort<u64>),
}

impl Actor for Counter {
    type Msg = Ask;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Ask>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _me: ActorRef<Ask>, ask: Ask, count: &mut u64) -> Result<(), ActorProcessingErr> {
        let Ask::Add(n, reply) = ask;
        *count += n;
        // Whoever asked may be gone.
        let _ = reply.send(*count);
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let port = argument(1).parse::<u16>().expect("a port");
    match argument(0).as_str() {
        "server" => serve(port).await,
        _ => ask(port).await,
    }
}

async fn node(port: u16, name: &str) -> ActorRef<NodeServerMessage> {
    let server = NodeServer::new(port, "cookie".into(), name.into(), "localhost".into(), None, None);
    Actor::spawn(None, server, ()).await.expect("a node").0
}

async fn serve(port: u16) {
    let _node = node(port, "server").await;
    let mut counters = Vec::new();
    for _ in 0..ACTORS {
        counters.push(Actor::spawn(None, Counter, ()).await.expect("an actor").0);
    }
    pg::join(GROUP.into(), counters.iter().map(ActorRef::get_cell).collect());
    end_when_alone();
    say("ready");
    std::future::pending::<()>().await;
}

async fn ask(port: u16) {
    let node = node(port + 1, "client").await;
    ractor_cluster::client_connect(&node, format!("127.0.0.1:{port}")).await.expect("connects");
    let counters = mirrored().await;
    let mut rounds = rounds();
    say("ready");
    while let Some(round) = rounds.recv().await {
        let caller = |number: u64| {
            let counter = counters[number as usize].clone();
            async move {
                for _ in 0..round.each {
                    ractor::call!(counter, Ask::Add, 1).expect("answers");
                }
            }
        };
        say(work(round, caller).await.as_nanos());
    }
}

/// The server's actors, when all of them have come.
async fn mirrored() -> Vec<ActorRef<Ask>> {
    for _ in 0..600 {
        let counters = pg::get_members(&GROUP.to_owned());
        if counters.len() == ACTORS {
            return counters.into_iter().map(ActorRef::from).collect();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not all of {ACTORS} actors were mirrored");
}
