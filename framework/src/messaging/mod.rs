//! What makes a message arrive, once and in order: small types over numbers, which decide and do nothing.
//!
//! * [`Outbox`]: messages that committed turns staged and nobody acknowledged yet.
//! * [`Activities`]: the last message applied from each partner, Helland's activities.
//! * [`Keys`]: the outcomes of idempotent asks.
//! * [`Reminders`]: messages that wait for their time.
//! * [`Parcel`]: what travels between the two ends.
//!
//! Two laws: nothing leaves the outbox that is not committed; "seen" is written in the same commit as "applied".

mod activity;
mod keys;
mod letter;
mod outbox;
mod parcel;
mod reminder;
mod retry;

pub use letter::{Cause, DeadLetter};

pub(crate) use activity::{Activities, Admission};
pub(crate) use keys::{KeyCheck, KeyLimits, KeyRecord, Keys, made_at};
pub(crate) use outbox::Outbox;
pub(crate) use parcel::Parcel;
pub(crate) use reminder::{Fired, Reminder, Reminders};
pub(crate) use retry::backoff;

use std::cell::RefCell;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is kept of the room in which records are encoded: most are far smaller.
const SCRATCH_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// A message is four records: growing a buffer for each was a fifth of all that it allocates.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A record's field as bytes: with names, because it persists.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        // Plain structs of numbers, strings and bytes, written to memory.
        rmp_serde::encode::write_named(scratch, value).expect("a record is always encodable");
        let record = Bytes::copy_from_slice(scratch);
        scratch.shrink_to(SCRATCH_BYTES_MAX);
        record
    })
}

/// A record's field from bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}
