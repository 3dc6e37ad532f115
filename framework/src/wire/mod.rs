//! What travels between entities, and how: the envelope today, frames and transports when silos are processes.
//!
//! The room knows nothing of what a message means, nor of who is alive. The store keeps envelopes, delivery sends them.

mod envelope;
mod identity;

pub use envelope::{Continuation, Envelope};
pub use identity::{EntityId, PARTITIONS_DEFAULT, Partition};
