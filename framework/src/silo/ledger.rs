use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::Span;
use uuid::Uuid;

use crate::entity::{Foreign, Gate};
use crate::messaging::{Activities, KeyCheck, Keys, Outbox, Parcel, Reminders, decode, encode};
use crate::silo::batch::{Batch, Release};
use crate::silo::config::Limits;
use crate::store::{Commit, Fence, Field, Record, StateWrite, Trim};
use crate::wire::EntityId;

/// How long after a commit the agenda wakes an entity whose messages are still not acknowledged, in ms. The activation
/// that staged them delivers them itself, at once: this is for the time after its death.
pub(crate) const OUTBOX_WAKE_MS: u64 = 2_000;

/// How many expired idempotency keys one commit removes: a few more than one turn adds.
const KEYS_EXPIRED_PER_COMMIT: usize = 16;

/// Everything durable of one activation: what the store has, what turns added since, and what waits for it.
///
/// Always true: what is in memory is what the store has, plus the batch in flight, plus the batch that gathers.
pub(crate) struct Ledger {
    pub(crate) id: EntityId,
    pub(crate) fence: Fence,
    pub(crate) generation: u64,
    version: u64,
    /// The state after the last exclusive turn that ended well: what a rollback returns to. `None`: as if never seen.
    pub(crate) image: Option<Bytes>,
    pub(crate) foreign: Foreign,
    pub(crate) outbox: Outbox,
    pub(crate) activities: Activities,
    pub(crate) keys: Keys,
    pub(crate) reminders: Reminders,
    /// The numbers of the dead letters kept here.
    pub(crate) letters: BTreeSet<u64>,
    pub(crate) letter_last: u64,
    pub(crate) gathering: Batch,
    flight: Option<Box<Flight>>,
    trims: Vec<Field>,
    /// Targets for which the trims leave nothing, with the last number that each applied.
    retired: Vec<(EntityId, u64)>,
}

/// A commit on its way.
struct Flight {
    batch: Batch,
    /// Messages up to this number are in it.
    sequence: u64,
}

impl Ledger {
    /// From what a claim read.
    pub(crate) fn open(id: EntityId, record: Record) -> Result<Self, rmp_serde::decode::Error> {
        let mut ledger = Self {
            id,
            fence: record.fence,
            generation: record.generation,
            version: record.version,
            image: record.state,
            foreign: Foreign::default(),
            outbox: Outbox::default(),
            activities: Activities::default(),
            keys: Keys::default(),
            reminders: Reminders::default(),
            letters: BTreeSet::new(),
            letter_last: 0,
            gathering: Batch::default(),
            flight: None,
            trims: Vec::new(),
            retired: Vec::new(),
        };
        for (field, value) in record.fields {
            match field {
                Field::Sequence => ledger.outbox.restore_sequence(decode(&value)?),
                Field::Outbox(_) => ledger.outbox.restore(decode(&value)?),
                Field::Activity(partner) => ledger.activities.restore(partner, decode(&value)?),
                Field::Attempts(partner) => ledger.activities.restore_attempts(partner, decode(&value)?),
                Field::Key(key) => ledger.keys.restore(key, decode(&value)?),
                Field::KeyFloor => ledger.keys.restore_floor(decode(&value)?),
                Field::Reminder(name) => ledger.reminders.set(name, decode(&value)?),
                Field::Letter(number) => {
                    ledger.letters.insert(number);
                    ledger.letter_last = ledger.letter_last.max(number);
                }
            }
        }
        Ok(ledger)
    }

    pub(crate) fn check_key(&mut self, key: Uuid, digest: u64, now: u64, limits: &Limits) -> KeyCheck {
        match self.keys.check(key, digest, now, &limits.keys()) {
            // Those whose time is over make room; no commit has come along to forget them.
            KeyCheck::Full if self.forget_keys(now, limits) => self.keys.check(key, digest, now, &limits.keys()),
            check => check,
        }
    }

    /// Forgets keys whose time is over, with the next commit; says whether there were any.
    fn forget_keys(&mut self, now: u64, limits: &Limits) -> bool {
        let (expired, floor) = self.keys.expire(now, &limits.keys(), KEYS_EXPIRED_PER_COMMIT);
        if expired.is_empty() {
            return false;
        }
        self.gathering.put(Field::KeyFloor, encode(&floor));
        expired.into_iter().for_each(|key| self.gathering.remove(Field::Key(key)));
        true
    }

    /// What a turn that starts now rests on: the commit that its asks wait for. `None`: everything is committed.
    pub(crate) fn gate(&mut self) -> Option<Arc<Gate>> {
        if self.gathering.dirty {
            return Some(self.gathering.gate());
        }
        self.flight.as_mut().map(|flight| flight.batch.gate())
    }

    /// Holds this until everything that it could have seen is committed; gives it back when that is so now.
    pub(crate) fn hold(&mut self, release: Release, span: &Span) -> Option<Release> {
        let batch = match &mut self.flight {
            _ if self.gathering.dirty => &mut self.gathering,
            Some(flight) => &mut flight.batch,
            None => return Some(release),
        };
        batch.releases.push((release, span.clone()));
        None
    }

