//! Whether what is planted is found: each mutant of the protocol must break a promise that somebody looks at.

use grange::Mutant;
use grange::testing::Faults;

use crate::simulation::chance;
use crate::simulation::stories::STORIES;

/// So many seeds are tried for one.
pub const SEEDS: u64 = 400;

/// How a mutant was found.
#[derive(Debug, Clone)]
pub struct Killed {
    /// The run that found it.
    pub by: String,
    /// What was noticed, in one line.
    pub why: String,
}

/// The first run that notices the mutant; `None`: it survives all of them.
pub fn kill(mutant: Mutant) -> Option<Killed> {
    let line = |why: &str| why.lines().next().unwrap_or_default().chars().take(120).collect();
    let told = STORIES.iter().find_map(|story| {
        let why = story.run(0, Some(mutant)).outcome.err()?;
        Some(Killed { by: format!("\"{}\"", story.name), why: line(&why) })
    });
    told.or_else(|| {
        (0..SEEDS).find_map(|seed| {
            let why = chance::run(seed, Faults::all(), Some(mutant)).outcome.err()?;
            Some(Killed { by: format!("chance, seed {seed}"), why: line(&why) })
        })
    })
}
