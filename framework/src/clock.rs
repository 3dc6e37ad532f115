//! A process's time: where it is read, and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::world::World;

/// Milliseconds of a coarse clock that only rises; one advance serves every call, so reading it costs nothing.
pub(crate) type Tick = u64;

/// How often the coarse clock moves: the error of a deadline.
pub(crate) const BEAT: Duration = Duration::from_millis(10);

/// A coarse clock that rises, for deadlines; and the wall clock, for what is stored.
pub(crate) struct Clock {
    world: World,
    started: Instant,
    ticks: AtomicU64,
}

impl Clock {
    pub(crate) fn new(world: World) -> Self {
        // From 1: 0 means "never".
        Self { world, started: Instant::now(), ticks: AtomicU64::new(1) }
    }

    pub(crate) fn tick(&self) -> Tick {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self) -> Tick {
        let ticks = self.world.since(self.started) + 1;
        self.ticks.fetch_max(ticks, Ordering::Relaxed).max(ticks)
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.world.wall()
    }

    /// The wall clock in ms since the epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// The next random number after a seed: SplitMix64 (Steele, Lea, Flood, 2014). One seed, one sequence.
pub(crate) fn scatter(seed: &AtomicU64) -> u64 {
    let mut word = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
