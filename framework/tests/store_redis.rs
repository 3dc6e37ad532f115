//! The store on Redis keeps the contract, on real servers, whatever happens to them.

mod redis_server;
mod store_common;

use std::cell::Cell;
use std::sync::Arc;

use grange::store::{RedisOptions, RedisStore};
use grange::testing::conformance;
use redis_server::RedisServer;

/// From anywhere: it waits on a thread of its own.
fn connect(options: RedisOptions) -> RedisStore {
    let connecting = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(RedisStore::connect(options))
    };
    std::thread::scope(|scope| scope.spawn(connecting).join().unwrap()).unwrap()
}

/// New stores on one server, each empty, since it has a cluster's name of its own.
fn stores(options: RedisOptions) -> impl Fn() -> Arc<RedisStore> {
    let number = Cell::new(0);
    move || {
        number.set(number.get() + 1);
        Arc::new(connect(options.clone().cluster(format!("test-{}", number.get()))))
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let server = RedisServer::start(&[]).await;
    conformance::all(stores(RedisOptions::new(server.url()))).await;
}

#[tokio::test]
async fn it_keeps_the_contract_on_a_redis_cluster() {
    let servers = redis_server::cluster().await;
    conformance::all(stores(RedisOptions::new(servers[1].url()))).await;
}
