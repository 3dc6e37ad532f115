use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tracing::Span;
use uuid::Uuid;

use crate::entity::{Cause, Foreign, Gate, Link};
use crate::messaging::{KeyCheck, Parcel, decode, encode};
use crate::mutant::Mutant;
use crate::silo::batch::{Batch, Release};
use crate::silo::config::Limits;
use crate::silo::correspondence::Mail;
use crate::silo::settle::Now;
use crate::store::{Commit, Fence, Field, Record, StateWrite, Trim};
use crate::wire::{EntityId, Envelope};

/// How long after a commit the agenda wakes an entity whose messages are still not acknowledged, in ms. The activation
/// that staged them delivers them itself, at once: this is for the time after its death.
pub(crate) const OUTBOX_WAKE_MS: u64 = 2_000;

/// How many fields one trim removes: a store takes only so many at a time.
const TRIM_FIELDS_MAX: usize = 500;

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
    /// What turns are given of the claim.
    pub(crate) link: Option<Rc<dyn Link>>,
    pub(crate) mail: Mail,
    pub(crate) gathering: Batch,
    flight: Option<Box<Flight>>,
    /// A trim is on its way: what it removes may come back, and until then no target is told to forget.
    trimming: bool,
    /// The store names it in the agenda, and nothing is due: the next trim says so, though it removes nothing.
    named_in_vain: bool,
    /// The time for which the store names it in the agenda: until then, since an entry that has come too early is put right.
    named_for: Option<u64>,
}

