//! What the benchmarks share: rounds that interleave what is compared, and medians.
//!
//! The machine is shared and drifts, so a figure is a ratio of two things measured in turn, in the same run.

#![allow(clippy::disallowed_methods)] // real time is what is measured

use std::time::{Duration, Instant};

/// Rounds of each thing compared.
pub const ROUNDS: usize = 11;

/// The medians of what `rounds` measured, contender by contender; the contenders take turns within each round.
pub fn interleaved<const N: usize>(rounds: usize, mut measure: impl FnMut(usize) -> Duration) -> [Vec<Duration>; N] {
    let mut taken: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..=rounds {
        for (contender, taken) in taken.iter_mut().enumerate() {
            let took = measure(contender);
            if round > 0 {
                taken.push(took); // the first round warms up
            }
        }
    }
    taken.iter_mut().for_each(|taken| taken.sort());
    taken
}

/// The middle one.
pub fn median(taken: &[Duration]) -> Duration {
    taken[taken.len() / 2]
}

/// How long this took.
pub fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    std::hint::black_box(run());
    started.elapsed()
}

/// A line of a table: the median of each operation, the range, and the ratio to the first contender.
pub fn print_row(name: &str, taken: &[Duration], operations: u32, base: &[Duration]) {
    let each = median(taken) / operations;
    let (low, high) = (taken[0] / operations, taken[taken.len() - 1] / operations);
    let ratio = median(taken).as_secs_f64() / median(base).as_secs_f64();
    println!("{name:<52} {each:>10.1?}  ({low:.1?} – {high:.1?})  {ratio:>5.2}×");
}

/// The resident memory of this process, in bytes.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0) * 1024
}
