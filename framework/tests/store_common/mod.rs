//! What the tests of stores have in common.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grange::store::{Claim, Claimed, Commit, Record, StateWrite, Store, StoreError};
use grange::wire::EntityId;
use uuid::Uuid;

pub fn id(key: &str) -> EntityId {
    EntityId::new("Entity", key.to_owned())
}

pub async fn try_claim(store: &dyn Store, id: &EntityId, now: u64) -> Result<Record, StoreError> {
    let nonce = Uuid::new_v4().as_u128();
    match store.claim(Claim { id: id.clone(), owner: Uuid::from_u128(1), nonce, now, over: None }).await? {
        Claimed::Granted(record) => Ok(*record),
        Claimed::Taken { owner } => panic!("{id} is taken by {owner}"),
    }
}

pub async fn claim(store: &dyn Store, id: &EntityId, now: u64) -> Record {
    try_claim(store, id, now).await.unwrap()
}

pub fn commit(record: &Record, id: &EntityId, state: &str) -> Commit {
    Commit {
        id: id.clone(),
        fence: record.fence,
        generation: record.generation,
        commit: Uuid::new_v4().as_u128(),
        version: record.version,
        state: StateWrite::Put(state.to_owned().into()),
        puts: Vec::new(),
        removes: Vec::new(),
        wake: None,
        named: false,
    }
}

/// Every file below a directory with its content.
pub fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}
