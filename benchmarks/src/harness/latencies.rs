use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(120);

/// The quantiles that are shown, and kept.
pub(crate) const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// How long each of many operations took: an HDR histogram in nanoseconds, three digits exact.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, longest, 3).expect("these bounds are valid"))
    }
}

impl Latencies {
    /// One operation more.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All of another one's.
    pub fn add(&mut self, others: &Self) {
        self.0.add(&others.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So great a share of them took no longer.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}
