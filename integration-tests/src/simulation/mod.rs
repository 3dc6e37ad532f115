//! The cluster in one thread, under virtual time.

pub mod actor;
pub mod chance;
pub mod mutants;
pub mod stories;
