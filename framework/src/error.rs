use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The error of a handler that has none: no value of it exists. (`std::convert::Infallible` is not `Serialize`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

/// Why a call did not return the handler's value.
///
/// [`Rejected`](CallError::Rejected) is the handler's own error; every other variant is the framework's. Each can say
/// whether the call [may have had an effect](CallError::may_have_applied).
///
/// It can be part of a handler's own error: `#[from] CallError` makes `?` work on an ask of another entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E = Never> {
    /// The handler returned `Err`: its turn was rolled back, and nothing was sent.
    #[error("{0}")]
    Rejected(E),
    /// The deadline passed. A call that had not started is not run any more; one that had is ended at its limit, but
    /// may have committed just before: ask with `.idempotent(…)` when that matters, and retry with the same key.
    #[error(
        "the deadline passed before the answer came: the call may have been applied; retry it under the idempotency key that it had"
    )]
    Timeout,
    /// Nobody could run the call: nothing happened.
    #[error("unavailable, nothing was changed: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// A queue on the way is full: nothing happened.
    #[error("overloaded, nothing was changed: {what} is full; retry in {retry_after:?}")]
    Overloaded {
        /// Which limit was met, with its value.
        what: String,
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The call waits for a turn that waits for this call: nothing happened. Make one of the asks a durable message, or
    /// one of the handlers a read.
    #[error("a cycle of asks, nothing was changed: {}", chain.join(" → "))]
    Cycle {
        /// The entities on the way round, the first one repeated at the end.
        chain: Vec<String>,
    },
    /// The handler panicked: its turn was rolled back, and nothing was sent. The silo's log has the panic.
    #[error("the handler panicked: its turn was rolled back, and nothing was sent; the silo's log has the message")]
    Panicked,
    /// The turn ran and was not committed, for certain: nothing changed, nothing was sent. Retry.
    #[error("the turn was not committed, nothing was changed: {reason}")]
    NotApplied {
        /// What stood against it.
        reason: String,
    },
    /// The turn would have passed a limit: it was rolled back.
    #[error("{what} of {size} passes the limit of {limit}: the turn was rolled back, nothing was changed")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large, in bytes or pieces.
        size: usize,
        /// The limit, in the same unit.
        limit: usize,
    },
    /// The idempotency key is too old, or too far in the future, to be recognised: the call was not run. If it is a
    /// retry, its first outcome has been forgotten; make a fresh `Uuid::now_v7()` for a new operation.
    #[error(
        "the idempotency key is outside the window in which repeats are recognised: the call was not run ({reason})"
    )]
    TooOld {
        /// What is wrong with its time.
        reason: String,
    },
    /// The idempotency key was used for another method or other arguments: the call was not run.
    #[error(
        "the idempotency key was already used for another call: nothing was changed; make a new key for each operation"
    )]
    KeyReused,
    /// Something can't be encoded or decoded: nothing happened.
    #[error("nothing was changed: {reason}")]
    Invalid {
        /// What, and why.
        reason: String,
    },
    /// The entity's stored state can't be read by this version: it refuses to run, and what is stored stays as it is.
    #[error("the entity refuses to run, and its stored state was left as it is: {reason}")]
    Unreadable {
        /// What the decoder said.
        reason: String,
    },
    /// The call had started when its silo or its store failed: it may have been applied or not. Ask with
    /// `.idempotent(…)` when that matters.
    #[error("it is not known whether the call was applied: {reason}")]
    Unknown {
        /// What failed.
        reason: String,
    },
}

impl<E> CallError<E> {
    /// Whether the call may have changed its entity. `false` is certain.
    pub fn may_have_applied(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unknown { .. })
    }

    /// Whether the same call may succeed later as it stands. A retry of a call that
    /// [may have applied](Self::may_have_applied) needs an idempotency key.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Unavailable { .. }
                | Self::Overloaded { .. }
                | Self::NotApplied { .. }
                | Self::Unknown { .. }
        )
    }
}

impl<E> CallError<E> {
    /// The framework's error for a call with any handler's errors; or the handler's own.
    pub(crate) fn split<F>(self) -> std::result::Result<CallError<F>, E> {
        Ok(match self {
            CallError::Rejected(error) => return Err(error),
            CallError::Timeout => CallError::Timeout,
            CallError::Unavailable { reason } => CallError::Unavailable { reason },
            CallError::Overloaded { what, retry_after } => CallError::Overloaded { what, retry_after },
            CallError::Cycle { chain } => CallError::Cycle { chain },
            CallError::Panicked => CallError::Panicked,
            CallError::NotApplied { reason } => CallError::NotApplied { reason },
            CallError::TooLarge { what, size, limit } => CallError::TooLarge { what, size, limit },
            CallError::TooOld { reason } => CallError::TooOld { reason },
            CallError::KeyReused => CallError::KeyReused,
            CallError::Invalid { reason } => CallError::Invalid { reason },
            CallError::Unreadable { reason } => CallError::Unreadable { reason },
            CallError::Unknown { reason } => CallError::Unknown { reason },
        })
    }
}

impl CallError<Never> {
    /// The same error of the framework for a call whose handler has errors of its own.
    pub(crate) fn widen<E>(self) -> CallError<E> {
        match self.split() {
            Ok(error) => error,
            Err(never) => match never {},
        }
    }
}

/// How a durable message ended, if not well. Definite: it had no effect on its target, and never will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Failed<E = Never> {
    /// The handler returned `Err`.
    #[error("{0}")]
    Rejected(E),
    /// The handler failed at every attempt (a panic, its limit, a limit of the framework), or the message could not be
    /// decoded: the target gave it up.
    #[error("given up after the last attempt")]
    GivenUp,
}

/// What a continuation is given: the value, or a definite failure. Never "unknown".
pub type Outcome<T, E = Never> = std::result::Result<T, Failed<E>>;

/// The error of programs: what starting, stopping and calling can come to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed; the source is its [`CallError`].
    #[error("{0}")]
    Call(Box<dyn std::error::Error + Send + Sync>),
    /// A client can't connect: the text says why, for each address.
    #[error("{0}")]
    Connect(String),
    /// The silo can't start as it is configured: nothing was started.
    #[error("the silo did not start: {0}")]
    Config(String),
    /// The store can't be used.
    #[error("the silo did not start: {0}")]
    Store(#[from] StoreError),
    /// The silo's threads are gone.
    #[error("the silo has stopped: {0}")]
    Stopped(String),
    /// The silo has stopped, and could not say so to the others: its store was away. What was answered is in the store; nobody
    /// has to do anything.
    #[error(
        "the silo has stopped, but the store did not answer: its place in the cluster was not given back, nor were {entities} \
         entities that it had in memory; the other silos take them over when its lease is over, up to 5 s after they reach the store"
    )]
    NotGivenBack {
        /// Those whose claims it tried to release, in vain.
        entities: usize,
    },
}

/// `Result` with grange's [`Error`]. Not in the prelude.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl<E: fmt::Debug + fmt::Display + Send + Sync + 'static> From<CallError<E>> for Error {
    fn from(error: CallError<E>) -> Self {
        // The bounds of a user's error type are `Debug + Display`, not `Error`: `String` is a fine error of a handler.
        Error::Call(Box::new(Shown { text: error.to_string(), debug: format!("{error:?}") }))
    }
}

/// A call's error, kept as text.
struct Shown {
    text: String,
    debug: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.debug)
    }
}

impl std::error::Error for Shown {}
