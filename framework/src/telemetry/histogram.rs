use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BINS: usize = 48;

/// How often something took how long, in bins whose upper edges are powers of two nanoseconds: percentiles are such
/// edges, not exact. Adding two histograms is lawful: in any order, the sum is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bins: [u64; BINS],
}

impl Histogram {
    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// The upper edge of the bin in which this share (0.0 to 1.0) of all is reached; `None` when nothing was recorded.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bin, recorded) in self.bins.iter().enumerate() {
            seen += recorded;
            if seen >= wanted && count > 0 {
                return Some(Duration::from_nanos(1 << bin));
            }
        }
        None
    }

    pub(crate) fn empty() -> Self {
        Self { bins: [0; BINS] }
    }
}

/// A histogram that is being filled, by one thread.
#[derive(Debug)]
pub(crate) struct Recorder([AtomicU64; BINS]);

impl Recorder {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; BINS])
    }

    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let bin = (u64::BITS - (nanos - 1).leading_zeros()) as usize;
        self.0[bin.min(BINS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, sum: &mut Histogram) {
        for (bin, recorded) in sum.bins.iter_mut().zip(&self.0) {
            *bin += recorded.load(Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_edges_of_powers_of_two() {
        let recorder = Recorder::new();
        for nanos in [1, 2, 3, 4, 1000] {
            recorder.record(Duration::from_nanos(nanos));
        }
        let mut histogram = Histogram::empty();
        recorder.add_to(&mut histogram);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_nanos(4)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_nanos(1024)));
        assert_eq!(Histogram::empty().quantile(0.5), None);
    }
}
