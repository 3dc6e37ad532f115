//! From a batch to the store, and from the store's answer to whatever waited for it.

use std::future::ready;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::CallError;
use crate::entity::{Entity, Named, Tick};
use crate::messaging::Parcel;
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, Control, Phase};
use crate::silo::config::millis;
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::ledger::Ledger;
use crate::silo::settle::Now;
use crate::store::{Commit, Committed, Field, Refusal, Store, StoreError};
use crate::telemetry::Counter;
use crate::wire::EntityId;

/// How a commit ended.
enum Fate {
    Landed,
    /// It was refused when it was first sent: it is not in the store, and never will be.
    Refused(Refusal),
    /// The store can't write now.
    NotWritten(Arc<str>),
    /// Perhaps, perhaps not.
    Unknown(String),
}

/// How often a commit is sent again when its answer was lost.
const RESENDS: u32 = 3;

/// How long reminders wait when the outbox is full, and a trim that failed, in ms.
const PAUSE_MS: u64 = 1_000;

/// A pause before a commit is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(50);

impl<E: Entity> Host<E> {
    /// Does what is due for what is durable: commits, sends what is committed, forgets what is acknowledged.
    ///
    /// Says whether a commit landed at once: then more may be able to run.
    pub(crate) fn advance(self: &Rc<Self>, activation: &Rc<Activation<E>>) -> bool {
        let mut landed = false;
        // A commit that lands at once lets the next one follow: a loop and not a recursion.
        while self.commit_once(activation) {
            landed = true;
        }
        self.dispatch(activation);
        landed
    }

