use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::BootClock;
use crate::store::Incarnation;
use crate::wire::Partition;

/// What a silo tells the others about itself, and what it is told from outside.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where others reach it.
    pub(crate) address: String,
    /// Its share of the partitions.
    pub(crate) weight: u32,
    /// The kinds that it hosts.
    pub(crate) kinds: Vec<String>,
    /// The version of the wire protocol.
    pub(crate) protocol: u16,
    /// Its program's version.
    pub(crate) build: String,
    /// Into how many partitions the ids are divided.
    pub(crate) partitions: Partition,
    /// How long the first join may take.
    pub(crate) join: Duration,
    /// The boot clock, or a simulation's.
    pub(crate) clock: BootClock,
    /// The only source of randomness: a fresh incarnation.
    pub(crate) fresh: Arc<dyn Fn() -> Incarnation + Send + Sync>,
    /// A mistake planted on purpose, to see that the tests find it.
    #[cfg(feature = "testing")]
    pub(crate) mutant: Option<Mutant>,
}

/// Mistakes that must be found.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A silo that was declared dead goes on as if nothing had happened.
    DeadRevives,
    /// An error of the store is taken for the death of the others.
    ErrorsKill,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, weight {}, {:?})", self.address, self.weight, self.kinds)
    }
}

/// Whether every arbiter of the silo has done something in the last two seconds. The lease is not renewed while one has
/// not: a silo that is stuck must be seen from outside.
pub(crate) type Vitals = Arc<dyn Fn() -> bool + Send + Sync>;
