use std::time::Duration;

use crate::messaging::KeyLimits;

/// The bounds of everything that can grow, and the times after which the framework acts.
///
/// Past a bound comes a clear error, or the sender waits; never unbounded memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Calls that may wait for one entity: a caller that meets it should slow down, not queue. `#[entity(mailbox = …)]`
    /// overrides it.
    pub mailbox_calls_max: usize,
    /// Asks of one calling thread that may be on their way, waiting or running: some 500 bytes each.
    pub calls_max: usize,
    /// Notifications that may be on their way to one arbiter; past it they are dropped.
    pub notices_max: usize,
    /// The size of an entity's encoded key, for every store: some can't keep long ones.
    pub key_bytes_max: usize,
    /// The size of one entity's encoded state: it is written whole with each commit.
    pub state_bytes_max: usize,
    /// Durable messages that one turn may send.
    pub turn_messages_max: usize,
    /// The encoded arguments of one message, and a reply that is kept.
    pub message_bytes_max: usize,
    /// Unacknowledged messages of one entity.
    pub outbox_messages_max: usize,
    /// Reminders of one entity. The turn that would set one more is rolled back as a whole: an ask ends as `Overloaded`, nothing
    /// was changed; a durable message waits at its sender, and is tried until there is room. One that takes the place of another
    /// of its name needs no room.
    pub reminders_max: usize,
    /// Dead letters kept in one entity; when they are full, the messages that would be next wait at their senders.
    pub dead_letters_max: usize,
    /// Turns that gather behind a commit in flight before the entity waits for it.
    pub group_turns_max: usize,
    /// Bytes that gather likewise.
    pub group_bytes_max: usize,
    /// Fields that gather likewise: one write command of a store has a limit, too.
    pub group_fields_max: usize,
    /// Tries of a durable message whose handler fails before the target gives it up.
    pub attempts_max: u32,
    /// Idempotency keys remembered by one entity.
    pub keys_max: usize,
    /// How long an idempotency key is remembered: longer than anybody retries.
    pub key_window: Duration,
    /// How far in the future an idempotency key may seem to be, by clocks that differ.
    pub key_skew: Duration,
    /// The time of a call that has no timeout of its own, and of a durable message's turn.
    pub timeout_default: Duration,
    /// How long an activation may be idle. `#[entity(idle = …)]` overrides it.
    pub idle: Duration,
    /// How long a message may be unacknowledged before it is sent again.
    pub resend: Duration,
    /// How long one poll of a handler may take before the log names it.
    pub blocked_warning: Duration,
    /// How long a shutdown waits for turns and commits.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_calls_max: 1_000,
            calls_max: 100_000,
            notices_max: 100_000,
            key_bytes_max: 1_024,
            state_bytes_max: 1 << 20,
            turn_messages_max: 1_000,
            message_bytes_max: 1 << 20,
            outbox_messages_max: 10_000,
            reminders_max: 1_000,
            dead_letters_max: 100,
            group_turns_max: 1_024,
            group_bytes_max: 4 << 20,
            group_fields_max: 3_000,
            attempts_max: 10,
            keys_max: 10_000,
            key_window: Duration::from_secs(600),
            key_skew: Duration::from_secs(10),
            timeout_default: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            resend: Duration::from_secs(5),
            blocked_warning: Duration::from_millis(100),
            drain: Duration::from_secs(25),
        }
    }
}

impl Limits {
    pub(crate) fn keys(&self) -> KeyLimits {
        KeyLimits { window_ms: millis(self.key_window), skew_ms: millis(self.key_skew), count_max: self.keys_max }
    }
}

/// A duration in whole milliseconds, the unit of records and ticks.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
