//! Load that waits for answers: so many calls are on their way at a time, and the next one leaves when one has come back. It
//! finds how much there can be.

use std::future::Future;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::Sample;

/// Makes so many calls, `window` at a time, from this thread. `call` makes the next one, and says whether it succeeded.
pub async fn closed_loop<F: Future<Output = bool>>(
    operations: u64,
    window: usize,
    mut call: impl FnMut(u64) -> F,
) -> Sample {
    let mut calls = FuturesUnordered::new();
    let (mut sent, mut failed) = (0, 0_u64);
    let started = Instant::now();
    loop {
        while sent < operations && calls.len() < window {
            calls.push(call(sent));
            sent += 1;
        }
        match calls.next().await {
            Some(succeeded) => failed += u64::from(!succeeded),
            None => break,
        }
    }
    let mut sample = Sample::new(operations, started.elapsed());
    sample.thrown_away = (failed > 0).then(|| format!("{failed} of {operations} calls failed"));
    sample
}
