//! Choices that a seed repeats.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Steele, Lea and Flood's SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below the bound, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// An index below the length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A time from the one to the other.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX - 1);
        least + Duration::from_micros(self.below(span + 1))
    }

    /// Another sequence, for a part that makes its choices by itself.
    pub fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }
}

/// `GRANGE_SEED`, or another one at every run.
pub fn seed() -> u64 {
    number("GRANGE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// A number in the environment.
///
/// # Panics
/// When it is there and no number.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`: it must be a number")))
}

/// Whether tests are to take their time: `GRANGE_LONG=1`.
pub fn is_long() -> bool {
    number("GRANGE_LONG").is_some_and(|long| long > 0)
}
