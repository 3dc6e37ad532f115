//! What happened, in virtual time.

use std::fmt;
use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3Default;

/// So many events are kept for people; all of them count in the hash.
const KEPT: usize = 20_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// In virtual ms since the simulation began.
    pub at_ms: u64,
    /// Where: a process, or the simulation itself.
    pub at: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  {:<9} {}", self.at_ms, self.at, self.what)
    }
}

/// Everything that happened in a run: the same for the same seed.
#[derive(Clone, Default)]
pub struct Timeline {
    events: std::collections::VecDeque<Event>,
    hasher: Xxh3Default,
    count: u64,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timeline({} events, {:016x})", self.count, self.hash())
    }
}

impl Timeline {
    pub(super) fn note(&mut self, event: Event) {
        self.hasher.write_u64(event.at_ms);
        self.hasher.write(event.at.as_bytes());
        self.hasher.write(event.what.as_bytes());
        self.hasher.write_u8(0xff);
        self.count += 1;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Of all events, in their order.
    pub fn hash(&self) -> u64 {
        self.hasher.digest()
    }

    /// How many there were.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last ones.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}
