//! The parts of a silo that decide and do nothing, under everything that may happen around them.

mod correspondence;
mod interleavings;
mod pair;
