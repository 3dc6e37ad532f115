use std::collections::BTreeSet;

use super::activation::Activation;
use super::properties::Breach;
use super::store::{Commit, Kept, Ticket};
use super::{Bounds, SILOS};

/// Everything that is the case at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// In ticks.
    pub(super) now: u8,
    pub(super) store: Kept,
    /// The store before its last commit: what it goes back to when it begins a new life without its tail.
    pub(super) before: Option<Box<Kept>>,
    pub(super) silos: [Silo; SILOS],
    /// Requests for whose answers nobody waits any more. Each may arrive at any time, or never.
    pub(super) late: BTreeSet<Late>,
    pub(super) turns: Vec<Turn>,
    /// What may still happen.
    pub(super) left: Bounds,
    /// The first thing that must not happen and is seen only while it does.
    pub(super) breach: Option<Breach>,
}

/// A silo, and what it believes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Silo {
    /// Which of its lives this is.
    pub(super) life: u8,
    pub(super) place: Place,
    /// When its last confirmed renewal was sent.
    pub(super) lease: Option<u8>,
    /// When a renewal was sent that has arrived, and whose answer is on its way.
    pub(super) renewal: Option<u8>,
    /// The store's life, as it knows it.
    pub(super) generation: u64,
    /// The silos in the table that it read last, a bit each.
    pub(super) known: u16,
    /// Who owns the entity, by the last answer to a claim.
    pub(super) named: Option<u8>,
    /// Nonces that it has used.
    pub(super) nonces: u8,
    /// The entity in its memory.
    pub(super) activation: Option<Activation>,
}

/// Where a silo is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Member,
    /// Its process is gone, or its life in the cluster was lost: it joins anew.
    Gone,
}

/// A request that comes late.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Late {
    Claim { ticket: Ticket, over: Option<u8> },
    Commit(Commit),
    Release(Ticket),
}

/// What has become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// It waits at this silo.
    Waiting(u8),
    /// Its handler has run; the activation of this silo has its effect.
    Ran(u8),
    /// Its caller was told that it is committed.
    Acknowledged { generation: u64 },
    /// Its caller was told that it had no effect and will have none.
    Refused,
    /// Its caller was told that nobody knows.
    Unknown,
}

impl World {
    pub(super) fn new(bounds: Bounds) -> Self {
        let turns = (0..SILOS as u8).zip(bounds.turns);
        let turns = turns.flat_map(|(silo, count)| (0..count).map(move |_| Turn::Waiting(silo))).collect();
        let mut world = Self {
            now: 0,
            store: Kept::new(),
            before: None,
            silos: std::array::from_fn(|_| Silo::new()),
            late: BTreeSet::new(),
            turns,
            left: bounds,
            breach: None,
        };
        (0..SILOS as u8).for_each(|silo| world.enter(silo));
        (0..SILOS as u8).for_each(|silo| world.read_table(silo));
        world
    }

    pub(super) fn silo(&self, silo: u8) -> &Silo {
        &self.silos[usize::from(silo)]
    }

    pub(super) fn silo_mut(&mut self, silo: u8) -> &mut Silo {
        &mut self.silos[usize::from(silo)]
    }

    /// The number of a silo's present life among all lives of all silos.
    pub(super) fn incarnation(&self, silo: u8) -> u8 {
        1 + silo + SILOS as u8 * self.silo(silo).life
    }

    /// The silo whose present life this is.
    pub(super) fn host(&self, incarnation: u8) -> Option<u8> {
        let member = |silo: &u8| self.silo(*silo).place == Place::Member && self.incarnation(*silo) == incarnation;
        (0..SILOS as u8).find(member)
    }

    /// Whether this silo's lease and death are of any consequence: it has the entity, or the store says so, or it was
    /// declared dead.
    pub(super) fn has_stake(&self, silo: u8) -> bool {
        let me = self.incarnation(silo);
        self.silo(silo).activation.is_some() || self.store.owner() == Some(me) || !self.store.lives(me)
    }

    /// The first call that waits at this silo.
    pub(super) fn waiting(&self, silo: u8) -> Option<usize> {
        self.turns.iter().position(|turn| *turn == Turn::Waiting(silo))
    }

    /// The calls that have run end like this.
    pub(super) fn end(&mut self, turns: &[u8], how: Turn) {
        turns.iter().for_each(|turn| self.turns[usize::from(*turn)] = how);
    }
}

impl Silo {
    fn new() -> Self {
        Self {
            life: 0,
            place: Place::Gone,
            lease: None,
            renewal: None,
            generation: 1,
            known: 0,
            named: None,
            nonces: 0,
            activation: None,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        self.place == Place::Member
    }

    /// Its lease holds for less than a tick from when its renewal was sent.
    pub(super) fn holds_lease(&self, now: u8) -> bool {
        self.lease.is_some_and(|sent| sent == now)
    }
}
