//! How far two cores are from each other. The host of a virtual machine moves its processors about: now they share a cache, now
//! they don't, and what passes between threads costs several times as much for a while.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One after the other, some 0.1 ms in all.
const TURNS: u64 = 1_000;

/// So often: the shortest counts, in which neither thread was kept from running.
const TRIES: usize = 20;

/// Two threads that never meet on two cores: there is nothing to be measured.
const PATIENCE: Duration = Duration::from_secs(1);

/// What it takes until another core has seen what this one wrote, in ns; `None` on a single core.
pub(crate) fn handover() -> Option<f64> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return None;
    }
    let (line, started) = (AtomicU64::new(0), Instant::now());
    // Each thread waits for its turn, and gives the next one to the other.
    let turns = |first: u64, end: u64| {
        let mut mine = first;
        while mine < end && started.elapsed() < PATIENCE {
            for _ in 0..1_000 {
                if line.load(Ordering::Acquire) == mine {
                    line.store(mine + 1, Ordering::Release);
                    mine += 2;
                    break;
                }
                spin_loop();
            }
        }
    };
    let end = TURNS * TRIES as u64;
    let tries: Vec<Duration> = std::thread::scope(|scope| {
        scope.spawn(|| turns(1, end));
        let timed = |first: u64| {
            let started = Instant::now();
            turns(first, first + TURNS);
            started.elapsed()
        };
        (0..end).step_by(TURNS as usize).map(timed).collect()
    });
    let shortest = tries.into_iter().min().filter(|_| line.load(Ordering::Acquire) >= end)?;
    Some(shortest.as_nanos() as f64 / TURNS as f64)
}
