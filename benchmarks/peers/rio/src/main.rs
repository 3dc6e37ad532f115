//! rio-rs: virtual actors ("service objects") whose placement is kept in memory, or in Redis.
//!
//! Each caller has a client of its own, and so a connection: one that several tasks share holds a lock of its map of
//! connections while it waits. It has no recognition of repeated messages, and no stored state here, as grange's volatile
//! entities. Its placement is read, then written, so that an id may have two activations.
//!
//! `peer-rio server memory|redis PORT [REDIS]`, `peer-rio client memory|redis PORT [REDIS]`

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::Pool;
use peer_kit::{argument, end_when_alone, rounds, say, work};
use rio_rs::client::Client;
use rio_rs::cluster::storage::local::LocalStorage;
use rio_rs::cluster::storage::redis::RedisMembershipStorage;
use rio_rs::cluster::storage::{Member, MembershipStorage};
use rio_rs::object_placement::ObjectPlacement;
use rio_rs::object_placement::local::LocalObjectPlacement;
use rio_rs::object_placement::redis::RedisObjectPlacement;
use rio_rs::prelude::*;
use rio_rs::protocol::NoopError;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::timeout;

#[derive(TypeName, Message, Deserialize, Serialize)]
struct Add {
    n: u64,
}

#[derive(TypeName, WithId, Default)]
struct Counter {
    id: String,
    count: u64,
}

impl ServiceObjectStateLoad for Counter {}
impl ServiceObject for Counter {}

#[async_trait]
impl Handler<Add> for Counter {
    type Returns = u64;
    type Error = NoopError;
    async fn handle(&mut self, add: Add, _data: Arc<AppData>) -> Result<u64, NoopError> {
        self.count += add.n;
        Ok(self.count)
    }
}

#[tokio::main]
async fn main() {
    let (role, store, port) = (argument(0), argument(1), argument(2));
    match (role.as_str(), store.as_str()) {
        ("server", "memory") => serve(LocalStorage::default(), LocalObjectPlacement::default(), &port).await,
        ("server", "redis") => {
            let placement = RedisObjectPlacement::new(pool().await, Some("rio-placement:".into()));
            serve(members_in_redis().await, placement, &port).await;
        }
        ("client", "memory") => ask(members_in_memory(&port).await).await,
        ("client", "redis") => ask(members_in_redis().await).await,
        _ => panic!("server or client, memory or redis"),
    }
}

async fn serve<S: MembershipStorage + 'static, P: ObjectPlacement + 'static>(members: S, placement: P, port: &str) {
    let mut registry = Registry::new();
    registry.add_type::<Counter>();
    registry.add_handler::<Counter, LifecycleMessage>();
    registry.add_handler::<Counter, Add>();
    let mut server = Server::builder()
        // It makes itself known by an address of the machine, whatever it listens on.
        .address(format!("0.0.0.0:{port}"))
        .registry(registry)
        .app_data(AppData::new())
        .cluster_provider(PeerToPeerClusterProvider::builder().members_storage(members).build())
        .object_placement_provider(placement)
        .build();
    server.prepare().await.expect("its tables");
    let listener = server.bind().await.expect("a port");
    end_when_alone();
    say("ready");
    server.run(listener).await.expect("it serves");
}

async fn ask<S: MembershipStorage + 'static>(members: S) {
    let client = || ClientBuilder::new().members_storage(members.clone()).build().expect("a client");
    // The server enters itself into the table of members a moment after it listens, and a client that has seen an empty one
    // goes on waiting: so each try has a client of its own.
    for tries in 0.. {
        assert!(tries < 20, "no answer");
        if let Ok(Ok(_)) = timeout(Duration::from_secs(1), add(&mut client(), "first")).await {
            break;
        }
    }
    // Connections are kept from round to round.
    let mut clients: Vec<Arc<Mutex<Client<S>>>> = Vec::new();
    let mut rounds = rounds();
    say("ready");
    while let Some(round) = rounds.recv().await {
        while (clients.len() as u64) < round.callers {
            clients.push(Arc::new(Mutex::new(client())));
        }
        let caller = |number: u64| {
            let client = clients[number as usize].clone();
            async move {
                let (mut client, id) = (client.lock().await, format!("c{number}"));
                for _ in 0..round.each {
                    add(&mut client, &id).await.expect("answers");
                }
            }
        };
        say(work(round, caller).await.as_nanos());
    }
}

async fn add<S: MembershipStorage + 'static>(client: &mut Client<S>, id: &str) -> Result<u64, String> {
    let answer = client.send::<u64, NoopError>("Counter", id, &Add { n: 1 }).await;
    answer.map_err(|error| format!("{error:?}"))
}

async fn members_in_memory(port: &str) -> LocalStorage {
    let members = LocalStorage::default();
    let mut server = Member::new("127.0.0.1".into(), port.to_owned());
    server.set_active(true);
    members.push(server).await.expect("a member");
    members
}

async fn members_in_redis() -> RedisMembershipStorage {
    RedisMembershipStorage::new(pool().await, Some("rio-members:".into()))
}

async fn pool() -> Pool<RedisConnectionManager> {
    let manager = RedisMembershipStorage::connection_manager(argument(3)).expect("a URL of Redis");
    RedisMembershipStorage::pool().max_size(10).build(manager).await.expect("Redis answers")
}
