//! The contract of a store, as checks that every store has to pass.
//!
//! [`all`] runs them, each on a store of its own, and [`members::all`] those of the table of members. A check panics
//! where the store breaks the contract.

pub mod claims;
pub mod commits;
pub mod indexes;
pub mod members;

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::store::{Claim, Claimed, Commit, Committed, Field, Record, StateWrite, Store, Trim};
use crate::wire::EntityId;

/// Runs every check, each on a new and empty store.
pub async fn all<S: Store>(make: impl Fn() -> Arc<S>) {
    claims::an_entity_never_seen_is_empty(&*make()).await;
    claims::reading_leaves_nothing_behind(&*make()).await;
    commits::a_commit_is_read_back_whole(&*make()).await;
    claims::a_claim_names_the_owner_to_others(&*make()).await;
    claims::a_dead_owner_is_taken_over(&*make()).await;
    claims::another_owner_is_not_taken_over(&*make()).await;
    claims::the_generation_is_that_of_the_records(&*make()).await;
    claims::claiming_again_supersedes_the_older_claim(&*make()).await;
    claims::epochs_rise_with_every_claim(&*make()).await;
    commits::a_commit_under_an_old_claim_is_refused(&*make()).await;
    commits::every_part_of_the_fence_counts(&*make()).await;
    commits::a_repeated_commit_id_is_done_and_changes_nothing(&*make()).await;
    commits::a_lost_answer_is_not_a_refusal(&*make()).await;
    commits::a_refused_commit_changes_nothing(&*make()).await;
    commits::another_generation_is_refused(&*make()).await;
    commits::fields_are_put_and_removed(&*make()).await;
    commits::a_deleted_state_leaves_the_fields(&*make()).await;
    indexes::a_trim_needs_the_claim_and_keeps_the_version(&*make()).await;
    indexes::a_trim_that_a_commit_overtook_is_refused(&*make()).await;
    indexes::a_trim_of_nothing_leaves_nothing(&*make()).await;
    indexes::the_agenda_names_who_asked_to_be_woken(&*make()).await;
    indexes::the_agenda_names_who_was_thought_to_be_named(&*make()).await;
    indexes::the_agenda_is_read_by_partition(&*make()).await;
    indexes::entries_that_are_over_hide_nobody(&*make()).await;
    indexes::letters_are_listed_until_removed(&*make()).await;
    claims::ids_that_look_alike_are_apart(&*make()).await;
    commits::many_handed_over_together_all_land(&*make()).await;
    claims::a_closed_store_says_so(&*make()).await;
}

fn id(key: &str) -> EntityId {
    EntityId::new("Entity", key.to_owned())
}

fn wish(id: &EntityId, owner: u128, now: u64) -> Claim {
    Claim { id: id.clone(), owner: Uuid::from_u128(owner), nonce: Uuid::new_v4().as_u128(), now, over: None }
}

async fn claim(store: &dyn Store, id: &EntityId, owner: u128, now: u64) -> Record {
    match store.claim(wish(id, owner, now)).await.unwrap() {
        Claimed::Granted(record) => *record,
        Claimed::Taken { owner } => panic!("{id} is taken by {owner}"),
    }
}

/// A commit of a state under the claim that `record` came with.
fn commit(record: &Record, id: &EntityId, state: &[u8]) -> Commit {
    Commit {
        id: id.clone(),
        fence: record.fence,
        generation: record.generation,
        commit: Uuid::new_v4().as_u128(),
        version: record.version,
        state: StateWrite::Put(Bytes::copy_from_slice(state)),
        puts: Vec::new(),
        removes: Vec::new(),
        wake: None,
        named: false,
    }
}

async fn done(store: &dyn Store, commit: Commit) {
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
}

fn trim(record: &Record, id: &EntityId, removes: Vec<Field>, wake: Option<u64>) -> Trim {
    Trim { id: id.clone(), fence: record.fence, generation: record.generation, version: record.version, removes, wake }
}

fn every_field() -> Vec<(Field, Bytes)> {
    let fields = [
        Field::Sequence,
        Field::Outbox(1),
        Field::Outbox(u64::MAX),
        Field::Activity(id("partner")),
        Field::Attempts(id("partner")),
        Field::Key(Uuid::from_u128(7)),
        Field::KeyFloor,
        Field::Reminder("r".into()),
        Field::Reminder(String::new()),
        Field::Letter(3),
    ];
    let numbered = fields.into_iter().enumerate();
    numbered.map(|(number, field)| (field, Bytes::from(vec![number as u8; number]))).collect()
}
