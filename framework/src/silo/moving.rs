//! What a change of the cluster or of the store means for what is in memory here.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::CallError;
use crate::entity::{Entity, Named};
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, Phase};
use crate::silo::batch::Release;
use crate::silo::finish::cut_off;
use crate::silo::host::Host;

/// Activations looked at in one sweep, when the table changed.
const LOOKED_AT: usize = 2_000;

/// Activations that one sweep sends on their way, of a kind and an arbiter: some thousands a second, so that those that
/// stay hardly notice.
pub(crate) const MOVED: usize = 64;

/// How far the search for activations that belong elsewhere has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moving {
    /// The table for which it is made.
    version: u64,
    /// The next place; `None`: all were looked at.
    next: Option<usize>,
}

impl<E: Entity> Host<E> {
    /// Answers that waited for the lease leave when it holds again.
    pub(crate) fn let_held_go(&self) {
        if self.held.borrow().is_empty() || !self.shared.lease.holds() {
            return;
        }
        let held = std::mem::take(&mut *self.held.borrow_mut());
        held.into_iter().for_each(|release| self.let_go(release));
    }

    /// The silo lost its place in the cluster, or the store began a new life: what is in memory may belong to somebody
    /// else by now, or be ahead of what the store remembers.
    pub(crate) fn follow_lives(self: &Rc<Self>) {
        let lives = (self.shared.life.load(Ordering::Acquire), self.shared.store.lives());
        let (life, _) = self.lives.get();
        if self.lives.replace(lives) == lives {
            return;
        }
        if Mutant::KeepsWhatIsVoid.is_planted() {
            return;
        }
        let all = life != lives.0;
        let void = CallError::NotApplied { reason: "the entity had to be loaded anew: the cluster changed".into() };
        if all {
            // Some of them may tell of what was committed before.
            let untold =
                CallError::Unknown { reason: "the silo lost its place in the cluster before it could answer".into() };
            let mut post = |parcel| self.post(parcel);
            let held = std::mem::take(&mut *self.held.borrow_mut());
            held.into_iter().for_each(|release: Release| release.fail(&untold, &mut post));
        }
        let places = self.catalog.borrow().activations.capacity();
        for activation in (0..places).filter_map(|place| self.at(place)) {
            if all || self.is_outlived(&activation) {
                self.topple(&activation, &cut_off(), &void);
            }
        }
    }

    fn is_outlived(&self, activation: &Activation<E>) -> bool {
        let control = activation.control.borrow();
        let Some(ledger) = &control.ledger else { return false };
        ledger.generation != self.shared.store.generation(activation.to.id())
    }

    /// When the table changed, the activations that belong elsewhere now are closed, some at a time.
    pub(crate) fn move_away(self: &Rc<Self>) {
        let Some(courier) = self.shared.courier() else { return };
        let version = courier.table().version();
        let mut moving = self.moving.get();
        if moving.version != version {
            moving = Moving { version, next: Some(0) };
            // Who it waits for may be elsewhere by now.
            self.hasten_outboxes();
        }
        let Some(from) = moving.next else { return self.moving.set(moving) };
        let places = self.catalog.borrow().activations.capacity();
        let (mut place, mut moved) = (from, 0);
        while place < places && place < from + LOOKED_AT && moved < MOVED {
            if let Some(activation) = self.at(place)
                && !courier.may_keep(activation.to.id())
            {
                moved += 1;
                self.leave_for_another(&activation);
            }
            place += 1;
        }
        moving.next = (place < places).then_some(place);
        self.moving.set(moving);
    }

    pub(crate) fn leave_for_another(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        {
            let mut control = activation.control.borrow_mut();
            if control.phase != Phase::Live {
                return;
            }
            control.moving = true;
        }
        self.leave_if_asked(activation);
    }

    /// Messages whose targets may have moved are sent again soon, and not after the pause for lost acknowledgements.
    fn hasten_outboxes(self: &Rc<Self>) {
        let now = self.now();
        let places = self.catalog.borrow().activations.capacity();
        for activation in (0..places).filter_map(|place| self.at(place)) {
            let mut control = activation.control.borrow_mut();
            let control = &mut *control;
            let Some(mail) = control.ledger.as_mut().and_then(|ledger| ledger.mail.existing()) else { continue };
            if !mail.outbox.is_empty() {
                mail.outbox.hasten(now + 50 + self.shared.random_below(200));
                self.set_alarm(activation.place.get(), control, self.shared.clock.wall_ms());
            }
        }
    }
}
