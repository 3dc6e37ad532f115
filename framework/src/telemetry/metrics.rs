use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::Histogram;
use crate::telemetry::histogram::Recorder;

/// Names each thing that is counted once, for the shard, the snapshot and an exporter.
macro_rules! counters { ($($(#[$doc:meta])* $field:ident $variant:ident),* $(,)?) => {
    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Counter { $($variant),* }

    /// What a silo did since it started.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Metrics {
        $($(#[$doc])* pub $field: u64,)*
        /// How long calls waited in a mailbox. Sampled: every 32nd turn, and every one that commits.
        pub queue_time: Histogram,
        /// How long turns ran. Sampled like `queue_time`.
        pub run_time: Histogram,
        /// How long commits took, from hand-over to answer.
        pub commit_time: Histogram,
    }

    impl Metrics {
        /// Every counter with its name, for an exporter.
        pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
            [$((concat!("grange_", stringify!($field), "_total"), self.$field)),*].into_iter()
        }

        pub(crate) fn sum<'a>(shards: impl Iterator<Item = &'a Shard>) -> Self {
            let mut sum = Self {
                $($field: 0,)*
                queue_time: Histogram::empty(),
                run_time: Histogram::empty(),
                commit_time: Histogram::empty(),
            };
            for shard in shards {
                $(sum.$field += shard.counts[Counter::$variant as usize].load(Ordering::Relaxed);)*
                shard.queue_time.add_to(&mut sum.queue_time);
                shard.run_time.add_to(&mut sum.run_time);
                shard.commit_time.add_to(&mut sum.commit_time);
            }
            sum
        }
    }

    const COUNTERS: usize = [$(Counter::$variant),*].len();
} }

counters! {
    /// Turns that ended with a value.
    turns_done TurnDone,
    /// Turns that ended with the handler's `Err`.
    turns_rejected TurnRejected,
    /// Turns that panicked.
    turns_panicked TurnPanicked,
    /// Turns that were ended at their limit.
    turns_expired TurnExpired,
    /// Turns that passed a limit of the framework and were rolled back.
    turns_too_large TurnTooLarge,
    /// Calls refused because a mailbox or a silo was full.
    calls_overloaded CallOverloaded,
    /// Calls refused because they would have waited for themselves.
    calls_cyclic CallCyclic,
    /// Calls whose caller went away before they started.
    calls_abandoned CallAbandoned,
    /// Asks answered with an outcome recorded before.
    calls_repeated CallRepeated,
    /// Commits that landed.
    commits Commit,
    /// Commits that were refused or whose fate is unknown.
    commits_failed CommitFailed,
    /// Entities brought into memory.
    activations Activation,
    /// Entities that left memory.
    deactivations Deactivation,
    /// Durable messages handed to their targets, repeats included.
    messages_sent MessageSent,
    /// Durable messages applied.
    messages_applied MessageApplied,
    /// Durable messages that came again and changed nothing.
    messages_repeated MessageRepeated,
    /// Tries of durable messages that failed and will be made again.
    messages_postponed MessagePostponed,
    /// Durable messages that became dead letters.
    dead_letters DeadLetter,
    /// Times a handler blocked its arbiter.
    blocked Blocked,
}

/// The part of the metrics that one arbiter fills.
#[derive(Debug)]
pub(crate) struct Shard {
    counts: [AtomicU64; COUNTERS],
    queue_time: Recorder,
    run_time: Recorder,
    commit_time: Recorder,
}

impl Shard {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; COUNTERS],
            queue_time: Recorder::new(),
            run_time: Recorder::new(),
            commit_time: Recorder::new(),
        }
    }

    /// From any thread.
    pub(crate) fn count(&self, counter: Counter) {
        self.counts[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Only for what nobody but the arbiter itself counts: cheaper, since no other thread adds.
    pub(crate) fn count_own(&self, counter: Counter) {
        let count = &self.counts[counter as usize];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn turn_took(&self, queued: Duration, ran: Duration) {
        self.queue_time.record(queued);
        self.run_time.record(ran);
    }

    pub(crate) fn commit_took(&self, took: Duration) {
        self.commit_time.record(took);
    }
}
