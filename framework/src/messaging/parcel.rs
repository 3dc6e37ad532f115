use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::wire::{EntityId, Envelope};

/// What travels between the sender and the target of durable messages, inside a process or between silos.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Parcel {
    /// A message, to its target.
    Message {
        envelope: Arc<Envelope>,
        /// It may have been tried before.
        again: bool,
        /// The life of the sender's store in which its activation found the message: one in an older life may have lost
        /// it.
        life: u64,
        /// It came from another silo.
        #[serde(skip_serializing, default = "yes")]
        far: bool,
    },
    /// To the sender: `by` has committed everything up to this number.
    Acknowledge {
        sender: EntityId,
        by: EntityId,
        sequence: u64,
        /// The life of the store of whoever committed it.
        life: u64,
    },
    /// To the sender: `by` can't run this message now; start again from it after this many ms.
    Later { sender: EntityId, by: EntityId, sequence: u64, after: Option<u64> },
    /// To the target: the sender has nothing left for it up to this number, and its store knows; the record of it can go.
    Forget {
        sender: EntityId,
        target: EntityId,
        sequence: u64,
        /// The life of the sender's store.
        life: u64,
    },
    /// To an entity: an operator has seen to this dead letter.
    DropLetter { entity: EntityId, number: u64 },
    /// To an entity: an operator wants this dead letter tried again.
    ReplayLetter { entity: EntityId, number: u64, message: Arc<Envelope> },
    /// To an entity: look whether something of yours is due.
    Wake { entity: EntityId },
}

/// What is read from the wire came over it.
fn yes() -> bool {
    true
}

impl Parcel {
    /// The entity that says it.
    pub(crate) fn speaker(&self) -> Option<&EntityId> {
        match self {
            Self::Message { envelope, .. } => Some(&envelope.from),
            Self::Acknowledge { by, .. } | Self::Later { by, .. } => Some(by),
            Self::Forget { sender, .. } => Some(sender),
            Self::DropLetter { .. } | Self::ReplayLetter { .. } | Self::Wake { .. } => None,
        }
    }

    /// Whom it is for.
    pub(crate) fn addressee(&self) -> &EntityId {
        match self {
            Self::Message { envelope, .. } => &envelope.to,
            Self::Acknowledge { sender, .. } | Self::Later { sender, .. } => sender,
            Self::Forget { target, .. } => target,
            Self::Wake { entity } | Self::DropLetter { entity, .. } | Self::ReplayLetter { entity, .. } => entity,
        }
    }
}
