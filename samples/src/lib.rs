//! What the samples are made of, so that tests can use it.

pub mod bank;

/// What the page on tests shows is compiled, and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;
