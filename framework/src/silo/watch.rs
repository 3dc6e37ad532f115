use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::clock::BEAT;
use crate::cluster::{wake_all, wake_overdue};
use crate::entity::{MethodInfo, Tick};
use crate::silo::shared::Shared;
use crate::telemetry::Counter;

/// What an arbiter is doing, for the thread that watches: the handler that it polls and since when, in one word.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

const METHOD_BITS: u32 = 20;

impl Pulse {
    /// A handler is about to be polled.
    pub(crate) fn enter(&self, method: &MethodInfo, now: Tick) {
        self.0.store(now << METHOD_BITS | u64::from(method.number()), Ordering::Relaxed);
    }

    /// What it was before: handlers nest when one asks another on its own arbiter.
    pub(crate) fn before(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// It gave the arbiter back.
    pub(crate) fn leave(&self, before: u64) {
        self.0.store(before, Ordering::Relaxed);
    }

    fn read(&self) -> Option<(u64, Tick, u32)> {
        let word = self.0.load(Ordering::Relaxed);
        (word != 0).then_some((word, word >> METHOD_BITS, (word & ((1 << METHOD_BITS) - 1)) as u32))
    }
}

/// The clock's thread: moves the coarse clock, ends what has waited too long, and watches for handlers that block
/// their arbiter. A thread of its own, so that no handler can starve it.
pub(crate) fn run(shared: &Arc<Shared>, stop: &Receiver<()>) {
    let mut watch = Watch::new(shared.clone());
    while stop.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        watch.beat();
    }
    shared.deadlines.close();
    wake_all();
}

/// What looks at a silo with every beat of its clock.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    warned: Vec<u64>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { warned: vec![0; shared.arbiters.len()], shared }
    }

    pub(crate) fn beat(&mut self) {
        let Self { shared, warned } = self;
        let now = shared.clock.advance();
        shared.deadlines.sweep(now);
        wake_overdue();
        for (arbiter, warned) in shared.arbiters.iter().zip(warned) {
            let Some((word, since, method)) = arbiter.pulse.read() else { continue };
            let blocked = now.saturating_sub(since);
            if word == *warned || u128::from(blocked) < shared.limits.blocked_warning.as_millis() {
                continue;
            }
            *warned = word;
            arbiter.shard.count(Counter::Blocked);
            let handler = MethodInfo::by_number(method).map_or_else(|| "?".into(), ToString::to_string);
            tracing::warn!(
                target: "grange",
                handler,
                blocked_ms = blocked,
                "a handler blocks its arbiter, and every entity on it waits: await instead of blocking, or move the \
                 work to `tokio::task::spawn_blocking`"
            );
        }
    }
}
