//! What travels between entities, and how: the envelope today, frames and transports when silos are processes.
//!
//! The room knows nothing of what a message means, nor of who is alive. The store keeps envelopes, delivery sends them.

mod ask;
mod envelope;
mod identity;

pub(crate) use ask::{Ask, Asker, Malformed, Manner, read_id, read_uuid, write_id};
pub use envelope::{Continuation, Envelope};
pub use identity::{EntityId, PARTITIONS_DEFAULT, Partition};
