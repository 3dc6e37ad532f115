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
#[cfg(test)]
mod tests;

pub use letter::{Cause, DeadLetter};

pub(crate) use activity::{Activities, Admission};
pub(crate) use keys::{KeyCheck, KeyLimits, KeyRecord, Keys, made_at};
pub(crate) use outbox::Outbox;
pub(crate) use parcel::Parcel;
pub(crate) use reminder::{Fired, Reminder, Reminders};
pub(crate) use retry::backoff;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A record's field as bytes: with names, because it persists.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    // Plain structs of numbers, strings and bytes, written to memory.
    rmp_serde::to_vec_named(value).expect("a record is always encodable").into()
}

/// A record's field from bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}
