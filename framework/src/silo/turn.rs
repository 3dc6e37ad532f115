use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;

use crate::entity::{Cause, MethodInfo, Tick};
use crate::silo::settle::Work;
use crate::wire::Envelope;

/// What a turn is owed when its handler has run.
pub(crate) enum Owed {
    Ask,
    Keyed { key: Uuid, digest: u64 },
    Message { envelope: Arc<Envelope>, counted: bool },
    OnActivate,
    OnDeactivate,
}

/// A turn that has started: what its end needs to know.
pub(crate) struct Context {
    pub(crate) owed: Owed,
    pub(crate) method: &'static MethodInfo,
    /// It runs alone: `&mut self`, or a durable message whatever its handler.
    pub(crate) alone: bool,
    pub(crate) cause: Cause,
    pub(crate) deadline: Tick,
    /// The turn's number: that of its call.
    pub(crate) number: u64,
    /// Coarse: when its call was handed over.
    pub(crate) arrived: Tick,
    /// When it started, where that is measured.
    pub(crate) started: Option<Instant>,
    pub(crate) span: Span,
}

impl Owed {
    pub(crate) fn work(&self) -> Work<'_> {
        match self {
            Self::Ask | Self::OnActivate | Self::OnDeactivate => Work::Plain,
            Self::Keyed { key, digest } => Work::Keyed { key: *key, digest: *digest },
            Self::Message { envelope, .. } => Work::Message(envelope),
        }
    }

    /// Whether somebody needs the outcome as bytes.
    pub(crate) fn wants_outcome(&self, rejected: bool) -> bool {
        match self {
            Self::Ask | Self::OnActivate | Self::OnDeactivate => false,
            Self::Keyed { .. } => true,
            Self::Message { envelope, .. } => envelope.then.is_some() || rejected,
        }
    }

    pub(crate) fn is_hook(&self) -> bool {
        matches!(self, Self::OnActivate | Self::OnDeactivate)
    }
}
