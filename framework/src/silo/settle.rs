//! Effects → records: what a turn did becomes part of the next commit, whole, or the turn is refused, whole.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::entity::{Act, Cause, Staged};
use crate::messaging::{self, DeadLetter, Fired, KeyRecord, Reminder, encode};
use crate::mutant::Mutant;
use crate::silo::config::{Limits, millis};
use crate::silo::ledger::Ledger;
use crate::store::{Field, StateWrite};
use crate::wire::{Continuation, EntityId, Envelope};
use crate::{CallError, Failed, Never, Outcome};

/// A reminder's name is part of the name of its record.
const REMINDER_NAME_BYTES_MAX: usize = 1_024;

/// What a turn was owed, and so what is recorded of it.
#[derive(Clone, Copy)]
pub(crate) enum Work<'a> {
    /// An ask or a notification: nothing.
    Plain,
    /// An idempotent ask: its outcome.
    Keyed { key: Uuid, digest: u64 },
    /// A durable message: that it was applied, and its outcome to the continuation.
    Message(&'a Envelope),
}

/// How the work ended.
#[derive(Clone)]
pub(crate) enum End {
    /// With a value, encoded where somebody needs it.
    Done(Bytes),
    /// With `Err`, encoded likewise.
    Rejected(Bytes),
    /// Never: the target gives the message up.
    GivenUp(messaging::Cause),
}

/// A turn that ended well, or an `Err` that is to be recorded.
pub(crate) struct Settling<'a> {
    pub(crate) work: Work<'a>,
    pub(crate) end: End,
    /// What it sent, cancelled and deleted, in its order. Empty after `Err`.
    pub(crate) acts: Vec<Act>,
    /// The state's new bytes; `None`: as before.
    pub(crate) image: Option<Bytes>,
    pub(crate) cause: Cause,
}

/// The hour and the randomness, handed in.
pub(crate) struct Now<'a> {
    /// In ms since the epoch.
    pub(crate) ms: u64,
    pub(crate) random: &'a dyn Fn() -> u64,
}

impl Now<'_> {
    fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&(self.random)().to_le_bytes());
        random[8..].copy_from_slice(&(self.random)().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(self.ms, &random).into_uuid()
    }
}

/// Why a turn is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// It is too large in itself.
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// It would fit at another time.
    Full { what: &'static str, limit: usize },
    /// Something in it can't be encoded.
    Invalid(String),
}

impl From<Overrun> for CallError {
    fn from(overrun: Overrun) -> Self {
        match overrun {
            Overrun::TooLarge { what, size, limit } => CallError::TooLarge { what: what.into(), size, limit },
            Overrun::Full { what, limit } => CallError::Overloaded {
                what: format!("{what} of {limit}"),
                retry_after: std::time::Duration::from_millis(100),
            },
            Overrun::Invalid(reason) => CallError::Invalid { reason },
        }
    }
}

impl Ledger {
    /// Makes the turn part of the next commit.
    ///
    /// # Errors
    /// When a limit would be passed: then nothing of the turn is taken.
    pub(crate) fn settle(&mut self, settling: Settling<'_>, now: &Now<'_>, limits: &Limits) -> Result<(), Overrun> {
        self.check(&settling, limits)?;
        let Settling { work, end, acts, image, cause } = settling;
        self.gathering.turns += 1;
        let mut deleted = false;
        for act in acts {
            match act {
                Act::Send(staged) => self.send(*staged, cause, now),
                Act::Cancel(name) => self.cancel(name),
                Act::Delete => {
                    deleted = true;
                    self.mail.reminders.names().into_iter().for_each(|name| self.cancel(name));
                }
            }
        }
        if deleted {
            if self.image.take().is_some() || self.gathering.state.is_some() {
                self.gathering.write(StateWrite::Delete);
            }
            self.foreign = crate::entity::Foreign::default();
        } else if let Some(image) = image {
            self.gathering.write(StateWrite::Put(image.clone()));
            self.image = Some(image);
        }
        self.record(work, end, now);
        Ok(())
    }