    /// Whether turns, reads included, must wait for the commit in flight before more is held for it or behind it.
    pub(crate) fn is_full(&self, limits: &Limits, held_max: usize) -> bool {
        self.flight.as_ref().is_some_and(|flight| {
            let held = flight.batch.releases.len() + self.gathering.releases.len();
            held >= held_max
                || self.gathering.turns >= limits.group_turns_max
                || self.gathering.bytes >= limits.group_bytes_max
                || self.gathering.fields.len() >= limits.group_fields_max / 2
        })
    }

    /// Whether the store has everything.
    pub(crate) fn is_clean(&self) -> bool {
        self.flight.is_none() && !self.gathering.dirty && self.trims.is_empty()
    }

    pub(crate) fn has_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// When the entity must be awake, from all that it now holds.
    fn wake(&self, now: u64) -> Option<u64> {
        let outbox = (!self.outbox.is_empty()).then(|| now + OUTBOX_WAKE_MS);
        [outbox, self.reminders.next_due()].into_iter().flatten().min()
    }

    /// The next commit, if none is in flight and there is something to write. From now on it is in flight.
    pub(crate) fn next_commit(&mut self, now: u64, commit: u128, limits: &Limits) -> Option<Commit> {
        if self.flight.is_some() || !self.gathering.dirty {
            return None;
        }
        self.forget_keys(now, limits);
        for field in self.trims.drain(..) {
            self.gathering.fields.entry(field).or_insert(None);
        }
        let retirements = self.retirements();
        let mut batch = std::mem::take(&mut self.gathering);
        batch.releases.extend(retirements.into_iter().map(|parcel| (Release::Parcel(parcel), Span::none())));
        let mut puts = Vec::with_capacity(batch.fields.len());
        let mut removes = Vec::new();
        for (field, value) in std::mem::take(&mut batch.fields) {
            match value {
                Some(value) => puts.push((field, value)),
                None => removes.push(field),
            }
        }
        let state = batch.state.take().unwrap_or(StateWrite::Keep);
        self.flight = Some(Box::new(Flight { batch, sequence: self.outbox.sequence() }));
        Some(Commit {
            id: self.id.clone(),
            fence: self.fence,
            generation: self.generation,
            commit,
            version: self.version,
            state,
            puts,
            removes,
            wake: self.wake(now),
        })
    }

    /// The commit in flight landed: this leaves now, and the messages that it staged may.
    pub(crate) fn land(&mut self) -> Vec<(Release, Span)> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        self.version += 1;
        self.outbox.commit(flight.sequence);
        flight.batch.land()
    }

    /// The activation is over: what was held for the commit in flight, and what was never handed to the store.
    #[allow(clippy::type_complexity)]
    pub(crate) fn sink(&mut self) -> (Vec<(Release, Span)>, Vec<(Release, Span)>) {
        let flight = self.flight.take().map_or_else(Vec::new, |flight| flight.batch.sink());
        (flight, std::mem::take(&mut self.gathering).sink())
    }

    /// Acknowledged messages: forgotten with the next commit, or by a trim.
    pub(crate) fn acknowledge(&mut self, by: &EntityId, sequence: u64) {
        let forgotten = self.outbox.acknowledge(by, sequence);
        if let (Some(last), false) = (forgotten.last(), self.outbox.has_for(by)) {
            self.retired.push((by.clone(), *last));
        }
        self.trims.extend(forgotten.into_iter().map(Field::Outbox));
    }

    /// The sender has nothing left up to this number, and the order of its store's log has that before whatever we
    /// write from now on: our record of it is of no more use.
    pub(crate) fn forget(&mut self, sender: &EntityId, sequence: u64) {
        if self.activities.forget(sender, sequence) {
            self.trims.push(Field::Activity(sender.clone()));
        }
    }

    /// An operator has seen to this dead letter.
    pub(crate) fn drop_letter(&mut self, number: u64) {
        if self.letters.remove(&number) {
            self.trims.push(Field::Letter(number));
        }
    }

    /// What to tell the targets when the trims have been applied.
    fn retirements(&mut self) -> Vec<Parcel> {
        let sender = &self.id;
        let forget = |(target, sequence)| Parcel::Forget { sender: sender.clone(), target, sequence };
        std::mem::take(&mut self.retired).into_iter().map(forget).collect()
    }

    /// What to trim, when no commit is there to take it along.
    ///
    /// And whom to tell when it has been applied.
    pub(crate) fn next_trim(&mut self, now: u64) -> Option<(Trim, Vec<Parcel>)> {
        if self.trims.is_empty() || self.flight.is_some() || self.gathering.dirty {
            return None;
        }
        let trim = Trim {
            id: self.id.clone(),
            fence: self.fence,
            generation: self.generation,
            removes: std::mem::take(&mut self.trims),
            wake: self.wake(now),
        };
        Some((trim, self.retirements()))
    }
}
