#[cfg(feature = "testing")]
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "testing")]
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "testing")]
pub use self::snapshot::Snapshot;
use crate::mutant::Mutant;
use crate::store::memory_members::MemoryMembers;
#[cfg(feature = "testing")]
use crate::store::memory_past::Past;
use crate::store::{
    Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Members, Partitions, Pending, Record, Refusal,
    StateWrite, Stats, Store, StoreError, Trim,
};
use crate::wire::{EntityId, Partition};

/// The contract in its shortest form: what a store does, with nothing about how to keep it.
///
/// The data lives as long as the value. Share it in an `Arc` to start a silo again over what an earlier one left, or
/// among silos that know each other by its table.
#[derive(Debug)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    members: Arc<MemoryMembers>,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Of each shard; one, but in a simulation.
    generations: Vec<u64>,
    entities: HashMap<EntityId, Entity>,
    agenda: BTreeSet<(u64, EntityId)>,
    letters: BTreeSet<(EntityId, u64)>,
    stats: Stats,
    closed: bool,
    /// What was before the last writes, where they can be lost.
    #[cfg(feature = "testing")]
    past: Option<Past<(EntityId, Option<Entity>)>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Entity {
    /// Who may write; `None`: nobody.
    claim: Option<Fence>,
    /// The highest that was granted.
    epoch: u64,
    version: u64,
    /// The commit that made this version.
    commit: Option<u128>,
    state: Option<Bytes>,
    fields: BTreeMap<Field, Bytes>,
    wake: Option<u64>,
}

impl MemoryStore {
    /// An empty store. The generation is random, unless a simulation has to be repeatable.
    pub fn new(generation: u64) -> Self {
        let kept = Kept { generations: vec![generation], ..Kept::default() };
        Self { kept: Mutex::new(kept), members: Arc::new(MemoryMembers::new()) }
    }

    /// An empty store on a shard for each of these generations, of which each can fail over.
    #[cfg(feature = "testing")]
    pub(crate) fn sharded(generations: Vec<u64>) -> Self {
        let kept = Kept { generations, past: Some(Past::default()), ..Kept::default() };
        Self { kept: Mutex::new(kept), members: Arc::new(MemoryMembers::that_can_lose()) }
    }

    /// A shard fails over to a replica that missed the writes of the last `lost`, and a life of its data begins. The table of
    /// silos is on the first. Says how many writes are gone.
    #[cfg(feature = "testing")]
    pub(crate) fn fail_over(&self, shard: usize, lost: Duration, generation: u64) -> usize {
        let gone = if shard == 0 { self.members.lose(lost) } else { 0 };
        gone + self.lock().lose(shard, lost, generation)
    }

    /// A shard is emptied, and a life of its data begins.
    #[cfg(feature = "testing")]
    pub(crate) fn flush(&self, shard: usize, generation: u64) {
        if shard == 0 {
            self.members.flush();
        }
        self.lock().flush(shard, generation);
    }

    /// How many shards there are.
    #[cfg(feature = "testing")]
    pub(crate) fn shards(&self) -> usize {
        self.lock().generations.len()
    }

    /// On which shard this record is.
    #[cfg(feature = "testing")]
    pub(crate) fn shard_of(&self, id: &EntityId) -> usize {
        self.lock().shard_of(id)
    }

    /// Who has claimed it.
    #[cfg(feature = "testing")]
    pub(crate) fn owner_of(&self, id: &EntityId) -> Option<Incarnation> {
        self.lock().entities.get(id)?.claim.map(|claim| claim.owner)
    }

    /// The life of a shard's data.
    #[cfg(feature = "testing")]
    pub(crate) fn life(&self, shard: usize) -> u64 {
        self.lock().generations.get(shard).copied().unwrap_or(0)
    }

    /// The clock of the table's server jumps ahead.
    #[cfg(feature = "testing")]
    pub(crate) fn clock_jumps(&self, ahead: Duration) {
        self.members.clock_jumps(ahead);
    }

