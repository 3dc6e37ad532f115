//! What turns did, whole or not at all.

use bytes::Bytes;
use uuid::Uuid;

use super::{claim, commit, done, every_field, id, trim};
use crate::store::{Commit, Committed, Fence, Field, Partitions, Record, Refusal, StateWrite, Store, Trim};
use crate::wire::EntityId;

/// What one commit wrote is what the next claim reads.
pub async fn a_commit_is_read_back_whole(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    let commit = Commit { puts: every_field(), wake: Some(99), ..commit(&record, &id("a"), b"state") };
    assert_eq!(store.commit(commit.clone()).await.unwrap(), Committed::Done);
    let again = claim(store, &id("a"), 1, 20).await;
    let fields = commit.puts.iter().cloned().collect();
    let expected =
        Record { fence: again.fence, version: 1, state: Some("state".into()), fields, wake: Some(99), ..record };
    assert_eq!(again, expected);
    let stats = store.stats();
    assert_eq!((stats.claims, stats.commits, stats.bytes), (2, 1, commit.bytes()));
    assert!(stats.syncs <= 1);
}

/// After a takeover, the earlier owner can't write.
pub async fn a_commit_under_an_old_claim_is_refused(store: &dyn Store) {
    let old = claim(store, &id("a"), 1, 10).await;
    store.release(id("a"), old.fence).await.unwrap();
    let unowned = store.commit(commit(&old, &id("a"), b"old")).await.unwrap();
    assert_eq!(unowned, Committed::Refused(Refusal::Superseded));
    let new = claim(store, &id("a"), 2, 11).await;
    done(store, commit(&new, &id("a"), b"new")).await;
    let refused = store.commit(commit(&old, &id("a"), b"old")).await.unwrap();
    assert_eq!(refused, Committed::Refused(Refusal::Superseded));
    assert_eq!(claim(store, &id("a"), 2, 12).await.state, Some("new".into()));
}

/// Owner, nonce and epoch: one that differs is enough to be refused.
pub async fn every_part_of_the_fence_counts(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    let fence = record.fence;
    let others = [
        Fence { owner: Uuid::from_u128(2), ..fence },
        Fence { nonce: fence.nonce ^ 1, ..fence },
        Fence { epoch: fence.epoch + 1, ..fence },
    ];
    for fence in others {
        let refused = store.commit(Commit { fence, ..commit(&record, &id("a"), b"s") }).await.unwrap();
        assert_eq!(refused, Committed::Refused(Refusal::Superseded), "{fence:?}");
        assert!(!store.verify(id("a"), fence).await.unwrap());
        assert!(!store.trim(Trim { fence, ..trim(&record, &id("a"), Vec::new(), None) }).await.unwrap());
        store.release(id("a"), fence).await.unwrap();
    }
    done(store, commit(&record, &id("a"), b"s")).await;
}

/// The same commit again is `Done` again, whatever it carries, and is applied once.
pub async fn a_repeated_commit_id_is_done_and_changes_nothing(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    let first = commit(&record, &id("a"), b"first");
    done(store, first.clone()).await;
    done(store, Commit { state: StateWrite::Put("other".into()), ..first }).await;
    let read = claim(store, &id("a"), 1, 11).await;
    assert_eq!((read.version, read.state), (1, Some("first".into())));
    assert_eq!(store.stats().commits, 1);
}

/// A commit that landed is `Done` when it is sent again, also after its claim is gone and another silo has taken over.
pub async fn a_lost_answer_is_not_a_refusal(store: &dyn Store) {
    let mut resent = Vec::new();
    for number in 0..20 {
        let id = id(&number.to_string());
        let record = claim(store, &id, 1, 10).await;
        let first = commit(&record, &id, b"first");
        resent.push((id, record.fence, first));
    }
    let mut answers = Vec::new();
    for (id, fence, first) in &resent {
        drop(store.commit(first.clone()));
        drop(store.release(id.clone(), *fence));
        answers.push(store.commit(first.clone()));
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Committed::Done);
    }
    for (id, _, first) in resent {
        assert_eq!(claim(store, &id, 2, 11).await.state, Some("first".into()));
        done(store, first).await;
    }
}

