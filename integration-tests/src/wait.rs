//! Waits that end: each has a limit, and says what did not happen.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Longer than anything takes that happens at all, also on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long to wait between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for this, for so long.
///
/// # Panics
/// When it did not happen.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Looks again and again until it sees what it wants.
///
/// # Panics
/// When it was not seen in time; shows what was seen last.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
    good: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    let mut seen = None;
    while start.elapsed() < limit {
        let Ok(found) = timeout(limit.saturating_sub(start.elapsed()), look()).await else { break };
        if good(&found) {
            return found;
        }
        seen = Some(found);
        sleep(LOOK).await;
    }
    panic!("{what}: not within {limit:?}; last seen: {seen:?}");
}
