//! The parts of a silo that decide and do nothing, under everything that may happen around them.

mod correspondence;
mod inbox;
mod interleavings;
mod ledger;
mod pair;
