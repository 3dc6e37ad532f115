//! What takes too long, or not at all: looked at every few milliseconds, on the arbiter itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::CallError;
use crate::cluster::Courier;
use crate::entity::{Entity, Named, Realm, Tick, guarded};
use crate::silo::activation::{Activation, Phase};
use crate::silo::finish::cut_off;
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::moving::MOVED;
use crate::silo::turn::Owed;
use crate::telemetry::Counter;

/// How often an arbiter's hosts are looked after: the error of a turn's limit and of a reminder.
pub(crate) const SWEEP: Duration = Duration::from_millis(20);

/// Of the activations in memory, one in so many is looked at for idleness in each sweep.
const IDLE_SHARE: usize = 64;

/// An entity whose next reminder is so near stays in memory for it, in ms.
pub(crate) const REMINDER_NEAR_MS: u64 = 5_000;

/// A host without its type.
pub(crate) trait Sweep {
    /// Looks after everything; says how many activations are in memory.
    fn sweep(self: Rc<Self>) -> usize;
}

impl<E: Entity> Sweep for Host<E> {
    fn sweep(self: Rc<Self>) -> usize {
        let _inside = here::enter();
        let now = self.now();
        self.let_held_go();
        self.follow_lives();
        self.move_away();
        self.ring_alarms(now);
        self.expire_turns(now);
        self.search_cycles(now);
        self.close_idle(now);
        // Those that wait are finished before the silo ends.
        let waiting = if self.shared.is_draining() { self.arrivals.len() } else { 0 };
        self.catalog.borrow().activations.len() + waiting
    }
}

impl<E: Entity> Host<E> {
    pub(crate) fn at(&self, place: usize) -> Option<Rc<Activation<E>>> {
        self.catalog.borrow().activations.get(place).cloned()
    }

    fn ring_alarms(self: &Rc<Self>, now: Tick) {
        loop {
            let due = {
                let mut catalog = self.catalog.borrow_mut();
                match catalog.alarms.first().copied() {
                    Some((alarm, place)) if alarm <= now => {
                        catalog.alarms.remove(&(alarm, place));
                        place
                    }
                    _ => return,
                }
            };
            if let Some(activation) = self.at(due) {
                self.alarm(&activation, now);
            }
        }
    }

    fn expire_turns(self: &Rc<Self>, now: Tick) {
        let places: Vec<usize> = self.catalog.borrow().suspended.iter().copied().collect();
        for place in places {
            let Some(activation) = self.at(place) else { continue };
            loop {
                let expired = {
                    let mut control = activation.control.borrow_mut();
                    control.take_suspended(|turn| turn.context.deadline <= now)
                };
                let Some(turn) = expired else { break };
                self.expire(&activation, turn);
            }
            // The place may be another activation's by now.
            let still = self.at(place).is_some_and(|there| Rc::ptr_eq(&there, &activation));
            if still && activation.control.borrow().suspended().is_empty() {
                self.catalog.borrow_mut().suspended.remove(&place);
            }
        }
    }

    /// The turn's limit: its future is dropped, its state is as before, and the next one may run.
    fn expire(self: &Rc<Self>, activation: &Rc<Activation<E>>, mut turn: crate::silo::activation::Suspended) {
        self.account_as(&turn.context, Counter::TurnExpired, "expired");
        let (handler, entity) = (turn.context.method, activation.to.id());
        tracing::warn!(target: "grange", %handler, %entity, "a turn was ended at its limit and rolled back");
        let alone = turn.context.alone;
        let owed = std::mem::replace(&mut turn.context.owed, Owed::Ask);
        self.drop_turn(turn, &CallError::Timeout);
        {
            let mut control = activation.control.borrow_mut();
            let control = &mut *control;
            if alone {
                control.writer = false;
            } else {
                control.readers = control.readers.saturating_sub(1);
            }
            if alone && control.ledger.is_none() {
                if let Ok(fresh) = guarded(E::fresh) {
                    activation.state.replace(fresh);
                    control.renewed = true;
                }
            } else if alone && let Err(error) = self.roll_back(activation, control) {
                tracing::error!(target: "grange", %error, "a state can't be restored");
            }
            if let Owed::Message { envelope, counted } = &owed {
                self.try_again(control, envelope, *counted);
            }
        }
        match owed {
            Owed::OnActivate => {
                let error = CallError::Unavailable { reason: "`on_activate` passed its limit".into() };
                activation.control.borrow_mut().phase = Phase::Opening;
                self.topple(activation, &cut_off(), &error);
            }
            Owed::OnDeactivate => self.close_when_clean(activation),
            _ if activation.control.borrow().broken => self.fall(activation),
            _ => self.pump(activation),
        }
    }

    fn close_idle(self: &Rc<Self>, now: Tick) {
        let draining = self.shared.is_draining();
        let places = {
            let mut catalog = self.catalog.borrow_mut();
            let all = catalog.activations.capacity();
            let share = if draining { all } else { (all / IDLE_SHARE).max(64) };
            let from = if catalog.scanned >= all { 0 } else { catalog.scanned };
            catalog.scanned = from + share;
            from..(from + share).min(all)
        };
        let wall = self.shared.clock.wall_ms();
        let mut moved = 0;
        for place in places {
            let Some(activation) = self.at(place) else { continue };
            let misplaced = |courier: &Arc<Courier>| draining || !courier.may_keep(activation.to.id());
            if self.shared.courier().is_some_and(misplaced) {
                // A silo that leaves takes no more calls for it; or it came while tables differed, and who looks for it by its
                // partition does not find it here.
                if draining || moved < MOVED {
                    moved += 1;
                    self.leave_for_another(&activation);
                }
                continue;
            }
            let idle = {
                let mut control = activation.control.borrow_mut();
                control.shrink();
                let quiet = control.phase == Phase::Live && control.is_idle();
                let rested = now.saturating_sub(control.used) >= self.idle_ms;
                let unburdened = control.ledger.as_ref().is_none_or(|ledger| {
                    ledger.mail.outbox.is_empty()
                        && ledger.mail.reminders.next_due().is_none_or(|due| due > wall + REMINDER_NEAR_MS)
                });
                quiet && (draining || (rested && unburdened))
            };
            if idle {
                self.close(&activation);
            }
        }
    }
}
