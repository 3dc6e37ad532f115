//! The cluster in one thread, under virtual time.

pub mod chance;
pub mod mutants;
pub mod scenarios;