/// A commit on its way.
struct Flight {
    batch: Batch,
    /// Messages up to this number are in it.
    sequence: u64,
    /// For when it is named once this has landed.
    named_for: Option<u64>,
    /// What came after it was sent, and waits for it. Unlike what is in it, it proves nothing about who owns the entity by
    /// then.
    late: Vec<(Release, Span)>,
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
            link: None,
            mail: Mail::default(),
            gathering: Batch::default(),
            flight: None,
            trimming: false,
            named_in_vain: record.wake.is_some(),
            named_for: record.wake,
        };
        for (field, value) in record.fields {
            match field {
                Field::Sequence | Field::Outbox(_) if Mutant::NumbersStartAgain.is_planted() => {}
                Field::Sequence => ledger.mail.outbox.restore_sequence(decode(&value)?),
                Field::Outbox(_) => ledger.mail.outbox.restore(decode(&value)?),
                Field::Activity(partner) => ledger.mail.activities.restore(partner, decode(&value)?),
                Field::Attempts(partner) => ledger.mail.activities.restore_attempts(partner, decode(&value)?),
                Field::Key(key) => ledger.mail.keys.restore(key, decode(&value)?),
                Field::KeyFloor => ledger.mail.keys.restore_floor(decode(&value)?),
                Field::Reminder(name) => ledger.mail.reminders.set(name, decode(&value)?),
                Field::Letter(number) => {
                    ledger.mail.letters.insert(number);
                    ledger.mail.letter_last = ledger.mail.letter_last.max(number);
                }
            }
        }
        Ok(ledger)
    }

    /// The numbers of messages begin above it: above all that an earlier life of the store may have forgotten, so that none
    /// of them is given twice. A target knows those it has applied.
    pub(crate) fn sequence_floor(&self) -> u64 {
        self.generation & ((1 << 53) - 1)
    }

    pub(crate) fn check_key(&mut self, key: Uuid, digest: u64, now: u64, limits: &Limits) -> KeyCheck {
        if Mutant::KeysRepeated.is_planted() {
            return KeyCheck::Fresh;
        }
        match self.mail.keys.check(key, digest, now, &limits.keys()) {
            // Those whose time is over make room; no commit has come along to forget them.
            KeyCheck::Full if self.forget_keys(now, limits) => self.mail.keys.check(key, digest, now, &limits.keys()),
            check => check,
        }
    }

    /// Forgets keys whose time is over, with the next commit; says whether there were any.
    fn forget_keys(&mut self, now: u64, limits: &Limits) -> bool {
        let Some(mail) = self.mail.existing() else { return false };
        let (expired, floor) = mail.keys.expire(now, &limits.keys(), KEYS_EXPIRED_PER_COMMIT);
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
        if Mutant::AnswersBeforeCommit.is_planted() && matches!(release, Release::Answer(_)) {
            return Some(release);
        }
        let waiting = match &mut self.flight {
            _ if self.gathering.dirty => &mut self.gathering.releases,
            Some(flight) => &mut flight.late,
            None => return Some(release),
        };
        waiting.push((release, span.clone()));
        None
    }

    /// Whether turns, reads included, must wait for a commit before more gathers for it or is held for it.
    pub(crate) fn is_full(&self, limits: &Limits, held_max: usize) -> bool {
        let in_flight = self.flight.as_ref().map_or(0, |flight| flight.batch.releases.len() + flight.late.len());
        let gathered = self.gathering.dirty
            && (self.gathering.turns >= limits.group_turns_max
                || self.gathering.bytes >= limits.group_bytes_max
                || self.gathering.fields.len() >= limits.group_fields_max / 2);
        gathered || in_flight + self.gathering.releases.len() >= held_max
    }

    /// Whether the store has everything.
    pub(crate) fn is_clean(&self) -> bool {
        self.flight.is_none() && !self.gathering.dirty && !self.trimming && self.mail.trims.is_empty()
    }

    /// Whether there are messages to deliver, or reminders that are due by then.
    pub(crate) fn has_work(&self, until: u64) -> bool {
        !self.mail.outbox.is_empty() || self.mail.reminders.next_due().is_some_and(|due| due <= until)
    }

    /// The agenda has named the entity. An earlier trim that came late may have left the entry: nobody else would find out
    /// that it stands for nothing.
    pub(crate) fn was_named(&mut self) {
        self.named_in_vain = true;
    }

    /// Whether what the store has is this version, and nothing is on its way to another.
    pub(crate) fn is_at(&self, version: u64) -> bool {
        self.version == version && self.flight.is_none()
    }

    pub(crate) fn has_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// When the entity must be awake, from all that it now holds.
    fn wake(&self, now: u64) -> Option<u64> {
        if Mutant::AgendaNotWritten.is_planted() {
            return None;
        }
        let outbox = (!self.mail.outbox.is_empty()).then(|| now + OUTBOX_WAKE_MS);
        [outbox, self.mail.reminders.next_due()].into_iter().flatten().min()
    }

    /// The next commit, if none is in flight and there is something to write. From now on it is in flight.
    pub(crate) fn next_commit(&mut self, now: u64, commit: u128, limits: &Limits) -> Option<Commit> {
        if self.flight.is_some() || !self.gathering.dirty {
            return None;
        }
        self.forget_keys(now, limits);
        if !self.trimming {
            for field in self.take_trims(limits.group_fields_max.saturating_sub(self.gathering.fields.len())) {
                self.gathering.fields.entry(field).or_insert(None);
            }
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
        let (sequence, wake) = (self.mail.outbox.sequence(), self.wake(now));
        let stands = |wake: u64| self.named_for.filter(|before| now < *before && *before <= wake);
        let named = wake.and_then(stands);
        self.flight = Some(Box::new(Flight { batch, sequence, named_for: named.or(wake), late: Vec::new() }));
        Some(Commit {
            id: self.id.clone(),
            fence: self.fence,
            generation: self.generation,
            commit,
            version: self.version,
            state,
            puts,
            removes,
            wake,
            named: named.is_some(),
        })
    }

    /// The commit in flight landed: this leaves now, and the messages that it staged may.
    ///
    /// And what waited for it, which leaves only while the lease holds.
    #[allow(clippy::type_complexity)]
    pub(crate) fn land(&mut self) -> (Vec<(Release, Span)>, Vec<(Release, Span)>) {
        let Some(flight) = self.flight.take() else { return Default::default() };
        self.version += 1;
        self.named_for = flight.named_for;
        if let Some(mail) = self.mail.existing() {
            mail.outbox.commit(flight.sequence);
        }
        (flight.batch.land(), flight.late)
    }

    /// A trim was applied, and its targets may forget; or it was not, and its removals are still to be made: a target that
    /// forgot before them would take the message for a new one.
    pub(crate) fn end_trim(
        &mut self,
        applied: bool,
        removes: Vec<Field>,
        retired: Vec<(EntityId, u64)>,
    ) -> Vec<Parcel> {
        self.trimming = false;
        if applied || Mutant::ForgetsTooSoon.is_planted() {
            if !applied {
                self.mail.trims.extend(removes);
            }
            return self.forget_parcels(retired);
        }
        self.mail.trims.extend(removes);
        self.mail.retired.extend(retired);
        Vec::new()
    }

    /// The activation is over: what was held for the commit in flight, and what was never handed to the store.
    #[allow(clippy::type_complexity)]
    pub(crate) fn sink(&mut self) -> (Vec<(Release, Span)>, Vec<(Release, Span)>) {
        let mut rest = std::mem::take(&mut self.gathering).sink();
        let Some(flight) = self.flight.take() else { return (Vec::new(), rest) };
        rest.extend(flight.late);
        (flight.batch.sink(), rest)
    }

    /// Acknowledged messages: forgotten with the next commit, or by a trim.
    pub(crate) fn acknowledge(&mut self, by: &EntityId, sequence: u64) {
        let forgotten = self.mail.outbox.acknowledge(by, sequence);
        if let (Some(last), false) = (forgotten.last(), self.mail.outbox.has_for(by)) {
            self.mail.retired.push((by.clone(), *last));
        }
        self.mail.trims.extend(forgotten.into_iter().map(Field::Outbox));
    }

    /// The sender has nothing left up to this number, and the order of its store's log has that before whatever we
    /// write from now on: our record of it is of no more use.
    pub(crate) fn forget(&mut self, sender: &EntityId, sequence: u64) {
        if self.mail.activities.forget(sender, sequence) {
            self.mail.trims.push(Field::Activity(sender.clone()));
        }
    }

    /// An operator has seen to this dead letter.
    pub(crate) fn drop_letter(&mut self, number: u64) {
        if self.mail.letters.remove(&number) {
            self.mail.trims.push(Field::Letter(number));
        }
    }

    /// An operator wants a dead letter tried again: it goes, and a new message with the same content takes its way, in one
    /// commit. The entity sends it to itself: its first sender has been told that it is over.
    pub(crate) fn replay_letter(&mut self, number: u64, message: &Envelope, now: &Now<'_>) {
        if !self.mail.letters.remove(&number) {
            return; // somebody has seen to it
        }
        self.gathering.remove(Field::Letter(number));
        let cause = Cause { cause: message.id, root: message.root };
        self.stage(self.id.clone(), message.method.clone(), message.arguments.clone(), None, cause, now);
    }

    /// What to tell the targets when the trims have been applied.
    fn retirements(&mut self) -> Vec<Parcel> {
        if self.trimming {
            return Vec::new();
        }
        let retired = self.take_retired();
        self.forget_parcels(retired)
    }

    /// The targets for which nothing is left once the trims that were taken are applied. None, where some are still to be
    /// taken: theirs may be among those.
    fn take_retired(&mut self) -> Vec<(EntityId, u64)> {
        let Some(mail) = self.mail.existing().filter(|mail| mail.trims.is_empty()) else { return Vec::new() };
        let mut retired = std::mem::take(&mut mail.retired);
        // One that is written to again is told when that is acknowledged, too: what it remembers saves asking whether it may.
        retired.retain(|(target, _)| !mail.outbox.has_for(target));
        retired
    }

    fn forget_parcels(&self, retired: Vec<(EntityId, u64)>) -> Vec<Parcel> {
        let forget =
            |(target, sequence)| Parcel::Forget { sender: self.id.clone(), target, sequence, life: self.generation };
        retired.into_iter().map(forget).collect()
    }

    /// The fields that nobody needs any more. A partner that was forgotten and has written again since is needed: its
    /// record has the same name.
    fn take_trims(&mut self, count_max: usize) -> Vec<Field> {
        let Some(mail) = self.mail.existing() else { return Vec::new() };
        let rest = mail.trims.split_off(mail.trims.len().min(count_max));
        let mut trims = std::mem::replace(&mut mail.trims, rest);
        let is_needed = |partner: &EntityId| mail.activities.knows(partner) && !Mutant::TrimsWhatIsKnown.is_planted();
        trims.retain(|field| !matches!(field, Field::Activity(partner) if is_needed(partner)));
        trims
    }

    /// Whether there is something to trim that no commit takes along as things are.
    pub(crate) fn may_trim(&self) -> bool {
        let something = self.named_in_vain || !self.mail.trims.is_empty();
        something && !self.trimming && self.flight.is_none() && !self.gathering.dirty
    }

    /// What to trim, when no commit is there to take it along.
    ///
    /// And the targets to tell when it has been applied: see [`end_trim`](Self::end_trim).
    pub(crate) fn next_trim(&mut self, now: u64) -> Option<(Trim, Vec<(EntityId, u64)>)> {
        // With something due it is named for that, and what is done about it will say so.
        self.named_in_vain &= self.wake(now).is_none();
        if !self.may_trim() {
            return None;
        }
        self.named_in_vain = false;
        let trim = Trim {
            id: self.id.clone(),
            fence: self.fence,
            generation: self.generation,
            version: self.version,
            removes: self.take_trims(TRIM_FIELDS_MAX),
            wake: self.wake(now),
        };
        self.named_for = self.named_for.filter(|_| trim.wake.is_some());
        self.trimming = true;
        Some((trim, self.take_retired()))
    }
}
