//! Leases, deaths and new lives.

use super::world::{Place, Turn};
use super::{Protocol, Weakness, World};

impl Protocol {
    pub(super) fn beat(&self, world: &mut World, number: u8) {
        let (now, incarnation) = (world.now, world.incarnation(number));
        if world.store.beat(incarnation, now) || self.lacks(Weakness::DeadRevives) {
            world.silo_mut(number).lease = Some(now);
            if self.lacks(Weakness::UnknownIsDead) {
                world.read_table(number);
            }
        } else {
            self.lose_place(world, number);
        }
    }

    pub(super) fn beat_unanswered(&self, world: &mut World, number: u8) {
        world.left.losses -= 1;
        let (now, incarnation) = (world.now, world.incarnation(number));
        if world.store.beat(incarnation, now) {
            world.silo_mut(number).renewal = Some(now);
        }
    }

    pub(super) fn beat_answered(&self, world: &mut World, number: u8) {
        let now = world.now;
        let silo = world.silo_mut(number);
        let sent = silo.renewal.take().map(|sent| if self.lacks(Weakness::LeaseFromTheAnswer) { now } else { sent });
        silo.lease = silo.lease.max(sent);
    }

    pub(super) fn declare(&self, world: &mut World, who: u8) {
        if world.host(who).is_some() {
            world.left.deaths -= 1;
        }
        world.store.declare_dead(who, world.now, !self.lacks(Weakness::DeclaredWithoutAMiss));
    }

    /// Nothing in the memory of a silo that lost its place can be believed. What its callers wait for is still to be done.
    pub(super) fn lose_place(&self, world: &mut World, number: u8) {
        if !self.lacks(Weakness::KeepsWhatIsVoid) {
            world.abandon(number);
        }
        world.go(number);
    }

    /// The store began a new life: this silo's is over, too, and others need not wait for its death.
    pub(super) fn renounce(&self, world: &mut World, number: u8) {
        self.lose_place(world, number);
        let (now, old) = (world.now, world.incarnation(number));
        world.store.leave(old, now);
        self.join(world, number);
    }

    pub(super) fn join(&self, world: &mut World, number: u8) {
        world.silo_mut(number).life += 1;
        world.enter(number);
        if self.lacks(Weakness::UnknownIsDead) {
            world.read_table(number);
        }
    }
}

impl World {
    /// The present life of this silo becomes a member.
    pub(super) fn enter(&mut self, number: u8) {
        let (now, incarnation, generation) = (self.now, self.incarnation(number), self.store.generation());
        self.store.join(incarnation, now);
        let silo = self.silo_mut(number);
        (silo.place, silo.lease, silo.generation, silo.nonces) = (Place::Member, Some(now), generation, 0);
    }

    pub(super) fn read_table(&mut self, number: u8) {
        let known = self.store.rows().fold(0, |known, (row, _)| known | 1 << row);
        self.silo_mut(number).known = known;
    }

    fn go(&mut self, number: u8) {
        let silo = self.silo_mut(number);
        (silo.place, silo.lease, silo.renewal, silo.named) = (Place::Gone, None, None, None);
    }

    /// A process dies: its callers don't know what has become of their calls.
    pub(super) fn crash(&mut self, number: u8) {
        self.left.deaths -= 1;
        self.abandon(number);
        for turn in &mut self.turns {
            if matches!(turn, Turn::Waiting(at) | Turn::Ran(at) if *at == number) {
                *turn = Turn::Unknown;
            }
        }
        self.go(number);
    }

    pub(super) fn restart(&mut self, is_torn: bool) {
        self.left.restarts -= 1;
        let before = self.before.take().filter(|_| is_torn);
        let kept = before.map_or_else(|| self.store.clone(), |before| *before);
        let generation = self.store.generation();
        self.store = kept.next_life();
        debug_assert!(self.store.generation() > generation);
    }
}
