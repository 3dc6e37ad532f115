use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::mutant::Mutant;

/// A clock in ms that rises, also while the machine is suspended.
pub(crate) type BootClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How long a renewal lasts, from when it was *sent*. Others may declare a silo dead 1.5 s after its renewal arrived: it
/// has stopped serving before, by this much for the grain of two clocks and their drift.
pub(crate) const HOLDS_MS: u64 = 1_490;

/// Whether this silo may still answer for its entities: its last confirmed renewal was sent a moment ago.
///
/// Ask it *after* the last look at an entity's state: what was true when the lease held may be told.
pub(crate) struct Lease {
    /// When, by the clock, and never 0: see [`NEVER`] and [`ALWAYS`].
    sent: AtomicU64,
    clock: BootClock,
}

const NEVER: u64 = 0;
const ALWAYS: u64 = u64::MAX;

impl Lease {
    /// One that is yet to be confirmed.
    pub(crate) fn new(clock: BootClock) -> Self {
        Self { sent: AtomicU64::new(NEVER), clock }
    }

    /// For a silo without a cluster: there is nobody who could take over. It reads no clock.
    pub(crate) fn unlimited() -> Self {
        Self { sent: AtomicU64::new(ALWAYS), clock: Arc::new(|| 0) }
    }

    /// Whether what was read before may leave.
    pub(crate) fn holds(&self) -> bool {
        match self.sent.load(Ordering::Acquire) {
            ALWAYS => true,
            _ if Mutant::LeaseIgnored.is_planted() => true,
            NEVER => false,
            sent => (self.clock)().saturating_sub(sent) < HOLDS_MS,
        }
    }

    /// The store confirmed a renewal that was sent then.
    pub(crate) fn confirm(&self, sent: u64) {
        self.sent.fetch_max(sent.clamp(NEVER + 1, ALWAYS - 1), Ordering::AcqRel);
    }

    /// This life of the silo is over. The next one begins with its own first renewal.
    pub(crate) fn revoke(&self) {
        self.sent.store(NEVER, Ordering::Release);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sent.load(Ordering::Acquire) {
            ALWAYS => f.write_str("Lease(unlimited)"),
            NEVER => f.write_str("Lease(none)"),
            sent => write!(f, "Lease(sent {} ms ago)", (self.clock)().saturating_sub(sent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> (Lease, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(10_000));
        let clock = now.clone();
        (Lease::new(Arc::new(move || clock.load(Ordering::Relaxed))), now)
    }

    #[test]
    fn it_holds_for_as_long_as_nobody_can_take_over() {
        let (lease, now) = lease();
        assert!(!lease.holds(), "nothing was confirmed");
        lease.confirm(10_000);
        now.store(11_489, Ordering::Relaxed);
        assert!(lease.holds());
        now.store(11_490, Ordering::Relaxed);
        assert!(!lease.holds());
    }

    #[test]
    fn an_older_confirmation_takes_nothing_back() {
        let (lease, now) = lease();
        lease.confirm(10_000);
        lease.confirm(9_000);
        now.store(11_000, Ordering::Relaxed);
        assert!(lease.holds());
    }

    #[test]
    fn a_revoked_one_ends_at_once() {
        let (lease, _) = lease();
        lease.confirm(10_000);
        lease.revoke();
        assert!(!lease.holds());
        assert!(Lease::unlimited().holds());
    }
}