    fn check(&self, settling: &Settling<'_>, limits: &Limits) -> Result<(), Overrun> {
        let too_large = |what, size, limit| {
            if size > limit { Err(Overrun::TooLarge { what, size, limit }) } else { Ok(()) }
        };
        if let Some(image) = &settling.image {
            too_large("the state", image.len(), limits.state_bytes_max)?;
        }
        let (mut messages, mut reminders, mut bytes) = (0, 0, 0);
        for act in &settling.acts {
            let Act::Send(staged) = act else { continue };
            let arguments = staged.arguments.as_ref().map_err(|error| Overrun::Invalid(error.clone()))?;
            too_large("a message", arguments.len(), limits.message_bytes_max)?;
            too_large("the key of a message's target", staged.to.key.len(), limits.key_bytes_max)?;
            too_large("the name of a reminder", staged.name.as_ref().map_or(0, String::len), REMINDER_NAME_BYTES_MAX)?;
            bytes += arguments.len();
            if let Some(then) = &staged.then {
                let then = then.as_ref().map_err(|error| Overrun::Invalid(error.clone()))?;
                too_large("a continuation", then.arguments.len(), limits.message_bytes_max)?;
                too_large("the key of a continuation's entity", then.to.key.len(), limits.key_bytes_max)?;
                bytes += then.arguments.len();
            }
            match staged.reminder() {
                Some(_) if staged.name.as_ref().is_some_and(|name| self.mail.reminders.contains(name)) => {}
                Some(_) => reminders += 1,
                None => messages += 1,
            }
        }
        too_large("the messages of one turn, in bytes,", bytes, limits.group_bytes_max)?;
        too_large("the number of messages of one turn", settling.acts.len(), limits.turn_messages_max)?;
        if let End::Done(outcome) | End::Rejected(outcome) = &settling.end {
            too_large("the reply", outcome.len(), limits.message_bytes_max)?;
        }
        let full = |what, size, limit| if size > limit { Err(Overrun::Full { what, limit }) } else { Ok(()) };
        if messages > 0 {
            full("the outbox", self.mail.outbox.len() + messages, limits.outbox_messages_max)?;
        }
        if reminders > 0 {
            full("the list of reminders", self.mail.reminders.len() + reminders, limits.reminders_max)?;
        }
        if let (Work::Message(Envelope { then: None, .. }), End::Rejected(_) | End::GivenUp(_)) =
            (settling.work, &settling.end)
        {
            full("the list of dead letters", self.mail.letters.len() + 1, limits.dead_letters_max)?;
        }
        Ok(())
    }

    fn send(&mut self, staged: Staged, cause: Cause, now: &Now<'_>) {
        let schedule = staged.reminder();
        // Encodable: checked before anything was taken.
        let (Ok(arguments), Ok(then)) = (staged.arguments, staged.then.transpose()) else { return };
        let (method, arguments) = (staged.method.to_owned(), Bytes::from(arguments));
        let Some(schedule) = schedule else { return self.stage(staged.to, method, arguments, then, cause, now) };
        let every = schedule.every.map(millis);
        let after = if schedule.after.is_zero() { every.unwrap_or(0) } else { millis(schedule.after) };
        let reminder = Reminder {
            due: now.ms.saturating_add(after),
            period: every,
            fires: 0,
            to: staged.to,
            method,
            arguments,
            then,
        };
        // A name of its own: an unnamed reminder replaces none.
        let name = staged.name.unwrap_or_else(|| format!("~{}", now.uuid()));
        self.gathering.put(Field::Reminder(name.clone()), encode(&reminder));
        self.mail.reminders.set(name, reminder);
    }

    fn cancel(&mut self, name: String) {
        if self.mail.reminders.cancel(&name) {
            self.gathering.remove(Field::Reminder(name));
        }
    }

    /// A message gets its numbers, and its place in the outbox.
    pub(crate) fn stage(
        &mut self,
        to: EntityId,
        method: String,
        arguments: Bytes,
        then: Option<Continuation>,
        cause: Cause,
        now: &Now<'_>,
    ) {
        let (sequence, previous) = self.mail.outbox.next_numbers(&to, self.sequence_floor());
        let id = now.uuid();
        let envelope = Envelope {
            id,
            cause: cause.cause,
            root: if cause.root.is_nil() { id } else { cause.root },
            from: self.id.clone(),
            to,
            sequence,
            previous,
            method,
            arguments,
            then,
        };
        if !Mutant::OutboxNotStored.is_planted() {
            self.gathering.put(Field::Outbox(sequence), encode(&envelope));
        }
        self.gathering.put(Field::Sequence, encode(&sequence));
        self.mail.outbox.stage(Arc::new(envelope));
    }

