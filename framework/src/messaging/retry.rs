/// The shortest ceiling of a pause, in ms.
const FIRST_MS: u64 = 50;
/// The longest, in ms.
const LAST_MS: u64 = 30_000;

/// How long to wait before the next try, in ms: full jitter below a ceiling that doubles with each failure (Brooker,
/// "Exponential Backoff And Jitter", 2015), so that those that failed together don't come back together.
pub(crate) fn backoff(failures: u32, random: u64) -> u64 {
    let ceiling = FIRST_MS.saturating_mul(1 << failures.min(16)).min(LAST_MS);
    1 + random % ceiling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(backoff(0, 49), 50);
        assert_eq!(backoff(1, 99), 100);
        assert!(backoff(60, u64::MAX) <= LAST_MS);
    }
}
