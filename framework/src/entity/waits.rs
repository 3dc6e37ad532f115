use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::EntityId;

/// An ask that a turn is waiting for.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) call: u64,
    pub(crate) to: EntityId,
}

/// Which asks each turn waits for: the edges along which a cycle is looked for. Only asks made by turns are here.
#[derive(Default)]
pub(crate) struct Waits {
    shards: [Mutex<HashMap<u64, Vec<Wait>>>; 16],
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waits")
    }
}

impl Waits {
    fn shard(&self, turn: u64) -> MutexGuard<'_, HashMap<u64, Vec<Wait>>> {
        self.shards[turn as usize % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, turn: u64, wait: Wait) {
        self.shard(turn).entry(turn).or_default().push(wait);
    }

    pub(crate) fn end(&self, turn: u64, call: u64) {
        let mut shard = self.shard(turn);
        if let Some(waits) = shard.get_mut(&turn) {
            waits.retain(|wait| wait.call != call);
            if waits.is_empty() {
                shard.remove(&turn);
            }
        }
    }

    pub(crate) fn of(&self, turn: u64) -> Vec<Wait> {
        self.shard(turn).get(&turn).cloned().unwrap_or_default()
    }
}
