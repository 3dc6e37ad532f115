use std::fmt;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard, PoisonError};

/// What leaves an entity only when a commit has landed waits here: an ask of a turn, `turn.settled()`.
pub(crate) struct Gate(Mutex<State>);

enum State {
    Shut(Vec<Waiting>),
    Open,
    /// The commit was refused, or its fate is unknown: what waited must not leave.
    Failed,
}

enum Waiting {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(Mutex::new(State::Shut(Vec::new())))
    }

    /// The commit landed.
    pub(crate) fn open(&self) {
        self.end(State::Open);
    }

    /// The commit did not land.
    pub(crate) fn fail(&self) {
        self.end(State::Failed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: State) {
        let opened = matches!(end, State::Open);
        let before = std::mem::replace(&mut *self.state(), end);
        let State::Shut(waiting) = before else { return };
        for waiting in waiting {
            match waiting {
                Waiting::Wake(waker) => waker.wake(),
                Waiting::Run(run) if opened => run(),
                Waiting::Run(_) => {}
            }
        }
    }

    /// Runs this when the commit has landed; never, if it does not.
    pub(crate) fn run_when_open(&self, run: Box<dyn FnOnce() + Send>) {
        match &mut *self.state() {
            State::Shut(waiting) => return waiting.push(Waiting::Run(run)),
            State::Failed => return,
            State::Open => {}
        }
        run();
    }

    /// Ready with whether what waits may leave.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<bool> {
        match &mut *self.state() {
            State::Open => Poll::Ready(true),
            State::Failed => Poll::Ready(false),
            State::Shut(waiting) => {
                let waker = context.waker();
                if !waiting.iter().any(|other| matches!(other, Waiting::Wake(other) if other.will_wake(waker))) {
                    waiting.push(Waiting::Wake(waker.clone()));
                }
                Poll::Pending
            }
        }
    }
}
