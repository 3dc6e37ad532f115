use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3Default;

use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Mutex, MutexGuard, PoisonError};
use crate::store::Incarnation;
use crate::wire::EntityId;

/// Where entities were found that are not where placement says. Only hints: whoever is asked may answer "not I".
///
/// Bounded: what was noted or used least recently goes first, by halves.
#[derive(Debug)]
pub(crate) struct Hints {
    /// Whether there may be any: mostly there are none, and then nothing is looked up.
    any: AtomicBool,
    shards: [Mutex<Shard>; SHARDS],
    /// Of one half of one shard.
    half_max: usize,
}

const SHARDS: usize = 16;

/// When the young half is full it becomes the old one, and the old one is dropped.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<EntityId, Incarnation>,
    old: HashMap<EntityId, Incarnation>,
}

impl Hints {
    /// With room for about so many, and never more.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { any: AtomicBool::new(false), shards: Default::default(), half_max: (count_max / SHARDS / 2).max(1) }
    }

    /// The silo at which it was found last.
    pub(crate) fn get(&self, id: &EntityId) -> Option<Incarnation> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut shard = self.shard(id)?;
        if let Some(at) = shard.young.get(id) {
            return Some(*at);
        }
        let (id, at) = shard.old.remove_entry(id)?;
        shard.note(id, at, self.half_max);
        Some(at)
    }

    /// It was found there.
    pub(crate) fn note(&self, id: EntityId, at: Incarnation) {
        if let Some(mut shard) = self.shard(&id) {
            shard.old.remove(&id);
            shard.note(id, at, self.half_max);
            // Under the lock: whoever finds none left looks under all of them.
            self.any.store(true, Ordering::Release);
        }
    }

    /// It was not found where this said.
    pub(crate) fn forget(&self, id: &EntityId) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        if let Some(mut shard) = self.shard(id) {
            shard.young.remove(id);
            shard.old.remove(id);
        }
    }

    /// Forgets all that point to silos that don't live: to be called with each new table.
    pub(crate) fn retain(&self, lives: impl Fn(Incarnation) -> bool) {
        let mut shards: Vec<_> = self.shards.iter().map(lock).collect();
        for shard in &mut shards {
            shard.young.retain(|_, at| lives(*at));
            shard.old.retain(|_, at| lives(*at));
        }
        let any = shards.iter().any(|shard| !(shard.young.is_empty() && shard.old.is_empty()));
        self.any.store(any, Ordering::Release);
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(lock).map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    fn shard(&self, id: &EntityId) -> Option<MutexGuard<'_, Shard>> {
        let mut hasher = Xxh3Default::new();
        hasher.update(id.kind.as_bytes());
        hasher.update(&id.key);
        self.shards.get(hasher.digest() as usize % SHARDS).map(lock)
    }
}

impl Shard {
    fn note(&mut self, id: EntityId, at: Incarnation, half_max: usize) {
        if self.young.len() >= half_max && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, at);
    }
}

/// Maps of plain values stay usable whatever happened to who held them.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
