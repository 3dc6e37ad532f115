use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::EntityId;

/// A durable message, as its sender's outbox keeps it and as it travels: everything that a silo needs to deliver it.
///
/// Encoded with names, because it persists and may meet another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// This message, for ever: the idempotency key of its effect.
    pub id: Uuid,
    /// The message or call whose turn staged this one; nil when that was an ask without a key.
    pub cause: Uuid,
    /// The first message of the chain that led here.
    pub root: Uuid,
    /// The entity that staged it.
    pub from: EntityId,
    /// The entity that is to apply it.
    pub to: EntityId,
    /// The sender's counter: it rises with every message that the entity stages, to whomever, and jumps above all
    /// that were given before when the sender's store begins a new life.
    pub sequence: u64,
    /// The number of the message before this one from the same sender to the same target that is still stored; 0 opens
    /// the stream anew. The target applies a message only after its predecessor.
    pub previous: u64,
    /// The handler's name on the wire.
    pub method: String,
    /// The handler's arguments, an array that tolerates more and fewer at its end.
    pub arguments: Bytes,
    /// Where the outcome goes.
    pub then: Option<Continuation>,
}

/// The handler that is given the outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The entity that continues.
    pub to: EntityId,
    /// Its handler.
    pub method: String,
    /// That handler's arguments; the outcome is appended.
    pub arguments: Bytes,
}
