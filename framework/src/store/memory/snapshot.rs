use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Entity, Kept, MemoryStore};
use crate::store::memory_members::{self, MemoryMembers};
use crate::store::{Fence, Roster};
use crate::wire::EntityId;

/// Everything that a [`MemoryStore`] and its table of silos hold, as a value: a model checker goes on from each state that
/// can be reached, and the decision is the store's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    generation: u64,
    entities: BTreeMap<EntityId, Entity>,
    agenda: BTreeSet<(u64, EntityId)>,
    letters: BTreeSet<(EntityId, u64)>,
    members: memory_members::Tabled,
}

impl MemoryStore {
    /// What it holds now.
    pub fn snapshot(&self) -> Snapshot {
        let members = self.members.kept();
        let kept = self.lock();
        Snapshot {
            generation: kept.generations.first().copied().unwrap_or(0),
            entities: kept.entities.iter().map(|(id, entity)| (id.clone(), entity.clone())).collect(),
            agenda: kept.agenda.clone(),
            letters: kept.letters.clone(),
            members,
        }
    }
}

impl Snapshot {
    /// A store that goes on from here. The clock of its table of silos stands still at this time, in ms.
    pub fn open(self, now_ms: u64) -> MemoryStore {
        let Self { generation, entities, agenda, letters, members } = self;
        let entities = entities.into_iter().collect();
        let kept = Kept { generations: vec![generation], entities, agenda, letters, ..Kept::default() };
        MemoryStore { kept: Mutex::new(kept), members: Arc::new(MemoryMembers::resumed(members, now_ms)) }
    }

    /// The same data in the store's next life.
    #[must_use]
    pub fn next_life(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    /// The life of the data.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Who may write this entity; `None`: nobody.
    pub fn claim(&self, id: &EntityId) -> Option<Fence> {
        self.entities.get(id)?.claim
    }

    /// The version of this entity.
    pub fn version(&self, id: &EntityId) -> u64 {
        self.entities.get(id).map_or(0, |entity| entity.version)
    }

    /// The state of this entity.
    pub fn state(&self, id: &EntityId) -> Option<&Bytes> {
        self.entities.get(id)?.state.as_ref()
    }

    /// The table of silos.
    pub fn roster(&self) -> &Roster {
        &self.members.roster
    }
}
