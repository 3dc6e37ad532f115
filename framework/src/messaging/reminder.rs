use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::{Continuation, EntityId};

/// A message that waits for its time, kept with the entity that will send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reminder {
    /// When it is due, in ms since the epoch.
    pub(crate) due: u64,
    /// How often it repeats, in ms.
    pub(crate) period: Option<u64>,
    /// How often it fired.
    pub(crate) fires: u64,
    pub(crate) to: EntityId,
    pub(crate) method: String,
    pub(crate) arguments: Bytes,
    pub(crate) then: Option<Continuation>,
}

/// A reminder whose time has come: a message to stage, in the same commit as what becomes of the reminder.
#[derive(Debug)]
pub(crate) struct Fired {
    pub(crate) name: String,
    pub(crate) reminder: Reminder,
    /// The reminder as it goes on; `None`: it is over.
    pub(crate) next: Option<Reminder>,
}

/// The reminders of an entity, by name.
#[derive(Debug, Default)]
pub(crate) struct Reminders(BTreeMap<String, Reminder>);

impl Reminders {
    pub(crate) fn set(&mut self, name: String, reminder: Reminder) {
        self.0.insert(name, reminder);
    }

    pub(crate) fn cancel(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first one is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.0.values().map(|reminder| reminder.due).min()
    }

    /// Takes what is due, the earliest first. Periods that passed meanwhile are made up for by this one firing.
    pub(crate) fn fire(&mut self, now: u64) -> Vec<Fired> {
        let mut due: Vec<(String, Reminder)> = self
            .0
            .iter()
            .filter(|(_, reminder)| reminder.due <= now)
            .map(|(name, reminder)| (name.clone(), reminder.clone()))
            .collect();
        due.sort_by_key(|(_, reminder)| reminder.due);
        let mut fired = Vec::with_capacity(due.len());
        for (name, reminder) in due {
            let next = reminder.period.map(|period| {
                let period = period.max(1);
                let passed = (now - reminder.due) / period + 1;
                Reminder {
                    due: reminder.due.saturating_add(passed.saturating_mul(period)),
                    fires: reminder.fires + 1,
                    ..reminder.clone()
                }
            });
            match &next {
                Some(next) => self.0.insert(name.clone(), next.clone()),
                None => self.0.remove(&name),
            };
            fired.push(Fired { name, reminder, next });
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reminder(due: u64, period: Option<u64>) -> Reminder {
        Reminder {
            due,
            period,
            fires: 0,
            to: EntityId::new("A", "a"),
            method: "tick".into(),
            arguments: Bytes::new(),
            then: None,
        }
    }

    #[test]
    fn a_reminder_fires_once_and_is_over() {
        let mut reminders = Reminders::default();
        reminders.set("x".into(), reminder(100, None));
        assert!(reminders.fire(99).is_empty());
        let fired = reminders.fire(100);
        assert_eq!((fired.len(), fired[0].next.is_none(), reminders.len()), (1, true, 0));
    }

    #[test]
    fn missed_periods_are_made_up_for_by_one_firing() {
        let mut reminders = Reminders::default();
        reminders.set("x".into(), reminder(100, Some(10)));
        assert_eq!(reminders.fire(137).len(), 1);
        assert_eq!(reminders.next_due(), Some(140));
    }
}
