//! Whether what is planted is found: each mutant of the protocol must break a promise that somebody looks at.

use grange::Mutant;
use grange::testing::Faults;

use crate::simulation::chance;

/// So many seeds are tried for one.
pub const SEEDS: u64 = 400;

/// How a mutant was found.
#[derive(Debug, Clone)]
pub struct Killed {
    /// The first seed that found it.
    pub seed: u64,
    /// What was noticed, in one line.
    pub why: String,
}

/// The first run that notices the mutant; `None`: it survives all of them.
pub fn kill(mutant: Mutant) -> Option<Killed> {
    (0..SEEDS).find_map(|seed| {
        let why = chance::run(seed, Faults::all(), Some(mutant)).outcome.err()?;
        let line = why.lines().next().unwrap_or_default();
        Some(Killed { seed, why: line.chars().take(120).collect() })
    })
}
