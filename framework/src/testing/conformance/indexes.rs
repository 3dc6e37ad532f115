//! What goes without a turn, and what finds entities without naming them.

use std::sync::Arc;

use bytes::Bytes;

use super::{claim, commit, done, every_field, id, trim};
use crate::store::{Commit, Due, Field, Partitions, Store, Trim};
use crate::wire::PARTITIONS_DEFAULT;

/// A trim removes fields and sets the wake time, if the claim is still the current one; the version stays.
pub async fn a_trim_needs_the_claim_and_keeps_the_version(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    done(store, Commit { puts: every_field(), wake: Some(5), ..commit(&record, &id("a"), b"s") }).await;
    let trim = Trim { version: 1, ..trim(&record, &id("a"), vec![Field::Outbox(1)], None) };
    assert!(store.trim(trim.clone()).await.unwrap());
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), []);
    assert!(!store.trim(Trim { generation: record.generation ^ 1, ..trim.clone() }).await.unwrap());
    let read = claim(store, &id("a"), 1, 11).await;
    assert_eq!((read.version, read.fields.len(), read.wake), (1, every_field().len() - 1, None));
    assert!(!store.trim(Trim { removes: vec![Field::Sequence], wake: Some(1), ..trim }).await.unwrap());
    assert_eq!(claim(store, &id("a"), 1, 12).await.fields.len(), every_field().len() - 1);
    assert_eq!(store.stats().trims, 1);
}

/// A trim that arrives after a later commit may remove what that wrote, or its wake time: it is refused.
pub async fn a_trim_that_a_commit_overtook_is_refused(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    let puts = || vec![(Field::Activity(id("b")), Bytes::from_static(b"1"))];
    done(store, Commit { puts: puts(), ..commit(&record, &id("a"), b"s") }).await;
    let late = Trim { version: 1, ..trim(&record, &id("a"), vec![Field::Activity(id("b"))], None) };
    done(store, Commit { version: 1, puts: puts(), wake: Some(5), ..commit(&record, &id("a"), b"t") }).await;
    assert!(!store.trim(late.clone()).await.unwrap());
    assert!(!store.trim(Trim { version: 3, ..late.clone() }).await.unwrap());
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), [Due { wake: 5, id: id("a") }]);
    assert!(store.has(id("a"), Field::Activity(id("b"))).await.unwrap());
    assert!(store.trim(Trim { version: 2, ..late }).await.unwrap());
}

/// A trim of an entity that was never committed has nothing to remove, and makes no record.
pub async fn a_trim_of_nothing_leaves_nothing(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    assert!(store.trim(trim(&record, &id("a"), vec![Field::Sequence], Some(3))).await.unwrap());
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), []);
    assert_eq!(claim(store, &id("a"), 1, 11).await.wake, None);
}

/// The earliest first, each at its last wake time, up to the time and the number that were asked for.
pub async fn the_agenda_names_who_asked_to_be_woken(store: &dyn Store) {
    for (key, wake) in [("a", Some(30)), ("b", Some(10)), ("c", None), ("d", Some(u64::MAX)), ("e", Some(20))] {
        let record = claim(store, &id(key), 1, 10).await;
        done(store, Commit { wake: Some(1), ..commit(&record, &id(key), b"s") }).await;
        done(store, Commit { version: 1, wake, ..commit(&record, &id(key), b"s") }).await;
        store.release(id(key), record.fence).await.unwrap();
    }
    let due = |wake, key| Due { wake, id: id(key) };
    assert_eq!(store.due(Partitions::All, 9, 10).await.unwrap(), []);
    assert_eq!(store.due(Partitions::All, 20, 10).await.unwrap(), [due(10, "b"), due(20, "e")]);
    assert_eq!(store.due(Partitions::All, u64::MAX, 2).await.unwrap(), [due(10, "b"), due(20, "e")]);
    let all = [due(10, "b"), due(20, "e"), due(30, "a"), due(u64::MAX, "d")];
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), all);
}

