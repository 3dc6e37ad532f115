use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::client::Call;
use crate::entity::{Args, Durable, Entity, Named, RawRef, Schedule, Stage, Staged};
use crate::{Never, wire};

/// A durable message under construction: only a turn can send it.
#[must_use = "a message is not staged until `turn.send` takes it"]
pub struct Message<E: Entity, T, X = Never> {
    staged: Staged,
    target: PhantomData<fn() -> E>,
    outcome: PhantomData<fn() -> Result<T, X>>,
}

impl<E: Entity, T, X> fmt::Debug for Message<E, T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message to {}", self.staged.to)
    }
}

impl<E: Entity, T, X> From<Call<E, T, X>> for Message<E, T, X> {
    fn from(mut call: Call<E, T, X>) -> Self {
        let to = call.target().inner.id().clone();
        let (method, arguments) = match call.take() {
            Some(request) => (
                request.info().name,
                request
                    .arguments()
                    .map_err(|error| format!("the arguments of `{}` can't be encoded: {error}", request.info())),
            ),
            None => ("", Err("a call that was awaited can't be sent as well".to_owned())),
        };
        Message {
            staged: Staged { to, method, arguments, then: None, schedule: None, name: None },
            target: PhantomData,
            outcome: PhantomData,
        }
    }
}

impl<E: Entity, T, X> Message<E, T, X> {
    /// What to do with the outcome, which is definite: see [`Outcome`](crate::Outcome).
    pub fn then<C: Durable>(mut self, continuation: Continuation<C, T, X>) -> Self {
        self.staged.then = Some(continuation.continuation);
        self
    }

    /// The message goes this long after the turn that sends it.
    pub fn after(mut self, delay: Duration) -> Self {
        self.staged.schedule.get_or_insert_default().after = delay;
        self
    }

    /// The message repeats; without [`after`](Self::after) the first one goes after one period.
    pub fn every(mut self, period: Duration) -> Self {
        self.staged.schedule.get_or_insert_default().every = Some(period);
        self
    }

    /// Replaces the sender's reminder of that name, and `turn.cancel` finds it.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.staged.name = Some(name.into());
        self
    }
}

/// A handler whose last parameter is an [`Outcome<T, X>`](crate::Outcome), waiting for it. Goes into `.then(…)`, and can
/// neither be awaited nor sent.
#[must_use = "pass it to `.then(…)`"]
pub struct Continuation<E: Entity, T, X = Never> {
    continuation: Result<wire::Continuation, String>,
    outcome: PhantomData<fn(T, X) -> E>,
}

impl<E: Entity, T, X> fmt::Debug for Continuation<E, T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Continuation")
    }
}

/// Generated references call this.
#[doc(hidden)]
#[allow(clippy::needless_pass_by_value)] // the generated method owns what it passes on
pub fn continuation<E: Entity, T, X>(
    to: &RawRef<E>,
    method: &'static str,
    arguments: impl Args,
) -> Continuation<E, T, X> {
    let mut bytes = Vec::new();
    let continuation = arguments
        .encode(&mut bytes)
        .map(|()| wire::Continuation { to: to.inner.id().clone(), method: method.to_owned(), arguments: bytes.into() })
        .map_err(|error| {
            format!("the arguments of the continuation `{}::{method}` can't be encoded: {error}", E::KIND)
        });
    Continuation { continuation, outcome: PhantomData }
}

impl<E: Entity, T, X> Stage for Call<E, T, X> {
    type Target = E;
    fn stage(self) -> Staged {
        Message::from(self).staged
    }
}

impl<E: Entity, T, X> Stage for Message<E, T, X> {
    type Target = E;
    fn stage(self) -> Staged {
        self.staged
    }
}

/// A message with a schedule of zero is a message; a schedule makes it a reminder.
impl Staged {
    pub(crate) fn reminder(&self) -> Option<Schedule> {
        self.schedule.or_else(|| self.name.as_ref().map(|_| Schedule::default()))
    }
}
