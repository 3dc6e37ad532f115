use std::collections::HashMap;

use super::head::Head;
use crate::store::{Claim, Fence, Incarnation};
use crate::wire::EntityId;

/// Fewer epochs of claims that are over are not worth looking through.
const EPOCHS_MIN: usize = 4_096;

/// Who owns what. Only in memory: one process has the directory, so a claim never outlives it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: HashMap<EntityId, Held>,
    /// The epochs of claims that are over and that no commit may have written down: the next one has to be higher.
    epochs: HashMap<EntityId, u64>,
    /// At how many of them those that no longer matter are dropped.
    epochs_max: usize,
}

#[derive(Debug)]
struct Held {
    owner: Incarnation,
    nonce: u128,
    /// `None`: the record is being read.
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    epoch: u64,
    /// As the last commit that was taken on leaves it.
    head: Head,
}

impl Claims {
    /// Notes a claim whose record is still to be read, or names the owner.
    pub(super) fn begin(&mut self, claim: &Claim) -> Result<(), Incarnation> {
        let owner = self.held.get(&claim.id).map(|held| held.owner);
        if let Some(owner) = owner.filter(|owner| *owner != claim.owner && Some(*owner) != claim.over) {
            return Err(owner);
        }
        let held = Held { owner: claim.owner, nonce: claim.nonce, live: None };
        let before = self.held.insert(claim.id.clone(), held);
        self.remember(&claim.id, before);
        Ok(())
    }

    /// The record was read: the claim is in force, unless a later one has replaced it by now.
    pub(super) fn grant(&mut self, claim: &Claim, head: Head) -> Fence {
        let over = self.epochs.get(&claim.id).copied().unwrap_or(0);
        let epoch = (head.epoch.max(over) + 1).max(claim.now);
        match self.held.get_mut(&claim.id) {
            Some(held) if held.owner == claim.owner && held.nonce == claim.nonce => {
                held.live = Some(Live { epoch, head });
                self.epochs.remove(&claim.id);
            }
            _ => drop(self.epochs.insert(claim.id.clone(), epoch)),
        }
        if self.epochs.len() > self.epochs_max {
            // The next claim takes at least the time, which is higher than these.
            self.epochs.retain(|_, epoch| *epoch >= claim.now);
            self.epochs_max = EPOCHS_MIN.max(2 * self.epochs.len());
        }
        Fence { owner: claim.owner, nonce: claim.nonce, epoch }
    }

    /// The record could not be read: nobody owns it.
    pub(super) fn withdraw(&mut self, claim: &Claim) {
        if self.held.get(&claim.id).is_some_and(|held| held.nonce == claim.nonce && held.live.is_none()) {
            self.held.remove(&claim.id);
        }
    }

    /// The claim in force, and the record's head under it.
    pub(super) fn live(&mut self, id: &EntityId) -> Option<(Fence, &mut Head)> {
        let held = self.held.get_mut(id)?;
        let live = held.live.as_mut()?;
        Some((Fence { owner: held.owner, nonce: held.nonce, epoch: live.epoch }, &mut live.head))
    }

    pub(super) fn holds(&mut self, id: &EntityId, fence: Fence) -> bool {
        self.live(id).is_some_and(|(held, _)| held == fence)
    }

    pub(super) fn release(&mut self, id: &EntityId, fence: Fence) {
        if self.holds(id, fence) {
            let before = self.held.remove(id);
            self.remember(id, before);
        }
    }

    /// Takes back all claims of an incarnation.
    pub(super) fn forget(&mut self, owner: Incarnation) {
        let gone: Vec<EntityId> =
            self.held.iter().filter(|(_, held)| held.owner == owner).map(|(id, _)| id.clone()).collect();
        for id in gone {
            let before = self.held.remove(&id);
            self.remember(&id, before);
        }
    }

    /// Nobody owns anything: every activation has to read again.
    pub(super) fn clear(&mut self) {
        let held = std::mem::take(&mut self.held);
        for (id, held) in held {
            self.remember(&id, Some(held));
        }
    }

    fn remember(&mut self, id: &EntityId, before: Option<Held>) {
        if let Some(live) = before.and_then(|held| held.live) {
            self.epochs.insert(id.clone(), live.epoch);
        }
    }
}
