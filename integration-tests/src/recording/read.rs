use std::fs;
use std::path::Path;

use grange::prelude::Uuid;

use crate::recording::{Ended, Entry, Operation};

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Which line of the journal: no two are the same, and a later line did not happen before.
    pub line: u64,
    /// In microseconds.
    pub at: u64,
}

/// One ask of an operation, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The operation's number: an operation may be asked for again under its key.
    pub number: u64,
    /// What.
    pub operation: Operation,
    /// Under which idempotency key.
    pub key: Option<Uuid>,
    /// When it was asked.
    pub asked: Moment,
    /// How it ended, when, and how often the client tried again; `None`: nobody knows.
    pub ended: Option<(Moment, Ended, u32)>,
}

/// All that a client saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// In the order in which they were asked.
    pub asks: Vec<Recorded>,
}

impl Recording {
    /// Reads a journal.
    ///
    /// # Errors
    /// When it can't be read, or a line makes no sense. A last line without an end is what a kill leaves, and no error.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let entries = lines.enumerate().map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))
        });
        Self::of(entries.collect::<Result<Vec<Entry>, _>>()?)
    }

    /// From its lines.
    ///
    /// # Errors
    /// When something ended that was not asked.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Self, String> {
        let mut asks: Vec<Recorded> = Vec::new();
        // The latest ask of each operation.
        let mut open = std::collections::HashMap::new();
        for (line, entry) in (0..).zip(entries) {
            match entry {
                Entry::Asked { number, at, operation, key } => {
                    open.insert(number, asks.len());
                    asks.push(Recorded { number, operation, key, asked: Moment { line, at }, ended: None });
                }
                Entry::Ended { number, at, ended, retries } => {
                    let ask = open.remove(&number).and_then(|index| asks.get_mut(index));
                    let ask = ask.ok_or_else(|| format!("operation {number} ended and was not asked"))?;
                    ask.ended = Some((Moment { line, at }, ended, retries));
                }
            }
        }
        Ok(Self { asks })
    }
}

impl Recorded {
    /// What it was answered, if it was.
    pub fn answer(&self) -> Option<u64> {
        match self.ended {
            Some((_, Ended::Answered(value), _)) => Some(value),
            _ => None,
        }
    }

    /// Whether it had, for certain, no effect.
    pub fn is_refused(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Rejected | Ended::Failed(_), _)))
    }

    /// Whether nobody knows.
    pub fn is_unknown(&self) -> bool {
        matches!(self.ended, None | Some((_, Ended::Unknown(_), _)))
    }
}
