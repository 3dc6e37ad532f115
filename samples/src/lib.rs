//! What the samples are made of, so that tests can use it.

pub mod bank;
