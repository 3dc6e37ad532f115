use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The outcome of an idempotent ask, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    /// When it was recorded, in ms since the epoch: it is kept for the window from then on.
    pub(crate) at: u64,
    /// Of the method and the arguments.
    pub(crate) digest: u64,
    /// The encoded outcome, `Err` included.
    pub(crate) outcome: Bytes,
}

/// What to do with an ask under a key. Asked at the start of its turn, so that a copy which ran just before is seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyCheck {
    /// Never seen: run it.
    Fresh,
    /// Seen: this was its outcome.
    Repeat(Bytes),
    /// The key stands for another call.
    Reused,
    /// Its time is out of the window: it may have been forgotten, so it is refused.
    TooOld(String),
    /// As many as may be remembered are.
    Full,
}

/// The outcomes of idempotent asks, kept by time and bounded by number.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    records: BTreeMap<Uuid, KeyRecord>,
    /// Keys made before this are refused. Only rises, and never because of a key from the future.
    floor: u64,
}

/// How long keys are remembered, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyLimits {
    pub(crate) window_ms: u64,
    pub(crate) skew_ms: u64,
    pub(crate) count_max: usize,
}

impl Keys {
    pub(crate) fn restore(&mut self, key: Uuid, record: KeyRecord) {
        self.records.insert(key, record);
    }

    pub(crate) fn restore_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    pub(crate) fn check(&self, key: Uuid, digest: u64, now: u64, limits: &KeyLimits) -> KeyCheck {
        if let Some(record) = self.records.get(&key) {
            return if record.digest == digest { KeyCheck::Repeat(record.outcome.clone()) } else { KeyCheck::Reused };
        }
        let Some(made) = made_at(key) else {
            return KeyCheck::TooOld("it is no version 7 UUID, so its age does not show: use `Uuid::now_v7()`".into());
        };
        if made > now.saturating_add(limits.skew_ms) {
            return KeyCheck::TooOld(format!("it was made {} ms in the future: check the clocks", made - now));
        }
        let oldest = self.floor.max(now.saturating_sub(limits.window_ms));
        if made < oldest {
            return KeyCheck::TooOld(format!(
                "it was made {} ms before the window of {} ms",
                oldest - made,
                limits.window_ms
            ));
        }
        if self.records.len() >= limits.count_max { KeyCheck::Full } else { KeyCheck::Fresh }
    }

    pub(crate) fn record(&mut self, key: Uuid, record: KeyRecord) {
        self.records.insert(key, record);
    }

    /// Forgets at most `limit` keys whose time is over, and says which, and the floor that now covers them.
    pub(crate) fn expire(&mut self, now: u64, limits: &KeyLimits, limit: usize) -> (Vec<Uuid>, u64) {
        let oldest = now.saturating_sub(limits.window_ms);
        // A key's own time orders the map; its record may be younger by the skew, never older than the key by more.
        let expired: Vec<Uuid> = self
            .records
            .iter()
            .take_while(|(key, _)| made_at(**key).is_some_and(|made| made < oldest))
            .filter(|(_, record)| record.at < oldest)
            .map(|(key, _)| *key)
            .take(limit)
            .collect();
        for key in &expired {
            self.records.remove(key);
            self.floor = self.floor.max(made_at(*key).map_or(0, |made| made + 1).min(now));
        }
        (expired, self.floor)
    }
}

/// When a version 7 UUID was made, in ms since the epoch.
pub(crate) fn made_at(key: Uuid) -> Option<u64> {
    if key.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = key.get_timestamp()?.to_unix();
    Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: KeyLimits = KeyLimits { window_ms: 1000, skew_ms: 100, count_max: 2 };

    fn key(at_ms: u64, salt: u8) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(at_ms, &[salt; 10]).into_uuid()
    }

    fn record(at: u64) -> KeyRecord {
        KeyRecord { at, digest: 7, outcome: Bytes::from_static(b"x") }
    }

    #[test]
    fn a_key_stands_for_one_call_and_repeats_its_outcome() {
        let mut keys = Keys::default();
        assert_eq!(keys.check(key(5000, 1), 7, 5000, &LIMITS), KeyCheck::Fresh);
        keys.record(key(5000, 1), record(5000));
        assert_eq!(keys.check(key(5000, 1), 7, 5500, &LIMITS), KeyCheck::Repeat(Bytes::from_static(b"x")));
        assert_eq!(keys.check(key(5000, 1), 8, 5500, &LIMITS), KeyCheck::Reused);
    }

    #[test]
    fn what_may_have_been_forgotten_is_refused() {
        let mut keys = Keys::default();
        keys.record(key(5000, 1), record(5000));
        let (expired, floor) = keys.expire(7000, &LIMITS, 10);
        assert_eq!((expired, floor), (vec![key(5000, 1)], 5001));
        // Also when the clock goes back.
        assert!(matches!(keys.check(key(5000, 1), 7, 5000, &LIMITS), KeyCheck::TooOld(_)));
        assert!(matches!(keys.check(key(6500, 1), 7, 9000, &LIMITS), KeyCheck::TooOld(_)));
    }

    #[test]
    fn a_key_from_the_future_or_without_age_is_refused_and_does_not_become_the_floor() {
        let mut keys = Keys::default();
        assert!(matches!(keys.check(key(90_000, 1), 7, 5000, &LIMITS), KeyCheck::TooOld(_)));
        assert!(matches!(keys.check(Uuid::nil(), 7, 5000, &LIMITS), KeyCheck::TooOld(_)));
        keys.record(key(5050, 1), record(5000));
        assert_eq!(keys.expire(5000, &LIMITS, 10), (vec![], 0));
    }

    #[test]
    fn a_full_table_refuses_before_running() {
        let mut keys = Keys::default();
        keys.record(key(5000, 1), record(5000));
        keys.record(key(5000, 2), record(5000));
        assert_eq!(keys.check(key(5000, 3), 7, 5000, &LIMITS), KeyCheck::Full);
        assert!(matches!(keys.check(key(5000, 2), 7, 5000, &LIMITS), KeyCheck::Repeat(_)));
    }
}
