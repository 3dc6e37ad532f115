//! What a silo counts, and how long things took: counters and histograms that an exporter can read. It decides nothing.
//!
//! Each arbiter counts into a shard of its own, so that counting never makes two threads meet; a snapshot adds them up.

mod histogram;
mod metrics;

pub use histogram::Histogram;
pub use metrics::Metrics;

pub(crate) use metrics::{Counter, Shard};
