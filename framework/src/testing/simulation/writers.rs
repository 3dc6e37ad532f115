//! One writer at a time: what every run must show at the store, whatever the store itself would let pass.

use std::collections::HashMap;

use crate::store::{Claimed, Commit, Committed, Fence};
use crate::wire::EntityId;

/// What was seen of the claims and commits of all entities.
#[derive(Default)]
pub(super) struct Writers {
    entities: HashMap<EntityId, Writer>,
    /// The highest epoch that was granted, also in a life of the store that has ended: an outside service may know it.
    epochs: HashMap<EntityId, u64>,
    broken: Vec<String>,
    /// Writes were lost.
    forgot: bool,
    checked: u64,
}

struct Writer {
    fence: Fence,
    version: u64,
    /// The commit that made this version; `None`: it was not seen.
    commit: Option<u128>,
}

/// What a commit says of itself.
pub(super) struct Write {
    id: EntityId,
    fence: Fence,
    version: u64,
    commit: u128,
}

impl Write {
    pub(super) fn of(commit: &Commit) -> Self {
        Self { id: commit.id.clone(), fence: commit.fence, version: commit.version, commit: commit.commit }
    }
}

impl Writers {
    /// A claim was answered, in the order of the store.
    pub(super) fn claimed(&mut self, id: &EntityId, claimed: &Claimed) {
        let Claimed::Granted(record) = claimed else { return };
        self.checked += 1;
        let epoch = self.epochs.entry(id.clone()).or_default();
        // Who was released before the first commit left no record: in the same millisecond the same epoch comes again.
        let is_old = |epoch| record.fence.epoch < epoch || record.version > 0 && record.fence.epoch == epoch;
        if is_old(*epoch) {
            let epochs = (record.fence.epoch, *epoch);
            self.broken.push(format!("single writer: {id} was claimed with epoch {}, after {}", epochs.0, epochs.1));
        }
        *epoch = record.fence.epoch.max(*epoch);
        let before = self.entities.get(id).map(|writer| (writer.version, writer.commit));
        if let Some((version, _)) = before.filter(|(version, _)| *version != record.version) {
            let loaded = record.version;
            self.broken.push(format!("single writer: {id} was at version {version}, and a claim loaded {loaded}"));
        }
        let commit = before.and_then(|(_, commit)| commit);
        let writer = Writer { fence: record.fence, version: record.version, commit };
        self.entities.insert(id.clone(), writer);
    }

    /// A commit was answered, in the order of the store.
    pub(super) fn committed(&mut self, commit: &Write, committed: &Committed) {
        if !matches!(committed, Committed::Done) {
            return;
        }
        self.checked += 1;
        let id = &commit.id;
        let Some(writer) = self.entities.get_mut(id) else {
            // Since writes were lost nobody has claimed it: only its last commit, come again, is answered so.
            if !self.forgot {
                self.broken.push(format!("single writer: {id} was committed, and nobody had claimed it"));
            }
            return;
        };
        let is_repeat = match writer.commit {
            Some(last) => last == commit.commit,
            None => writer.version == commit.version + 1,
        };
        if is_repeat {
            return;
        }
        if writer.fence != commit.fence {
            let epochs = (commit.fence.epoch, writer.fence.epoch);
            self.broken
                .push(format!("single writer: {id} was committed under epoch {}, and {} had it", epochs.0, epochs.1));
        }
        if writer.version != commit.version {
            let versions = (commit.version, writer.version);
            self.broken.push(format!(
                "atomic turns: {id} was committed over version {}, and was at {}",
                versions.0, versions.1
            ));
        }
        (writer.version, writer.commit) = (commit.version + 1, Some(commit.commit));
    }

    /// Entities of which writes were lost: what they are now is what is read next.
    pub(super) fn forget(&mut self, is_lost: impl Fn(&EntityId) -> bool) {
        self.forgot = true;
        self.entities.retain(|id, _| !is_lost(id));
    }

    /// How many claims and commits were looked at, and what was wrong.
    pub(super) fn verdict(&self) -> (u64, Vec<String>) {
        (self.checked, self.broken.clone())
    }
}
