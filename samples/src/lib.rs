//! What the samples are made of, so that tests and benchmarks can use it.

pub mod bank;
pub mod figures;
pub mod market_spread;
pub mod random;

/// What the page on tests shows is compiled, and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;