    /// Starts the next commit; says whether it landed at once, so that there may be another.
    fn commit_once(self: &Rc<Self>, activation: &Rc<Activation<E>>) -> bool {
        let now = self.shared.clock.wall_ms();
        let commit = {
            let mut control = activation.control.borrow_mut();
            if !matches!(control.phase, Phase::Live | Phase::Closing) {
                return false;
            }
            let Some(ledger) = &mut control.ledger else { return false };
            let Some(commit) = ledger.next_commit(now, self.shared.nonce(), &self.shared.limits) else { return false };
            commit
        };
        let started = Instant::now();
        let mut answer = self.shared.store.commit(commit.clone());
        // A store in memory answers at once.
        let answer = match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Committed::Done)) => {
                self.landed(activation, started);
                return true;
            }
            Poll::Ready(refused) => Box::pin(ready(refused)),
            Poll::Pending => answer,
        };
        let (host, activation) = (self.clone(), activation.clone());
        self.crew.take(async move {
            let fate = match answer.await {
                Ok(Committed::Done) => Fate::Landed,
                // Boxed, so that what nearly never happens takes no room in every commit.
                answer => Box::pin(settle_fate(&*host.shared.store, commit, answer)).await,
            };
            let _inside = here::enter();
            match fate {
                Fate::Refused(_) if Mutant::RefusedIsDone.is_planted() => {
                    host.landed(&activation, started);
                    host.pump(&activation);
                }
                Fate::Landed => {
                    host.landed(&activation, started);
                    host.pump(&activation);
                }
                fate => host.sunk(&activation, fate),
            }
        });
        false
    }

    fn landed(&self, activation: &Activation<E>, started: Instant) {
        let (releases, late) = {
            let mut control = activation.control.borrow_mut();
            let control = &mut *control;
            match &mut control.ledger {
                Some(ledger) => {
                    let released = ledger.land();
                    // What was in flight may be older than the attempt that is to be counted before it is made.
                    control.held &= ledger.gathering.dirty;
                    released
                }
                None => return, // it fell meanwhile, and everybody was told
            }
        };
        let took = started.elapsed();
        self.shard().count(Counter::Commit);
        self.shard().commit_took(took);
        tracing::debug!(
            target: "grange", entity = %activation.to.id(), released = releases.len(),
            commit_us = took.as_micros() as u64, "commit"
        );
        for (release, span) in releases {
            span.record("commit_us", took.as_micros() as u64);
            self.let_go(release);
        }
        for (release, span) in late {
            span.record("commit_us", took.as_micros() as u64);
            self.release(release);
        }
    }

    fn sunk(self: &Rc<Self>, activation: &Rc<Activation<E>>, fate: Fate) {
        self.shard().count(Counter::CommitFailed);
        let gathered = CallError::NotApplied { reason: "an earlier turn of the entity could not be committed".into() };
        let in_flight = match fate {
            Fate::Landed => return,
            Fate::Refused(refusal) => CallError::NotApplied { reason: format!("the store refused: {refusal:?}") },
            Fate::NotWritten(reason) => CallError::NotApplied { reason: format!("the store can't write: {reason}") },
            Fate::Unknown(reason) => CallError::Unknown { reason },
        };
        tracing::error!(target: "grange", entity = %activation.to.id(), error = %in_flight, "a commit did not land");
        self.topple(activation, &in_flight, &gathered);
    }

    /// Sends what is committed, and says when to look again.
    pub(crate) fn dispatch(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        let now = self.now();
        let wall = self.shared.clock.wall_ms();
        let (leaving, trims, life) = {
            let mut control = activation.control.borrow_mut();
            if !matches!(control.phase, Phase::Live | Phase::Closing) {
                return;
            }
            let control = &mut *control;
            let Some(ledger) = &mut control.ledger else { return };
            let resend = now.saturating_add(millis(self.shared.limits.resend));
            let leaving = ledger.mail.existing().map(|mail| mail.outbox.dispatch(resend)).unwrap_or_default();
            let trims = ledger.may_trim() && !std::mem::replace(&mut control.trim_planned, true);
            let life = ledger.generation;
            self.set_alarm(activation.place.get(), control, wall);
            (leaving, trims, life)
        };
        // A silo whose lease is over may send what its successor has seen to. It is sent again, if it still is to be.
        let leaving = if self.shared.lease.holds() { leaving } else { Vec::new() };
        if !leaving.is_empty() {
            tracing::debug!(target: "grange", entity = %activation.to.id(), messages = leaving.len(), "messages leave");
        }
        for (envelope, again) in leaving {
            self.shard().count(Counter::MessageSent);
            self.post(Parcel::Message { envelope, again, life, far: false });
        }
        if trims {
            let (host, activation) = (self.clone(), activation.clone());
            self.crew.take(async move {
                // An acknowledgement often comes with the next message: then the commit of that takes it along.
                tokio::task::yield_now().await;
                host.trim(&activation).await;
            });
        }
    }

    /// Forgets what is acknowledged, where no commit has come to take it along.
    async fn trim(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        let (trim, retired) = {
            let _inside = here::enter();
            let mut control = activation.control.borrow_mut();
            control.trim_planned = false;
            if !matches!(control.phase, Phase::Live | Phase::Closing) {
                return;
            }
            let Some(ledger) = &mut control.ledger else { return };
            let Some(trim) = ledger.next_trim(self.shared.clock.wall_ms()) else { return };
            trim
        };
        let (removes, version) = (trim.removes.clone(), trim.version);
        let answer = self.shared.store.trim(trim).await;
        let _inside = here::enter();
        self.trimmed(activation, &answer, version, removes, retired);
        if matches!(answer, Ok(true)) {
            self.pump(activation);
        }
    }

    /// A trim that failed is made again with the next commit, or after a pause. One that was refused, with no commit that
    /// could have overtaken it, says that the claim is gone: no other will be taken, and nobody else would find out while the
    /// entity has nothing to commit.
    fn trimmed(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        answer: &Result<bool, StoreError>,
        version: u64,
        removes: Vec<Field>,
        retired: Vec<(EntityId, u64)>,
    ) {
        let parcels = {
            let mut control = activation.control.borrow_mut();
            let Some(ledger) = &mut control.ledger else { return }; // it fell meanwhile; a record that nobody forgets does no harm
            let is_gone = matches!(answer, Ok(false)) && ledger.is_at(version);
            let parcels = ledger.end_trim(matches!(answer, Ok(true)), removes, retired);
            if is_gone {
                drop(control);
                tracing::warn!(target: "grange", entity = %activation.to.id(), "an entity lost its claim: it is loaded anew");
                if activation.control.borrow().phase != Phase::Gone {
                    self.fall(activation);
                }
                return;
            }
            self.set_alarm(activation.place.get(), &mut control, self.shared.clock.wall_ms());
            parcels
        };
        parcels.into_iter().for_each(|parcel| self.post(parcel));
    }

    /// When to look at the outbox and the reminders next.
    pub(crate) fn set_alarm(&self, place: usize, control: &mut Control<E>, wall: u64) {
        let alarm = control.ledger.as_ref().and_then(|ledger| {
            let pause = if self.is_outbox_full(ledger) { PAUSE_MS } else { 0 };
            let due = ledger.mail.reminders.next_due();
            let due = due.map(|due| self.now() + due.saturating_sub(wall).max(pause));
            let trim = (!ledger.mail.trims.is_empty()).then(|| self.now() + PAUSE_MS);
            [ledger.mail.outbox.next_retry(), due, trim].into_iter().flatten().min()
        });
        // The clock begins at 1.
        let alarm = alarm.and_then(NonZeroU64::new);
        if alarm == control.alarm {
            return;
        }
        let mut catalog = self.catalog.borrow_mut();
        if let Some(before) = std::mem::replace(&mut control.alarm, alarm) {
            catalog.alarms.remove(&(before.get(), place));
        }
        if let Some(alarm) = alarm {
            catalog.alarms.insert((alarm.get(), place));
        }
    }

    fn is_outbox_full(&self, ledger: &Ledger) -> bool {
        ledger.mail.outbox.len() >= self.shared.limits.outbox_messages_max
    }

    /// An activation's alarm has gone off: repeats what was not acknowledged, fires what is due.
    pub(crate) fn alarm(self: &Rc<Self>, activation: &Rc<Activation<E>>, now: Tick) {
        {
            let mut control = activation.control.borrow_mut();
            control.alarm = None;
            if let Some(ledger) = &mut control.ledger {
                ledger.mail.outbox.retry(now);
                // Reminders wait for room; the next alarm is a pause later.
                if !self.is_outbox_full(ledger) {
                    let random = || crate::entity::Realm::random(&*self.shared);
                    ledger.fire_reminders(&Now { ms: self.shared.clock.wall_ms(), random: &random });
                }
            }
        }
        self.pump(activation);
    }
}

/// A lost answer is resolved by sending the same commit again, not by guessing. A refusal is definite only as the
/// answer to the first send: a later one may be due to a claim that was granted after the first had landed.
async fn settle_fate(store: &dyn Store, commit: Commit, first: Result<Committed, StoreError>) -> Fate {
    let mut answer = first;
    for resend in 0.. {
        answer = match answer {
            Ok(Committed::Done) => return Fate::Landed,
            Ok(Committed::Refused(refusal)) if resend == 0 => return Fate::Refused(refusal),
            Err(StoreError::Refused { reason }) if resend == 0 => return Fate::NotWritten(reason),
            Ok(Committed::Refused(refusal)) => {
                return Fate::Unknown(format!("the store did not answer, and then refused: {refusal:?}"));
            }
            Err(error @ StoreError::Closed) => return Fate::Unknown(error.to_string()),
            Err(error) if resend == RESENDS => return Fate::Unknown(error.to_string()),
            Err(_) => {
                tokio::time::sleep(RESEND_PAUSE).await;
                store.commit(commit.clone()).await
            }
        };
    }
    Fate::Unknown(String::new())
}
