//! What samples and benchmarks share: entities to run and to measure.

pub mod figures;
pub mod market_spread;
pub mod random;
