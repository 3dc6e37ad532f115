use std::collections::HashMap;
use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::EntityId;

/// So many tombstones of one entity are worth a command of their own.
const NAMES_MAX: usize = 64;
/// So many of all entities together are remembered.
const ALL_MAX: usize = 65_536;

/// Tombstones that commits wrote, and that wait to be deleted.
///
/// Nothing is lost with them: a claim finds those that nobody deleted.
#[derive(Debug, Default)]
pub(super) struct Sweeps(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    names: HashMap<EntityId, Vec<Vec<u8>>>,
    count: usize,
}

impl Sweeps {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entity's, and gives back what is to be deleted now.
    pub(super) fn add(&self, id: &EntityId, names: Vec<Vec<u8>>) -> HashMap<EntityId, Vec<Vec<u8>>> {
        if names.is_empty() {
            return HashMap::new();
        }
        let mut waiting = self.lock();
        waiting.count += names.len();
        let of_entity = waiting.names.entry(id.clone()).or_default();
        of_entity.extend(names);
        if of_entity.len() >= NAMES_MAX {
            let names = take(of_entity);
            waiting.names.remove(id);
            waiting.count -= names.len();
            return HashMap::from([(id.clone(), names)]);
        }
        if waiting.count >= ALL_MAX { take(&mut *waiting).names } else { HashMap::new() }
    }

    /// What waits of an entity, to go with a command that goes there anyway.
    pub(super) fn take(&self, id: &EntityId) -> Vec<Vec<u8>> {
        let mut waiting = self.lock();
        let names = waiting.names.remove(id).unwrap_or_default();
        waiting.count -= names.len();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entitys_tombstones_wait_until_they_are_worth_a_command() {
        let (sweeps, id) = (Sweeps::default(), EntityId::new("Account", "a"));
        for _ in 1..NAMES_MAX {
            assert!(sweeps.add(&id, vec![b"x".to_vec()]).is_empty());
        }
        assert_eq!(sweeps.add(&id, vec![b"x".to_vec()])[&id].len(), NAMES_MAX);
        assert!(sweeps.take(&id).is_empty());
    }

    #[test]
    fn many_entities_tombstones_are_bounded() {
        let sweeps = Sweeps::default();
        let swept: usize =
            (0..2 * ALL_MAX).map(|n| sweeps.add(&EntityId::new("A", n.to_string()), vec![vec![1]]).len()).sum();
        assert_eq!(swept, 2 * ALL_MAX);
    }
}