/// Refused means that nothing of it is there: not the state, not a field, not a wake time.
pub async fn a_refused_commit_changes_nothing(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    done(store, commit(&record, &id("a"), b"first")).await;
    let stale = Commit { puts: every_field(), wake: Some(1), ..commit(&record, &id("a"), b"second") };
    assert_eq!(store.commit(stale).await.unwrap(), Committed::Refused(Refusal::Stale));
    let read = claim(store, &id("a"), 1, 11).await;
    assert_eq!((read.version, read.state, read.fields.len(), read.wake), (1, Some("first".into()), 0, None));
    assert_eq!(store.due(Partitions::All, u64::MAX, 10).await.unwrap(), []);
}

/// Turns that ran in another life of the store are refused; the commit id and the fence are looked at first.
pub async fn another_generation_is_refused(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    let other = Commit { generation: record.generation ^ 1, version: 7, ..commit(&record, &id("a"), b"s") };
    assert_eq!(store.commit(other.clone()).await.unwrap(), Committed::Refused(Refusal::Generation));
    let fence = Fence { nonce: 0, ..record.fence };
    let superseded = store.commit(Commit { fence, ..other.clone() }).await.unwrap();
    assert_eq!(superseded, Committed::Refused(Refusal::Superseded));
    let good = commit(&record, &id("a"), b"s");
    done(store, good.clone()).await;
    done(store, Commit { generation: other.generation, fence, ..good }).await;
}

/// A field removed is gone, the others stay; removing what isn't there is no error.
pub async fn fields_are_put_and_removed(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    done(store, Commit { puts: every_field(), ..commit(&record, &id("a"), b"s") }).await;
    let removes = vec![Field::Outbox(1), Field::Outbox(77), Field::Reminder("r".into())];
    let puts = vec![(Field::Sequence, "new".into())];
    let keep = Commit {
        version: 1,
        state: StateWrite::Keep,
        puts,
        removes: removes.clone(),
        ..commit(&record, &id("a"), b"")
    };
    done(store, keep).await;
    let read = claim(store, &id("a"), 1, 11).await;
    let mut expected: std::collections::BTreeMap<Field, Bytes> = every_field().into_iter().collect();
    expected.insert(Field::Sequence, "new".into());
    expected.retain(|field, _| !removes.contains(field));
    for (field, _) in every_field() {
        assert_eq!(store.has(id("a"), field.clone()).await.unwrap(), expected.contains_key(&field), "{field:?}");
    }
    assert!(!store.has(id("never seen"), Field::Sequence).await.unwrap());
    assert_eq!((read.version, read.state, read.fields), (2, Some("s".into()), expected));
}

/// Deleting is of the state: what is needed to recognise repeats stays.
pub async fn a_deleted_state_leaves_the_fields(store: &dyn Store) {
    let record = claim(store, &id("a"), 1, 10).await;
    done(store, Commit { puts: every_field(), ..commit(&record, &id("a"), b"s") }).await;
    done(store, Commit { version: 1, state: StateWrite::Delete, ..commit(&record, &id("a"), b"") }).await;
    let read = claim(store, &id("a"), 1, 11).await;
    assert_eq!((read.version, read.state, read.fields.len()), (2, None, every_field().len()));
}

/// Commits of many entities, and several of one, need not wait for each other to be handed over.
pub async fn many_handed_over_together_all_land(store: &dyn Store) {
    let mut answers = Vec::new();
    for number in 0..50 {
        let id = EntityId::new("Many", vec![number]);
        let record = claim(store, &id, 1, 10).await;
        for version in 0..3 {
            let puts = vec![(Field::Outbox(version), "m".into())];
            let removes = if version == 2 { vec![Field::Outbox(0)] } else { Vec::new() };
            let state = [b's', version as u8];
            answers.push(store.commit(Commit {
                version,
                puts,
                removes,
                wake: Some(version),
                ..commit(&record, &id, &state)
            }));
        }
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Committed::Done);
    }
    for number in 0..50 {
        let record = claim(store, &EntityId::new("Many", vec![number]), 1, 11).await;
        assert_eq!((record.version, record.state, record.wake), (3, Some(Bytes::from_static(b"s\x02")), Some(2)));
        assert_eq!(record.fields.into_keys().collect::<Vec<_>>(), [Field::Outbox(1), Field::Outbox(2)]);
    }
    assert_eq!(store.due(Partitions::All, u64::MAX, 1_000).await.unwrap().len(), 50);
    assert!(store.stats().syncs <= 150);
}