/// Also where a commit says that it was named before: it may not have been, or for a later time.
pub async fn the_agenda_names_who_was_thought_to_be_named(store: &dyn Store) {
    for (key, before) in [("a", None), ("b", Some(5)), ("c", Some(20)), ("d", Some(10))] {
        let record = claim(store, &id(key), 1, 10).await;
        done(store, Commit { wake: before, ..commit(&record, &id(key), b"s") }).await;
        done(store, Commit { version: 1, wake: Some(10), named: true, ..commit(&record, &id(key), b"s") }).await;
        // The entry may have been put right or removed in between.
        assert_eq!(store.due(Partitions::All, 9, 10).await.unwrap(), []);
        done(store, Commit { version: 2, wake: Some(10), named: true, ..commit(&record, &id(key), b"s") }).await;
        assert_eq!(store.due(Partitions::All, 10, 10).await.unwrap(), [Due { wake: 10, id: id(key) }]);
        done(store, Commit { version: 3, ..commit(&record, &id(key), b"s") }).await;
        store.release(id(key), record.fence).await.unwrap();
    }
}

/// Whoever watches some partitions is told of theirs, and of no less. A store of one process may tell of all.
pub async fn the_agenda_is_read_by_partition(store: &dyn Store) {
    let partitions = store.members().map_or(PARTITIONS_DEFAULT, |members| members.partitions());
    let mut expected = Vec::new();
    for number in 0..20_u64 {
        let id = id(&number.to_string());
        let record = claim(store, &id, 1, 10).await;
        done(store, Commit { wake: Some(number), ..commit(&record, &id, b"s") }).await;
        if id.partition(partitions).is_multiple_of(2) {
            expected.push(Due { wake: number, id });
        }
    }
    let even: Arc<[u16]> = (0..partitions).filter(|partition| partition.is_multiple_of(2)).collect();
    let mut due = store.due(Partitions::These(even), u64::MAX, 100).await.unwrap();
    if store.members().is_none() {
        due.retain(|due| due.id.partition(partitions).is_multiple_of(2));
    }
    assert_eq!(due, expected);
    let none = Partitions::These(Arc::new([]));
    assert!(store.members().is_none() || store.due(none, u64::MAX, 100).await.unwrap().is_empty());
}

/// An index that held many that were not due any more names those that are.
pub async fn entries_that_are_over_hide_nobody(store: &dyn Store) {
    for number in 0..30_u64 {
        let id = id(&number.to_string());
        let record = claim(store, &id, 1, 10).await;
        done(store, Commit { wake: Some(number), ..commit(&record, &id, b"s") }).await;
        if number < 29 {
            let later = number.is_multiple_of(2).then_some(1_000);
            let trim = Trim { version: 1, ..trim(&record, &id, Vec::new(), later) };
            assert!(store.trim(trim).await.unwrap());
        }
    }
    let last = Due { wake: 29, id: id("29") };
    assert_eq!(store.due(Partitions::All, 100, 1).await.unwrap(), [last]);
    assert_eq!(store.due(Partitions::All, 2_000, 100).await.unwrap().len(), 16);
}

/// Dead letters are found without naming their entity.
pub async fn letters_are_listed_until_removed(store: &dyn Store) {
    for key in ["a", "b"] {
        let record = claim(store, &id(key), 1, 10).await;
        let puts = vec![(Field::Letter(1), "one".into()), (Field::Letter(2), "two".into())];
        done(store, Commit { puts, ..commit(&record, &id(key), b"s") }).await;
        let removes = vec![Field::Letter(1)];
        done(store, Commit { version: 1, removes, ..commit(&record, &id(key), b"s") }).await;
        if key == "b" {
            let trim = Trim { version: 2, ..trim(&record, &id(key), vec![Field::Letter(2)], None) };
            assert!(store.trim(trim).await.unwrap());
        }
    }
    assert_eq!(store.letters(10).await.unwrap(), [(id("a"), 2, "two".into())]);
    assert_eq!(store.letters(1).await.unwrap(), [(id("a"), 2, "two".into())]);
    assert_eq!(store.letters(0).await.unwrap(), []);
}
