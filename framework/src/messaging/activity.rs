use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mutant::Mutant;
use crate::wire::{EntityId, Envelope};

/// What an entity remembers of one partner: the last of its messages that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) sequence: u64,
}

/// How often the next message of one partner was tried without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) sequence: u64,
    pub(crate) count: u32,
}

/// What to do with a message that has just come to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The next message of the conversation: run it.
    Fresh,
    /// Already applied: acknowledge it and change nothing. Not before the commit that applied it has landed.
    Duplicate,
    /// Something before it is still missing: drop it, its sender starts again from there.
    Gap,
}

/// The last message applied from each partner. It moves with the entity, since it is part of its record.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    applied: BTreeMap<EntityId, Applied>,
    attempts: BTreeMap<EntityId, Attempts>,
}

impl Activities {
    pub(crate) fn restore(&mut self, partner: EntityId, applied: Applied) {
        self.applied.insert(partner, applied);
    }

    pub(crate) fn restore_attempts(&mut self, partner: EntityId, attempts: Attempts) {
        self.attempts.insert(partner, attempts);
    }

    pub(crate) fn admit(&self, envelope: &Envelope) -> Admission {
        let last = self.applied.get(&envelope.from).map_or(0, |applied| applied.sequence);
        if envelope.sequence <= last {
            if Mutant::RepeatsApplied.is_planted() { Admission::Fresh } else { Admission::Duplicate }
        } else if Mutant::GapsApplied.is_planted() {
            Admission::Fresh
        } else if envelope.previous <= last {
            // 0: the sender has nothing older for us, so everything that it sent before was acknowledged, or was lost
            // together with our record of it. Less than ours: the sender's store lost what we have applied since; what it
            // sends now has a number that it never gave.
            Admission::Fresh
        } else {
            Admission::Gap
        }
    }

    /// Whether anything is remembered of this partner.
    pub(crate) fn knows(&self, partner: &EntityId) -> bool {
        self.applied.contains_key(partner)
    }

    /// The partner has nothing left for us up to this number. Says whether there was a record to forget: none, if a later
    /// message was applied meanwhile.
    pub(crate) fn forget(&mut self, partner: &EntityId, sequence: u64) -> bool {
        if self.applied.get(partner).is_none_or(|applied| applied.sequence != sequence) {
            return false;
        }
        self.applied.remove(partner).is_some()
    }

    /// The message was applied, rejected or given up: the next one is its successor.
    pub(crate) fn apply(&mut self, envelope: &Envelope) -> Applied {
        let applied = Applied { sequence: envelope.sequence };
        self.applied.insert(envelope.from.clone(), applied);
        applied
    }

    /// Tries of this message so far.
    pub(crate) fn attempts(&self, envelope: &Envelope) -> u32 {
        self.attempts
            .get(&envelope.from)
            .filter(|attempts| attempts.sequence == envelope.sequence)
            .map_or(0, |attempts| attempts.count)
    }

    pub(crate) fn count_attempt(&mut self, envelope: &Envelope) -> Attempts {
        let attempts = Attempts { sequence: envelope.sequence, count: self.attempts(envelope) + 1 };
        self.attempts.insert(envelope.from.clone(), attempts);
        attempts
    }

    /// The try that was counted last was none: its handler did not fail. What is left, if anything.
    pub(crate) fn uncount_attempt(&mut self, envelope: &Envelope) -> Option<Attempts> {
        let count = self.attempts(envelope).checked_sub(1)?;
        let attempts = Attempts { sequence: envelope.sequence, count };
        self.attempts.insert(envelope.from.clone(), attempts);
        Some(attempts)
    }

    /// Whether there was something to forget.
    pub(crate) fn forget_attempts(&mut self, partner: &EntityId) -> bool {
        self.attempts.remove(partner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn message(sequence: u64, previous: u64) -> Envelope {
        Envelope {
            id: Uuid::nil(),
            cause: Uuid::nil(),
            root: Uuid::nil(),
            from: EntityId::new("A", "a"),
            to: EntityId::new("B", "b"),
            sequence,
            previous,
            method: "m".into(),
            arguments: Bytes::new(),
            then: None,
        }
    }

    #[test]
    fn messages_apply_once_and_after_their_predecessor() {
        let mut activities = Activities::default();
        assert_eq!(activities.admit(&message(3, 0)), Admission::Fresh);
        activities.apply(&message(3, 0));
        assert_eq!(activities.admit(&message(3, 0)), Admission::Duplicate);
        assert_eq!(activities.admit(&message(2, 0)), Admission::Duplicate);
        assert_eq!(activities.admit(&message(7, 5)), Admission::Gap);
        assert_eq!(activities.admit(&message(5, 3)), Admission::Fresh);
    }

    #[test]
    fn an_opening_with_a_higher_number_is_accepted() {
        let mut activities = Activities::default();
        activities.apply(&message(3, 0));
        assert_eq!(activities.admit(&message(9, 0)), Admission::Fresh);
    }

    #[test]
    fn what_the_senders_store_forgot_does_not_hold_up_what_comes_after() {
        let mut activities = Activities::default();
        activities.apply(&message(57, 0));
        activities.apply(&message(58, 57));
        // The sender lost 58; 57 is back in its outbox, and the next message has a number of a later life.
        assert_eq!(activities.admit(&message(57, 0)), Admission::Duplicate);
        assert_eq!(activities.admit(&message(1_000, 57)), Admission::Fresh);
    }

    #[test]
    fn a_record_is_forgotten_unless_a_later_message_was_applied() {
        let mut activities = Activities::default();
        activities.apply(&message(3, 0));
        activities.apply(&message(5, 3));
        assert!(!activities.forget(&EntityId::new("A", "a"), 3));
        assert!(activities.forget(&EntityId::new("A", "a"), 5));
        assert_eq!(activities.admit(&message(9, 0)), Admission::Fresh);
    }

    #[test]
    fn attempts_belong_to_one_message() {
        let mut activities = Activities::default();
        activities.count_attempt(&message(3, 0));
        assert_eq!(activities.count_attempt(&message(3, 0)).count, 2);
        assert_eq!(activities.attempts(&message(4, 3)), 0);
        assert!(activities.forget_attempts(&EntityId::new("A", "a")));
    }
}