    /// Takes back all claims of an incarnation that is dead, so that others may claim its entities.
    pub fn forget(&self, owner: Incarnation) {
        for entity in self.lock().entities.values_mut() {
            entity.claim.take_if(|claim| claim.owner == owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T: Send + 'static>(&self, act: impl FnOnce(&mut Kept) -> T) -> Pending<T> {
        let mut kept = self.lock();
        let answer = if kept.closed { Err(StoreError::Closed) } else { Ok(act(&mut kept)) };
        Box::pin(ready(answer))
    }
}

impl Kept {
    fn shard_of(&self, id: &EntityId) -> usize {
        match self.generations.len() {
            0 | 1 => 0,
            shards => usize::from(id.partition(shards as u16)),
        }
    }

    fn generation(&self, id: &EntityId) -> u64 {
        self.generations.get(self.shard_of(id)).copied().unwrap_or(0)
    }

    /// What this entity is now is remembered, where writes can be lost.
    #[cfg(feature = "testing")]
    fn remember(&mut self, id: &EntityId) {
        if let Some(past) = &mut self.past {
            past.remember(|| (id.clone(), self.entities.get(id).cloned()));
        }
    }

    #[cfg(not(feature = "testing"))]
    fn remember(&mut self, _: &EntityId) {}

    #[cfg(feature = "testing")]
    fn lose(&mut self, shard: usize, lost: Duration, generation: u64) -> usize {
        let Some(mut past) = self.past.take() else { return 0 };
        let gone = past.lose(lost, |(id, _)| self.shard_of(id) == shard);
        let count = gone.len();
        for (id, before) in gone {
            self.restore(id, before);
        }
        self.past = Some(past);
        self.begin(shard, generation);
        count
    }

    #[cfg(feature = "testing")]
    fn flush(&mut self, shard: usize, generation: u64) {
        let gone: Vec<EntityId> = self.entities.keys().filter(|id| self.shard_of(id) == shard).cloned().collect();
        gone.into_iter().for_each(|id| self.restore(id, None));
        // Its replicas are emptied, too.
        if let Some(mut past) = self.past.take() {
            past.lose(Duration::MAX, |(id, _)| self.shard_of(id) == shard);
            self.past = Some(past);
        }
        self.begin(shard, generation);
    }

    #[cfg(feature = "testing")]
    fn begin(&mut self, shard: usize, generation: u64) {
        if let Some(life) = self.generations.get_mut(shard) {
            *life = generation;
        }
    }

    /// Makes an entity, and the indices that name it, what it was.
    #[cfg(feature = "testing")]
    fn restore(&mut self, id: EntityId, before: Option<Entity>) {
        self.agenda.retain(|(_, named)| *named != id);
        self.letters.retain(|(named, _)| *named != id);
        self.entities.remove(&id);
        let Some(entity) = before else { return };
        self.agenda.extend(entity.wake.map(|wake| (wake, id.clone())));
        let letters = entity.fields.keys().filter_map(|field| match field {
            Field::Letter(number) => Some((id.clone(), *number)),
            _ => None,
        });
        self.letters.extend(letters);
        self.entities.insert(id, entity);
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        self.stats.claims += 1;
        self.remember(&claim.id);
        let generation = self.generation(&claim.id);
        let entity = self.entities.entry(claim.id.clone()).or_default();
        match entity.claim {
            Some(held) if held.owner != claim.owner && claim.over != Some(held.owner) => {
                return Claimed::Taken { owner: held.owner };
            }
            _ => entity.epoch = (entity.epoch + 1).max(claim.now),
        }
        let fence = Fence { owner: claim.owner, nonce: claim.nonce, epoch: entity.epoch };
        entity.claim = Some(fence);
        Claimed::Granted(Box::new(Record {
            fence,
            generation,
            version: entity.version,
            state: entity.state.clone(),
            fields: entity.fields.clone(),
            wake: entity.wake,
        }))
    }

    fn commit(&mut self, commit: Commit) -> Committed {
        let generation = self.generation(&commit.id);
        self.remember(&commit.id);
        let Some(entity) = self.entities.get_mut(&commit.id) else {
            return Committed::Refused(Refusal::Superseded);
        };
        if entity.commit == Some(commit.commit) {
            return Committed::Done;
        } else if entity.claim != Some(commit.fence) && !Mutant::CommitsUnfenced.is_planted() {
            return Committed::Refused(Refusal::Superseded);
        } else if generation != commit.generation {
            return Committed::Refused(Refusal::Generation);
        } else if entity.version != commit.version && !Mutant::CommitsUnversioned.is_planted() {
            return Committed::Refused(Refusal::Stale);
        }
        self.stats.commits += 1;
        self.stats.syncs += 1;
        self.stats.bytes += commit.bytes();
        entity.version += 1;
        entity.commit = Some(commit.commit);
        match commit.state {
            StateWrite::Keep => {}
            StateWrite::Put(state) => entity.state = Some(state),
            StateWrite::Delete => entity.state = None,
        }
        for (field, value) in commit.puts {
            if let Field::Letter(number) = field {
                self.letters.insert((commit.id.clone(), number));
            }
            entity.fields.insert(field, value);
        }
        self.remove(&commit.id, &commit.removes, commit.wake);
        Committed::Done
    }

    fn trim(&mut self, trim: &Trim) -> bool {
        let current = self.entities.get(&trim.id).is_some_and(|entity| entity.version == trim.version);
        let held = (current || Mutant::TrimsUnversioned.is_planted())
            && self.holds(&trim.id, trim.fence)
            && self.generation(&trim.id) == trim.generation;
        if held {
            self.stats.trims += 1;
            self.remember(&trim.id);
            self.remove(&trim.id, &trim.removes, trim.wake);
        }
        held
    }

    fn remove(&mut self, id: &EntityId, removes: &[Field], wake: Option<u64>) {
        let Some(entity) = self.entities.get_mut(id).filter(|entity| entity.version > 0) else { return };
        for field in removes {
            if let Field::Letter(number) = field {
                self.letters.remove(&(id.clone(), *number));
            }
            entity.fields.remove(field);
        }
        if let Some(wake) = entity.wake {
            self.agenda.remove(&(wake, id.clone()));
        }
        entity.wake = wake;
        self.agenda.extend(wake.map(|wake| (wake, id.clone())));
    }

    fn release(&mut self, id: &EntityId, fence: Fence) {
        self.remember(id);
        if let Some(entity) = self.entities.get_mut(id).filter(|entity| entity.claim == Some(fence)) {
            entity.claim = None;
            // Reading random ids must not leave a record each.
            if entity.version == 0 {
                self.entities.remove(id);
            }
        }
    }

    fn holds(&self, id: &EntityId, fence: Fence) -> bool {
        self.entities.get(id).is_some_and(|entity| entity.claim == Some(fence))
    }

    fn due(&self, of: &Partitions, partitions: Partition, until: u64, limit: usize) -> Vec<Due> {
        let due = self.agenda.iter().take_while(|(wake, _)| *wake <= until);
        let due = due.filter(|(_, id)| of.contains(id.partition(partitions))).take(limit);
        due.map(|(wake, id)| Due { wake: *wake, id: id.clone() }).collect()
    }

    fn letters(&self, limit: usize) -> Vec<(EntityId, u64, Bytes)> {
        let content = |id, number| self.entities.get(id)?.fields.get(&Field::Letter(number)).cloned();
        let letters = self.letters.iter().filter_map(|(id, n)| Some((id.clone(), *n, content(id, *n)?)));
        letters.take(limit).collect()
    }
}

impl Store for MemoryStore {
    fn claim(&self, claim: Claim) -> Pending<Claimed> {
        self.answer(|kept| kept.claim(&claim))
    }
    fn commit(&self, commit: Commit) -> Pending<Committed> {
        self.answer(|kept| kept.commit(commit))
    }
    fn trim(&self, trim: Trim) -> Pending<bool> {
        self.answer(|kept| kept.trim(&trim))
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        self.answer(|kept| kept.release(&id, fence))
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.answer(|kept| kept.entities.get(&id).is_some_and(|entity| entity.fields.contains_key(&field)))
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        self.answer(|kept| kept.holds(&id, fence))
    }
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        let partitions = self.members.partitions();
        self.answer(|kept| kept.due(&of, partitions, until, limit))
    }
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>> {
        self.answer(|kept| kept.letters(limit))
    }
    fn stats(&self) -> Stats {
        self.lock().stats
    }
    fn generation(&self, id: &EntityId) -> u64 {
        self.lock().generation(id)
    }
    fn members(&self) -> Option<Arc<dyn Members>> {
        Some(self.members.clone())
    }
    fn close(&self) -> Pending<()> {
        self.answer(|kept| kept.closed = true)
    }
}
