//! Load that does not wait for answers: calls leave on a schedule, and each latency counts from the moment at which its
//! call *should* have left. So a stall shows in all the calls that it delayed, and not in one.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, Stream};

use crate::{Latencies, Sample};

/// A call that left so late counts as late: a sender that has a thread of its own is in time, or the machine is too small.
pub const LATE: Duration = Duration::from_millis(1);

/// When more than this share of the calls left late, the sender could not keep its schedule: the run is thrown away.
const LATE_SHARE_MAX: f64 = 0.01;

/// So long after the last call all have to be answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends so many calls a second for so long, evenly spread, from this thread, which is busy all the time: a timer would be a
/// millisecond late. `call` makes the next one, and says whether it succeeded.
///
/// The latencies begin after the first tenth, when everything is warm.
pub async fn open_loop<F: Future<Output = bool>>(rate: f64, lasting: Duration, call: impl FnMut(u64) -> F) -> Sample {
    beside_other_work(rate, lasting, LATE, call).await
}

/// The same from a thread that has other work, too, such as a silo's: a call is late only when it left so late. What it waited
/// until then is in its latency all the same.
pub async fn beside_other_work<F: Future<Output = bool>>(
    rate: f64,
    lasting: Duration,
    late: Duration,
    mut call: impl FnMut(u64) -> F,
) -> Sample {
    let mut calls = FuturesUnordered::new();
    let warm = Instant::now() + lasting / 10;
    let mut seen = Seen { latencies: Latencies::default(), warm, late_after: late, late: 0, failed: 0 };
    let (started, total) = (Instant::now(), (rate * lasting.as_secs_f64()) as u64);
    let due = |number: u64| started + Duration::from_secs_f64(number as f64 / rate);
    let mut sent = 0;
    while sent < total {
        let now = Instant::now();
        while sent < total && due(sent) <= now {
            let intended = due(sent);
            seen.late += u64::from(now > intended + late);
            let answer = call(sent);
            calls.push(async move { (answer.await, intended) });
            sent += 1;
        }
        seen.take(&mut calls);
        tokio::task::yield_now().await;
    }
    let elapsed = started.elapsed();
    let given_up = Instant::now() + PATIENCE;
    while !calls.is_empty() && Instant::now() < given_up {
        seen.take(&mut calls);
        tokio::task::yield_now().await;
    }
    let thrown_away = seen.complaint(total, lasting, elapsed, calls.len() as u64);
    Sample { operations: total, elapsed, latencies: Some(seen.latencies), thrown_away }
}

/// What has come back so far.
struct Seen {
    latencies: Latencies,
    warm: Instant,
    late_after: Duration,
    late: u64,
    failed: u64,
}

impl Seen {
    /// Takes every answer that is there.
    fn take<F: Future<Output = (bool, Instant)>>(&mut self, calls: &mut FuturesUnordered<F>) {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some((succeeded, intended))) = pin!(&mut *calls).poll_next(&mut context) {
            self.failed += u64::from(!succeeded);
            if intended >= self.warm {
                self.latencies.record(intended.elapsed());
            }
        }
    }

    /// Why this run does not count, if it does not.
    fn complaint(&self, total: u64, lasting: Duration, elapsed: Duration, unanswered: u64) -> Option<String> {
        let late = self.late as f64 / total as f64;
        if elapsed > lasting.mul_f64(1.0 + LATE_SHARE_MAX) {
            return Some(format!(
                "the sender fell behind: it took {elapsed:.2?} for what should leave in {lasting:.2?}"
            ));
        }
        if late > LATE_SHARE_MAX {
            return Some(format!(
                "the sender fell behind: {:.1} % of the calls left more than {:?} late",
                late * 100.0,
                self.late_after
            ));
        }
        let lost = self.failed + unanswered;
        (lost > 0).then(|| format!("{lost} of {total} calls failed or were not answered"))
    }
}
