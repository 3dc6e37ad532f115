use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::entity::{Expire, FarEnd, Guarded};
use crate::{CallError, Never};

/// An answer on its way to its caller.
enum Answered<T, X> {
    Given(Result<T, CallError<X>>),
    /// The whole call: the caller's thread made it, and takes it apart.
    Carried(Box<dyn Carrier<T, X>>),
}

/// A call that has its answer in it.
pub(crate) trait Carrier<T, X>: Send {
    fn open(self: Box<Self>) -> Result<T, CallError<X>>;
}

/// Where a caller waits for one answer: given once, by whoever is first (the silo, the deadline).
pub(crate) struct Slot<T, X> {
    state: Mutex<State<T, X>>,
    /// The caller has gone: looked at before each turn, so not behind the lock.
    abandoned: AtomicBool,
}

/// How a caller is woken. Whoever answers many may wake them together, which costs one system call and not one each.
pub(crate) trait Waking: Sync {
    /// Wakes it, soon.
    fn wake(&'static self, waker: Waker);
}

/// A caller that waits.
struct Waiter {
    waker: Waker,
    way: &'static dyn Waking,
}

enum State<T, X> {
    Waiting(Option<Waiter>),
    Answered(Answered<T, X>),
    /// Taken by the caller, or the caller has gone.
    Over,
}

impl<T, X> fmt::Debug for Slot<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl<T, X> Slot<T, X> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Waiting(None)), abandoned: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State<T, X>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if none was given before.
    pub(crate) fn answer(&self, answer: Result<T, CallError<X>>) {
        self.put(Answered::Given(answer));
    }

    fn put(&self, answer: Answered<T, X>) {
        let waiter = match &mut *self.state() {
            waiting @ State::Waiting(_) => match std::mem::replace(waiting, State::Answered(answer)) {
                State::Waiting(waiter) => waiter,
                State::Answered(_) | State::Over => None,
            },
            // Nobody waits any more.
            State::Answered(_) | State::Over => return drop(Guarded::new(answer)),
        };
        if let Some(Waiter { waker, way }) = waiter {
            way.wake(waker);
        }
    }

    /// The caller asks, and says how it is woken if it has to wait.
    pub(crate) fn poll(
        &self,
        context: &Context<'_>,
        way: impl FnOnce(&Context<'_>) -> &'static dyn Waking,
    ) -> Poll<Result<T, CallError<X>>> {
        let mut state = self.state();
        if let State::Waiting(waiter) = &mut *state {
            if !waiter.as_ref().is_some_and(|waiter| waiter.waker.will_wake(context.waker())) {
                *waiter = Some(Waiter { waker: context.waker().clone(), way: way(context) });
            }
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(Answered::Given(answer)) => Poll::Ready(answer),
            State::Answered(Answered::Carried(call)) => Poll::Ready(call.open()),
            State::Waiting(_) | State::Over => {
                Poll::Ready(Err(CallError::Invalid { reason: "the call was polled after it had ended".into() }))
            }
        }
    }

    /// The same, as the call that carries it.
    pub(crate) fn carry(&self, call: Box<dyn Carrier<T, X>>) {
        self.put(Answered::Carried(call));
    }

    /// The caller has gone.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.state(), State::Over);
        drop(Guarded::new(before));
    }
}

impl<T: Send, X: Send> Expire for Slot<T, X> {
    fn expire(&self) {
        self.answer(Err(CallError::Timeout));
    }
}

/// A caller without its types: the silo can tell it that the framework failed its call.
pub(crate) trait Caller: Send + Sync {
    /// The call ends with this.
    fn fail(&self, error: CallError<Never>);
    /// Whether somebody still waits.
    fn waits(&self) -> bool;
}

impl<T: Send, X: Send> Caller for Slot<T, X> {
    fn fail(&self, error: CallError<Never>) {
        self.answer(Err(error.widen()));
    }
    fn waits(&self) -> bool {
        matches!(*self.state(), State::Waiting(_))
    }
}

/// To whom an answer goes.
pub(crate) enum End<T, X> {
    /// Nobody waits: a notification, a durable message.
    Nobody,
    /// A caller in this process.
    Here(Arc<Slot<T, X>>),
    /// A caller in another process.
    Far(Arc<dyn FarEnd>),
}

/// The silo's end of a call. Dropping it without an answer is an answer too: no caller waits for a reply that
/// nobody can give any more.
pub(crate) struct Reply<T, X> {
    end: End<T, X>,
    started: bool,
}

impl<T, X> Reply<T, X> {
    pub(crate) fn nobody() -> Self {
        Self { end: End::Nobody, started: false }
    }
    pub(crate) fn to(slot: Arc<Slot<T, X>>) -> Self {
        Self { end: End::Here(slot), started: false }
    }
    pub(crate) fn far(end: Arc<dyn FarEnd>) -> Self {
        Self { end: End::Far(end), started: false }
    }
    pub(crate) fn far_end(&self) -> Option<&Arc<dyn FarEnd>> {
        if let End::Far(end) = &self.end { Some(end) } else { None }
    }
    /// From here on the handler may have run.
    pub(crate) fn start(&mut self) {
        self.started = true;
    }
    /// Whom to give an answer to, from now on elsewhere.
    pub(crate) fn take(&mut self) -> End<T, X> {
        std::mem::replace(&mut self.end, End::Nobody)
    }
    /// The call ends with an error of the framework.
    pub(crate) fn fail(&mut self, error: CallError<Never>) {
        match self.take() {
            End::Nobody => {}
            End::Here(slot) => slot.answer(Err(error.widen())),
            End::Far(end) => end.answer(Err(error)),
        }
    }
    /// Whether the caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.end {
            End::Nobody => false,
            End::Here(slot) => slot.abandoned.load(Ordering::Relaxed),
            End::Far(end) => end.is_abandoned(),
        }
    }
}

impl<T: Send + 'static, X: Send + 'static> Reply<T, X> {
    pub(crate) fn caller(&self) -> Option<Arc<dyn Caller>> {
        match &self.end {
            End::Nobody => None,
            End::Here(slot) => Some(slot.clone() as Arc<dyn Caller>),
            End::Far(end) => Some(end.clone() as Arc<dyn Caller>),
        }
    }
}

impl<T, X> Drop for Reply<T, X> {
    fn drop(&mut self) {
        // Every call passes here, answered: an error that nobody gets would be two allocations for each.
        if matches!(self.end, End::Nobody) {
            return;
        }
        self.fail(if self.started {
            CallError::Unknown { reason: "the silo stopped while the call was running".into() }
        } else {
            CallError::Unavailable { reason: "the silo stopped before the call was started".into() }
        });
    }
}
