//! Every store keeps the contract.

use std::sync::Arc;

use bytes::Bytes;
use grange::store::{Claim, Claimed, EmbeddedStore, MemoryStore, Store};
use grange::testing::conformance;
use grange::wire::EntityId;
use uuid::Uuid;

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    conformance::all(|| Arc::new(MemoryStore::new(1))).await;
}

#[tokio::test]
async fn the_embedded_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance::all(|| {
        number.set(number.get() + 1);
        Arc::new(EmbeddedStore::open(directory.path().join(number.get().to_string())).unwrap())
    })
    .await;
}

#[tokio::test]
async fn the_entities_of_a_dead_incarnation_can_be_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new(1);
    let embedded = EmbeddedStore::open(directory.path()).unwrap();
    let dead = Uuid::from_u128(1);
    takeover(&memory, || memory.forget(dead)).await;
    takeover(&embedded, || embedded.forget(dead)).await;
}

async fn takeover(store: &dyn Store, forget_the_first: impl Fn()) {
    let claim = |owner, nonce| {
        let id = EntityId::new("Entity", Bytes::from_static(b"a"));
        store.claim(Claim { id, owner: Uuid::from_u128(owner), nonce, now: 1, over: None })
    };
    assert!(matches!(claim(1, 1).await.unwrap(), Claimed::Granted(_)));
    assert!(matches!(claim(2, 2).await.unwrap(), Claimed::Taken { .. }));
    forget_the_first();
    assert!(matches!(claim(2, 3).await.unwrap(), Claimed::Granted(_)));
}
