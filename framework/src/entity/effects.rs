use std::time::Duration;

use crate::entity::Entity;
use crate::wire::{Continuation, EntityId};

/// A durable message as a turn stages it: without its numbers, which it gets when the turn is settled.
#[doc(hidden)]
#[derive(Debug)]
pub struct Staged {
    pub(crate) to: EntityId,
    pub(crate) method: &'static str,
    /// Encoding is the sender's business: a failure fails the turn, since `send` itself can't.
    pub(crate) arguments: Result<Vec<u8>, String>,
    pub(crate) then: Option<Result<Continuation, String>>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) name: Option<String>,
}

/// When a message that waits is to go: what makes it a reminder.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// How long after its turn.
    pub after: Duration,
    /// How often from then on; `None`: once.
    pub every: Option<Duration>,
}

/// What `turn.send` takes: a call, or a call shaped by `.then`, `.after`, `.every` or `.named`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable message",
    label = "cannot be staged",
    note = "`turn.send` takes a call, or a call shaped by `.then`, `.after`, `.every` or `.named`; `.timeout` and \
            `.idempotent` are for `.await`; a continuation goes into `.then(…)`"
)]
pub trait Stage {
    /// The entity that the message is for.
    type Target: Entity;
    /// The message.
    #[doc(hidden)]
    fn stage(self) -> Staged;
}

/// One thing that a turn did beside changing its state. In the order in which it did them.
#[derive(Debug)]
pub(crate) enum Act {
    Send(Box<Staged>),
    Cancel(String),
    Delete,
}

/// What a turn did beside changing its state. Nothing of it has happened yet.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) acts: Vec<Act>,
    /// The entity wants to leave memory when its work is done.
    pub(crate) deactivate: bool,
    /// The turn is to be rolled back and run again later.
    pub(crate) retry: bool,
}
