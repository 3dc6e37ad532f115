//! Damaged files: an error that says so, or nothing lost; never a wrong value, and nothing made worse.

mod store_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grange::store::{Commit, Committed, Due, EmbeddedStore, Field, Partitions, Record, Store, StoreError};
use grange::wire::EntityId;
use store_common::{claim, commit, id, snapshot, try_claim};

type Expected = BTreeMap<EntityId, Record>;

#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit, at this many thousandths of the file.
    Flip(usize),
    /// 64 bytes of zeros there.
    Zeros(usize),
    /// The file ends there.
    Cut(usize),
    Gone,
}

const DAMAGES: [Damage; 16] = [
    Damage::Flip(0),
    Damage::Flip(2),
    Damage::Flip(100),
    Damage::Flip(333),
    Damage::Flip(500),
    Damage::Flip(700),
    Damage::Flip(950),
    Damage::Flip(999),
    Damage::Zeros(0),
    Damage::Zeros(300),
    Damage::Zeros(600),
    Damage::Cut(0),
    Damage::Cut(500),
    Damage::Cut(900),
    Damage::Cut(999),
    Damage::Gone,
];

#[tokio::test]
async fn in_a_directory_that_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, expected) = fill(&directory.path().join("store"), false).await;
    store.close().await.unwrap();
    damage_everything(directory.path(), &directory.path().join("store"), &expected).await;
}

#[tokio::test]
async fn in_tables_and_journals() {
    let directory = tempfile::tempdir().unwrap();
    let (store, expected) = fill(&directory.path().join("store"), true).await;
    store.close().await.unwrap();
    damage_everything(directory.path(), &directory.path().join("store"), &expected).await;
}

#[tokio::test]
async fn in_a_directory_whose_process_died() {
    let directory = tempfile::tempdir().unwrap();
    let (store, expected) = fill(&directory.path().join("open"), true).await;
    copy(&directory.path().join("open"), &directory.path().join("store"));
    store.close().await.unwrap();
    damage_everything(directory.path(), &directory.path().join("store"), &expected).await;
}

#[tokio::test]
async fn an_opening_that_died_half_way_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, expected) = fill(&path, true).await;
    store.close().await.unwrap();
    // With the original put aside and the twin not there yet, and with a twin that was made worse.
    for twin in [None, Some("lost")] {
        fs::rename(path.join("data"), path.join("before")).unwrap();
        fs::create_dir(path.join("old")).unwrap();
        if let Some(file) = twin {
            fs::create_dir(path.join("data")).unwrap();
            fs::write(path.join("data").join(file), "").unwrap();
        }
        let store = EmbeddedStore::open(&path).unwrap();
        assert!(!check(&store, &expected, "an opening that died").await);
        assert!(!path.join("before").exists() && !path.join("old").exists());
    }
}

#[tokio::test]
async fn a_damaged_mark_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = fill(directory.path(), false).await;
    store.close().await.unwrap();
    // One that would be a lower number, and so an unsuspecting witness.
    apply(&directory.path().join("mark"), Damage::Zeros(0));
    assert!(matches!(EmbeddedStore::open(directory.path()), Err(StoreError::Corrupt { .. })));
}

/// Fills a store with 40 records, and moves a part of them into tables.
async fn fill(path: &Path, tables: bool) -> (EmbeddedStore, Expected) {
    let store = EmbeddedStore::open(path).unwrap();
    let mut expected = Expected::new();
    for version in 0..3 {
        for number in 0..40 {
            let id = id(&number.to_string());
            let record = claim(&store, &id, 10).await;
            let puts = vec![(Field::Outbox(version), format!("message {version}").into())];
            let state = format!("{number} at {version}").repeat(10);
            let wake = Some(number);
            let done = store.commit(Commit { puts, wake, ..commit(&record, &id, &state) }).await.unwrap();
            assert_eq!(done, Committed::Done);
            expected.insert(id.clone(), claim(&store, &id, 10).await);
        }
        if tables && version < 2 {
            store.flush().await.unwrap();
        }
    }
    (store, expected)
}

async fn damage_everything(directory: &Path, healthy: &Path, expected: &Expected) {
    let files: Vec<PathBuf> =
        snapshot(healthy).into_iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(f, _)| f).collect();
    assert!(files.len() > 5);
    let (mut refused, mut noticed, mut harmless) = (0, 0, 0);
    for file in &files {
        for damage in DAMAGES {
            let damaged = directory.join("damaged");
            copy(healthy, &damaged);
            let file = file.strip_prefix(healthy).unwrap();
            apply(&damaged.join(file), damage);
            let before = snapshot(&damaged);
            let what = format!("{damage:?} of {}", file.display());
            match EmbeddedStore::open(&damaged) {
                Ok(store) if check(&store, expected, &what).await => noticed += 1,
                Ok(_) => harmless += 1,
                Err(StoreError::Corrupt { .. } | StoreError::Newer { .. } | StoreError::Failed { .. }) => {
                    unchanged(&before, &snapshot(&damaged), &what);
                    refused += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
            fs::remove_dir_all(&damaged).unwrap();
        }
    }
    assert!(refused > 0, "{refused} refused, {noticed} noticed later, {harmless} harmless");
}

/// Whether a record said that it is damaged. All others are what they were.
async fn check(store: &EmbeddedStore, expected: &Expected, what: &str) -> bool {
    let mut noticed = false;
    for (id, record) in expected {
        match try_claim(store, id, 10).await {
            Ok(read) => assert_eq!(Record { fence: record.fence, ..read }, *record, "{what}"),
            Err(StoreError::Corrupt { .. }) => noticed = true,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    match store.due(Partitions::All, u64::MAX, 100).await {
        Ok(mut due) => {
            due.sort_by(|a, b| a.id.cmp(&b.id));
            let all = expected.iter().map(|(id, record)| Due { wake: record.wake.unwrap(), id: id.clone() });
            assert_eq!(due, all.collect::<Vec<_>>(), "{what}");
        }
        Err(StoreError::Corrupt { .. }) => noticed = true,
        Err(error) => panic!("{what}: {error}"),
    }
    store.close().await.ok();
    noticed
}

fn unchanged(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    for (path, bytes) in before {
        assert_eq!(after.get(path).map(Vec::len), Some(bytes.len()), "{what} changed {}", path.display());
        assert!(after.get(path) == Some(bytes), "{what} changed {}", path.display());
    }
    // A lock that was gone may have been made anew.
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path) && !path.ends_with("lock")).collect();
    assert!(new.is_empty(), "{what} made {new:?}");
}

fn apply(file: &Path, damage: Damage) {
    let mut bytes = fs::read(file).unwrap();
    let at = |thousandths: usize| thousandths * bytes.len() / 1_000;
    match damage {
        Damage::Flip(there) => {
            let at = at(there);
            bytes[at] ^= 0x40;
        }
        Damage::Zeros(there) => {
            let (from, to) = (at(there), bytes.len().min(at(there) + 64));
            bytes[from..to].fill(0);
        }
        Damage::Cut(there) => bytes.truncate(at(there)),
        Damage::Gone => return fs::remove_file(file).unwrap(),
    }
    fs::write(file, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
