use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use crate::messaging::{Activities, Keys, Outbox, Reminders};
use crate::store::Field;
use crate::wire::EntityId;

/// What an entity remembers of others: messages sent and applied, outcomes, reminders, dead letters.
#[derive(Debug, Default)]
pub(crate) struct Correspondence {
    pub(crate) outbox: Outbox,
    pub(crate) activities: Activities,
    pub(crate) keys: Keys,
    pub(crate) reminders: Reminders,
    /// The numbers of the dead letters kept here.
    pub(crate) letters: BTreeSet<u64>,
    pub(crate) letter_last: u64,
    /// Fields that nobody needs any more.
    pub(crate) trims: Vec<Field>,
    /// Targets for which the trims leave nothing, with the last number that each applied.
    pub(crate) retired: Vec<(EntityId, u64)>,
}

/// A [`Correspondence`] that most entities don't have at a time: it takes its room when something is written into it.
#[derive(Debug, Default)]
pub(crate) struct Mail(Option<Box<Correspondence>>);

impl Mail {
    /// For writing, where there is something to write to.
    pub(crate) fn existing(&mut self) -> Option<&mut Correspondence> {
        self.0.as_deref_mut()
    }
}

impl Deref for Mail {
    type Target = Correspondence;
    fn deref(&self) -> &Correspondence {
        static NONE: LazyLock<Correspondence> = LazyLock::new(Correspondence::default);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Mail {
    fn deref_mut(&mut self) -> &mut Correspondence {
        self.0.get_or_insert_default()
    }
}
