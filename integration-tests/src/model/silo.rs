//! What a silo does with the entity, and with what the store answers.
//!
//! A request that is answered is one step. What could come between its parts changes nothing that another order of steps does
//! not: sending and hearing touch only the silo; what was sent and is decided after its sender's end is a late request.

use super::activation::{Activation, Flight};
use super::properties::Breach;
use super::store::{Commit, Ticket};
use super::world::{Late, Turn};
use super::{Protocol, Weakness, World};

/// How often a commit is sent before nobody knows what has become of it.
const SENDS_MAX: u8 = 2;

impl Protocol {
    /// Whoever is not granted the entity is told who has it. When that one lives, the calls go there; else it is taken over
    /// from, by a claim that says so.
    pub(super) fn claim(&self, world: &mut World, number: u8) {
        let (ticket, over) = world.next_claim(number);
        match world.store.claim(ticket, over, self.weakness) {
            Ok(read) => {
                let silo = world.silo_mut(number);
                (silo.nonces, silo.named) = (ticket.nonce, None);
                silo.activation = Some(Activation::open(ticket, read));
            }
            Err(owner) => {
                world.silo_mut(number).named = Some(owner);
                if !self.is_gone(world, number, owner) {
                    world.route(number);
                }
            }
        }
    }

    pub(super) fn claim_unheard(&self, world: &mut World, number: u8) {
        world.left.losses -= 1;
        let (ticket, over) = world.next_claim(number);
        let silo = world.silo_mut(number);
        (silo.nonces, silo.named) = (ticket.nonce, None);
        let _unheard = world.store.claim(ticket, over, self.weakness);
    }

    pub(super) fn commit(&self, world: &mut World, number: u8) {
        let Some(Flight { commit, sends, .. }) = world.flight(number) else { return };
        if self.apply(world, &commit) || self.lacks(Weakness::RefusedIsDone) {
            return world.land(number);
        }
        let is_definite = sends == 1 || self.lacks(Weakness::LaterRefusalIsDefinite);
        world.sink(number, if is_definite { Turn::Refused } else { Turn::Unknown });
    }

    pub(super) fn commit_late(&self, world: &mut World, number: u8) {
        let Some(Flight { commit, .. }) = world.flight(number) else { return };
        world.late.insert(Late::Commit(commit));
        self.commit_again(world, number);
    }

    pub(super) fn commit_unheard(&self, world: &mut World, number: u8) {
        let Some(Flight { commit, .. }) = world.flight(number) else { return };
        self.apply(world, &commit);
        self.commit_again(world, number);
    }

    /// A lost answer is resolved by sending the same commit again, not by guessing.
    fn commit_again(&self, world: &mut World, number: u8) {
        world.left.losses -= 1;
        let flight = world.silo_mut(number).activation.as_mut().and_then(|activation| activation.flight.as_mut());
        match flight {
            Some(_) if self.lacks(Weakness::LostIsRefused) => world.sink(number, Turn::Refused),
            Some(flight) if flight.sends < SENDS_MAX => flight.sends += 1,
            _ => world.sink(number, Turn::Unknown),
        }
    }

    /// The store gets a commit. Says whether it answers that it is done.
    pub(super) fn apply(&self, world: &mut World, commit: &Commit) -> bool {
        let before = (world.left.restarts > 0).then(|| Box::new(world.store.clone()));
        let decided = world.store.commit(commit, self.weakness);
        let breach = if !decided.done && decided.is_last {
            Some(Breach::Denied)
        } else if decided.applied && commit.generation != world.store.generation() {
            Some(Breach::OldLife)
        } else if decided.applied && world.store.granted != Some(commit.by) {
            Some(Breach::Interleaved)
        } else {
            None
        };
        world.breach = world.breach.or(breach);
        if decided.applied {
            world.before = before;
        }
        decided.done
    }

    /// The activation goes before its release is sent, whatever the answer to that.
    pub(super) fn release(&self, world: &mut World, number: u8) {
        world.left.releases -= 1;
        let silo = world.silo_mut(number);
        let Some(mut activation) = silo.activation.take() else { return };
        let fence = activation.fence;
        if self.lacks(Weakness::ServesWhileReleasing) {
            activation.is_leaving = true;
            silo.activation = Some(activation);
        }
        world.late.insert(Late::Release(fence));
    }
}

impl World {
    /// A claim, which has no epoch yet, and whom it takes over from.
    fn next_claim(&self, number: u8) -> (Ticket, Option<u8>) {
        let silo = self.silo(number);
        (Ticket { owner: self.incarnation(number), nonce: silo.nonces + 1, epoch: 0 }, silo.named)
    }

    pub(super) fn claim_late(&mut self, number: u8) {
        self.left.losses -= 1;
        let (ticket, over) = self.next_claim(number);
        let silo = self.silo_mut(number);
        (silo.nonces, silo.named) = (ticket.nonce, None);
        self.late.insert(Late::Claim { ticket, over });
    }

    /// Calls that wait go to whoever has the entity.
    pub(super) fn route(&mut self, number: u8) {
        let host = self.silo(number).named.and_then(|owner| self.host(owner));
        let Some(host) = host.filter(|host| *host != number) else { return };
        self.silo_mut(number).named = None;
        let waiting = self.turns.iter_mut().filter(|turn| **turn == Turn::Waiting(number));
        waiting.for_each(|turn| *turn = Turn::Waiting(host));
    }

    fn flight(&self, number: u8) -> Option<Flight> {
        self.silo(number).activation.as_ref()?.flight.clone()
    }

    pub(super) fn run(&mut self, number: u8) {
        let Some(turn) = self.waiting(number) else { return };
        if let Some(activation) = &mut self.silo_mut(number).activation {
            activation.run(turn as u8);
            self.turns[turn] = Turn::Ran(number);
        }
    }

    /// The commit in flight is in the store: its turns are answered.
    fn land(&mut self, number: u8) {
        let Some(activation) = &mut self.silo_mut(number).activation else { return };
        let (turns, generation) = (activation.land(), activation.generation);
        self.end(&turns, Turn::Acknowledged { generation });
    }

    /// The activation is dropped. The turns in flight end like this; those that were never handed to the store had no effect.
    pub(super) fn sink(&mut self, number: u8, in_flight: Turn) {
        let Some(activation) = self.silo_mut(number).activation.take() else { return };
        self.end(&activation.gathered, Turn::Refused);
        if let Some(flight) = activation.flight {
            self.end(&flight.turns, in_flight);
        }
    }

    /// The silo's life ends while its commit may be on its way.
    pub(super) fn abandon(&mut self, number: u8) {
        if let Some(flight) = self.flight(number) {
            self.late.insert(Late::Commit(flight.commit));
        }
        self.sink(number, Turn::Unknown);
    }
}
