//! Who owns an entity, and what it reads.

use uuid::Uuid;

use super::{claim, commit, done, id, trim, wish};
use crate::store::{Claim, Claimed, Commit, Committed, Fence, Field, Partitions, Refusal, Store, StoreError};
use crate::wire::EntityId;

/// A record never committed has version 0 and nothing in it.
pub async fn an_entity_never_seen_is_empty(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    assert_eq!((record.version, &record.state, record.fields.len(), record.wake), (0, &None, 0, None));
    assert_eq!(record.fence, Fence { owner: Uuid::from_u128(1), ..record.fence });
    assert!(record.fence.epoch >= 10, "{:?}", record.fence);
}

/// Claiming and releasing what was never committed writes nothing, and names nothing in an index.
pub async fn reading_leaves_nothing_behind(store: &dyn Store) {
    for key in ["a", "b", "c"] {
        let record = claim(store, &id(key), 1, 10).await;
        store.release(id(key), record.fence).await.unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.claims, stats.commits, stats.syncs, stats.bytes), (3, 0, 0, 0));
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), []);
    assert_eq!(claim(store, &id("a"), 2, 20).await.version, 0);
}

/// A second owner is told who the first is, until that one releases; releasing an old claim does nothing.
pub async fn a_claim_names_the_owner_to_others(store: &dyn Store) {
    let old = claim(store, &id("a"), 1, 10).await;
    let record = claim(store, &id("a"), 1, 11).await;
    store.release(id("a"), old.fence).await.unwrap();
    match store.claim(wish(&id("a"), 2, 12)).await.unwrap() {
        Claimed::Taken { owner } => assert_eq!(owner, Uuid::from_u128(1)),
        Claimed::Granted(record) => panic!("granted to two owners: {record:?}"),
    }
    assert!(store.verify(id("a"), record.fence).await.unwrap());
    store.release(id("a"), record.fence).await.unwrap();
    assert!(!store.verify(id("a"), record.fence).await.unwrap());
    assert!(store.verify(id("a"), claim(store, &id("a"), 2, 13).await.fence).await.unwrap());
}

/// An owner that the asker knows to be dead is taken over, and can't write any more.
pub async fn a_dead_owner_is_taken_over(store: &dyn Store) {
    let old = claim(store, &id("a"), 1, 10).await;
    done(store, commit(&old, &id("a"), b"old")).await;
    let over = Claim { over: Some(Uuid::from_u128(1)), ..wish(&id("a"), 2, 11) };
    let Claimed::Granted(new) = store.claim(over).await.unwrap() else { panic!("the dead one still owns it") };
    assert_eq!((new.version, &new.state), (1, &Some("old".into())));
    assert!(new.fence.epoch > old.fence.epoch, "{:?} after {:?}", new.fence, old.fence);
    let refused = store.commit(Commit { version: 1, ..commit(&old, &id("a"), b"zombie") }).await.unwrap();
    assert_eq!(refused, Committed::Refused(Refusal::Superseded));
    done(store, commit(&new, &id("a"), b"new")).await;
}

/// Whoever owns it now is not the one that is known to be dead: it is taken.
pub async fn another_owner_is_not_taken_over(store: &dyn Store) {
    let held = claim(store, &id("a"), 1, 10).await;
    let over = Claim { over: Some(Uuid::from_u128(3)), ..wish(&id("a"), 2, 11) };
    match store.claim(over).await.unwrap() {
        Claimed::Taken { owner } => assert_eq!(owner, Uuid::from_u128(1)),
        Claimed::Granted(record) => panic!("granted to two owners: {record:?}"),
    }
    assert!(store.verify(id("a"), held.fence).await.unwrap());
    done(store, commit(&held, &id("a"), b"s")).await;
}

/// What the store takes for the life of the data is what records say.
pub async fn the_generation_is_that_of_the_records(store: &dyn Store) {
    for key in ["a", "b", "c"] {
        assert_eq!(claim(store, &id(key), 1, 10).await.generation, store.generation(&id(key)));
    }
    assert_eq!(store.lives(), 0);
}

/// An owner whose answer was lost claims again with a fresh nonce; what it held before is worth nothing.
pub async fn claiming_again_supersedes_the_older_claim(store: &dyn Store) {
    let older = claim(store, &id("a"), 1, 10).await;
    let newer = claim(store, &id("a"), 1, 10).await;
    assert!(newer.fence.epoch > older.fence.epoch, "{:?} after {:?}", newer.fence, older.fence);
    assert!(!store.verify(id("a"), older.fence).await.unwrap());
    let refused = store.commit(commit(&older, &id("a"), b"old")).await.unwrap();
    assert_eq!(refused, Committed::Refused(Refusal::Superseded));
    assert_eq!(store.commit(commit(&newer, &id("a"), b"new")).await.unwrap(), Committed::Done);
}

/// `max(epoch + 1, now)`, by the asker's clock or the store's own: also if the clock stands still or goes back.
pub async fn epochs_rise_with_every_claim(store: &dyn Store) {
    let first = claim(store, &id("a"), 1, 100).await;
    done(store, commit(&first, &id("a"), b"s")).await;
    let second = claim(store, &id("a"), 1, 50).await;
    store.release(id("a"), second.fence).await.unwrap();
    let third = claim(store, &id("a"), 2, 101).await;
    let fourth = claim(store, &id("a"), 2, 500).await;
    let epochs = [first, second, third, fourth].map(|record| record.fence.epoch);
    assert!(epochs.is_sorted_by(|one, next| one < next) && epochs[0] >= 100 && epochs[3] >= 500, "{epochs:?}");
}

/// A key that begins like another, an empty kind, an empty key: each is an entity of its own.
pub async fn ids_that_look_alike_are_apart(store: &dyn Store) {
    let ids = [("A", "b"), ("A", "bc"), ("Ab", "c"), ("Ab", ""), ("", "A"), ("", ""), ("A\0", "b"), ("A", "\0b")];
    let ids = ids.map(|(kind, key)| EntityId::new(kind, key));
    for id in &ids {
        let record = claim(store, id, 1, 10).await;
        let puts = vec![(Field::Activity(id.clone()), "f".into())];
        done(store, Commit { puts, ..commit(&record, id, format!("{id:?}").as_bytes()) }).await;
    }
    for id in &ids {
        let record = claim(store, id, 1, 11).await;
        assert_eq!((record.state, record.fields.len()), (Some(format!("{id:?}").into()), 1));
    }
}

/// Nothing is answered after the end.
pub async fn a_closed_store_says_so(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    store.close().await.unwrap();
    assert!(matches!(store.claim(wish(&id("a"), 1, 11)).await, Err(StoreError::Closed)));
    assert!(matches!(store.commit(commit(&record, &id("a"), b"s")).await, Err(StoreError::Closed)));
    assert!(matches!(store.trim(trim(&record, &id("a"), Vec::new(), None)).await, Err(StoreError::Closed)));
    assert!(matches!(store.verify(id("a"), record.fence).await, Err(StoreError::Closed)));
    assert!(matches!(store.release(id("a"), record.fence).await, Err(StoreError::Closed)));
    assert!(matches!(store.due(Partitions::All, 1, 1).await, Err(StoreError::Closed)));
    assert!(matches!(store.letters(1).await, Err(StoreError::Closed)));
    assert!(matches!(store.close().await, Err(StoreError::Closed)));
}
