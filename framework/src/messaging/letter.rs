use serde::{Deserialize, Serialize};

use crate::wire::Envelope;

/// A durable message that ended without its effect and had no continuation to tell: kept for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The message.
    pub message: Envelope,
    /// When it ended, in ms since the epoch.
    pub at: u64,
    /// Why.
    pub cause: Cause,
}

/// Why a message became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Its handler returned `Err`; the encoded outcome.
    Rejected(bytes::Bytes),
    /// Its handler failed at every attempt: so many.
    GivenUp(u32),
    /// Its arguments can't be decoded.
    Undecodable(String),
}

impl Cause {
    /// For the log, which never tells what was passed: a decoder's words may.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::GivenUp(_) => "its handler failed at every attempt",
            Self::Undecodable(_) => "its arguments can't be decoded",
        }
    }
}
