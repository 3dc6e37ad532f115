use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Latencies;

/// What a row of a table is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What the machine, or Redis, allows: the same work with nothing around it.
    Limit,
    /// grange.
    Grange,
    /// Another framework.
    Peer,
}

/// One thing that is measured in turn with others.
pub struct Case<'a> {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) run: Box<dyn FnMut(u64) -> Sample + 'a>,
}

impl<'a> Case<'a> {
    /// A case: `run` does about so many operations and says how many they were, and how long they took.
    pub fn new(role: Role, name: impl Into<String>, run: impl FnMut(u64) -> Sample + 'a) -> Self {
        Self { name: name.into(), role, run: Box::new(run) }
    }

    /// A case of what the machine allows.
    pub fn limit(name: impl Into<String>, run: impl FnMut(u64) -> Sample + 'a) -> Self {
        Self::new(Role::Limit, name, run)
    }

    /// A case of grange.
    pub fn grange(name: impl Into<String>, run: impl FnMut(u64) -> Sample + 'a) -> Self {
        Self::new(Role::Grange, name, run)
    }

    /// A case of another framework.
    pub fn peer(name: impl Into<String>, run: impl FnMut(u64) -> Sample + 'a) -> Self {
        Self::new(Role::Peer, name, run)
    }

    /// What it is called in its table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does about so many operations.
    pub fn run(&mut self, operations: u64) -> Sample {
        (self.run)(operations)
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What one case did in one round.
#[derive(Debug, Clone)]
pub struct Sample {
    /// How many operations.
    pub operations: u64,
    /// How long all of them took together.
    pub elapsed: Duration,
    /// How long each took, where that was measured.
    pub latencies: Option<Latencies>,
    /// Why this round does not count, if it does not.
    pub thrown_away: Option<String>,
}

impl Sample {
    /// So many operations in so much time.
    pub fn new(operations: u64, elapsed: Duration) -> Self {
        Self { operations, elapsed, latencies: None, thrown_away: None }
    }

    /// The same, with how long each took.
    pub fn with_latencies(self, latencies: Latencies) -> Self {
        Self { latencies: Some(latencies), ..self }
    }

    /// Does this, and looks at the clock before and after.
    pub fn timed<T>(operations: u64, work: impl FnOnce() -> T) -> Self {
        let started = Instant::now();
        std::hint::black_box(work());
        Self::new(operations, started.elapsed())
    }
}