    /// "Seen", in the same commit as "applied"; and the outcome, after the handler's own messages.
    fn record(&mut self, work: Work<'_>, end: End, now: &Now<'_>) {
        match work {
            Work::Plain => {}
            Work::Keyed { key, digest } => {
                let (End::Done(outcome) | End::Rejected(outcome)) = end else { return };
                let record = KeyRecord { at: now.ms, digest, outcome };
                if !Mutant::KeyNotRecorded.is_planted() {
                    self.gathering.put(Field::Key(key), encode(&record));
                }
                self.mail.keys.record(key, record);
            }
            Work::Message(envelope) => {
                let applied = self.mail.activities.apply(envelope);
                if !Mutant::SeenNotRecorded.is_planted() {
                    self.gathering.put(Field::Activity(envelope.from.clone()), encode(&applied));
                }
                if self.mail.activities.forget_attempts(&envelope.from) {
                    self.gathering.remove(Field::Attempts(envelope.from.clone()));
                }
                self.answer(envelope, end, now);
            }
        }
    }

    fn answer(&mut self, envelope: &Envelope, end: End, now: &Now<'_>) {
        let then = envelope.then.as_ref().filter(|_| !Mutant::ContinuationsDropped.is_planted());
        let continued = then.and_then(|then| {
            let outcome = match &end {
                End::Done(outcome) | End::Rejected(outcome) => outcome.clone(),
                End::GivenUp(_) => encode(&Outcome::<(), Never>::Err(Failed::GivenUp)),
            };
            Some((then, crate::entity::push_element(&then.arguments, &outcome)?))
        });
        let cause = Cause { cause: envelope.id, root: envelope.root };
        if let Some((then, arguments)) = continued {
            return self.stage(then.to.clone(), then.method.clone(), arguments.into(), None, cause, now);
        }
        let cause = match end {
            End::Done(_) => return,
            End::Rejected(outcome) => messaging::Cause::Rejected(outcome),
            End::GivenUp(cause) => cause,
        };
        // Not the number of one that was seen to and dropped before this activation.
        self.mail.letter_last = (self.mail.letter_last + 1).max(now.ms);
        let number = self.mail.letter_last;
        self.mail.letters.insert(number);
        let letter = DeadLetter { message: envelope.clone(), at: now.ms, cause };
        self.gathering.put(Field::Letter(number), encode(&letter));
    }

    /// The message's attempt, counted before it is made: a message that kills the process counts, too.
    pub(crate) fn count_attempt(&mut self, envelope: &Envelope) -> u32 {
        let attempts = self.mail.activities.count_attempt(envelope);
        self.gathering.put(Field::Attempts(envelope.from.clone()), encode(&attempts));
        attempts.count
    }

    /// The counted attempt was none: the handler asked for another time, or a limit of the framework was met.
    pub(crate) fn uncount_attempt(&mut self, envelope: &Envelope) {
        if let Some(attempts) = self.mail.activities.uncount_attempt(envelope) {
            self.gathering.put(Field::Attempts(envelope.from.clone()), encode(&attempts));
        }
    }

    /// Stages the message of every reminder that is due, and what becomes of the reminder, in one commit.
    pub(crate) fn fire_reminders(&mut self, now: &Now<'_>) -> bool {
        let fired = self.mail.reminders.fire(now.ms);
        let any = !fired.is_empty();
        for Fired { name, reminder, next } in fired {
            match next {
                Some(next) => self.gathering.put(Field::Reminder(name), encode(&next)),
                None => self.gathering.remove(Field::Reminder(name)),
            }
            self.stage(reminder.to, reminder.method, reminder.arguments, reminder.then, Cause::default(), now);
        }
        any
    }
}
