//! Answers that came together go to their callers together.
//!
//! A connection's task that wakes each caller of another runtime by itself makes a system call for each. So it hands the
//! answers to a task in the runtime of their callers, which is woken once, and wakes them from within.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use crate::CallError;
use crate::entity::Errand;

/// A runtime that does not run for so long may have been left for good, with its calls polled elsewhere.
const PATIENCE: Duration = Duration::from_millis(40);

thread_local! {
    static OF_THREAD: RefCell<Vec<(Id, Weak<Relay>)>> = const { RefCell::new(Vec::new()) };
}

/// All that there are: for those whose runtime does not run.
static ALL: Mutex<Vec<Weak<Relay>>> = Mutex::new(Vec::new());

/// The way into one runtime, for one of its threads.
#[derive(Default)]
pub(crate) struct Relay(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    answers: Vec<Answered>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// The task sleeps: the first who has something for it wakes it.
    waker: Option<Waker>,
    closed: bool,
}

/// An errand that is over.
pub(crate) struct Answered {
    pub(crate) errand: Box<dyn Errand>,
    pub(crate) answer: Result<Bytes, CallError>,
}

impl Answered {
    pub(crate) fn finish(self) {
        match self.answer {
            Ok(outcome) => self.errand.outcome(&outcome),
            Err(error) => self.errand.fail(error),
        }
    }
}

impl Relay {
    /// Into the runtime whose task is being polled; `None`: it is none of tokio's.
    pub(crate) fn current() -> Option<Arc<Self>> {
        tokio::task::try_id()?;
        let runtime = Handle::try_current().ok()?;
        let id = runtime.id();
        OF_THREAD.with_borrow_mut(|relays| {
            let known = relays.iter().find(|(known, _)| *known == id).and_then(|(_, relay)| relay.upgrade());
            if known.is_some() {
                return known;
            }
            let relay = Arc::new(Self::default());
            relays.retain(|(known, relay)| *known != id && relay.strong_count() > 0);
            relays.push((id, Arc::downgrade(&relay)));
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|relay| relay.strong_count() > 0);
            all.push(Arc::downgrade(&relay));
            runtime.spawn(Carrying(relay.clone()));
            Some(relay)
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an answer over; one whose runtime has ended is finished here.
    pub(crate) fn push(&self, answered: Answered) {
        let waker = {
            let mut queue = self.queue();
            if queue.closed {
                drop(queue);
                return answered.finish();
            }
            queue.since.get_or_insert_with(Instant::now);
            queue.answers.push(answered);
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self) -> Vec<Answered> {
        let mut queue = self.queue();
        queue.since = None;
        std::mem::take(&mut queue.answers)
    }
}

/// Finishes what waits for runtimes that do not run.
pub(crate) fn finish_overdue() {
    let late: Vec<Arc<Relay>> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |relay: &Arc<Relay>| relay.queue().since.is_some_and(|since| since.elapsed() > PATIENCE);
        all.iter().filter_map(Weak::upgrade).filter(late).collect()
    };
    late.iter().flat_map(|relay| relay.take()).for_each(Answered::finish);
}

/// The relay's task, until its runtime ends.
struct Carrying(Arc<Relay>);

impl Future for Carrying {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let answers = {
            let mut queue = self.0.queue();
            queue.since = None;
            if queue.answers.is_empty() {
                queue.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            std::mem::take(&mut queue.answers)
        };
        answers.into_iter().for_each(Answered::finish);
        // What came meanwhile waits for those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.take().into_iter().for_each(Answered::finish);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::Tick;
    use crate::wire::{EntityId, Manner};

    /// Says from which thread it was finished.
    struct Told(Sender<std::thread::ThreadId>, EntityId);

    impl Errand for Told {
        fn to(&self) -> &EntityId {
            &self.1
        }
        fn deadline(&self) -> Tick {
            Tick::MAX
        }
        fn is_abandoned(&self) -> bool {
            false
        }
        fn manner(&self) -> Manner {
            Manner::Read
        }
        fn is_own(&self) -> bool {
            true
        }
        fn write(&self, _: &mut Vec<u8>) -> Result<(), CallError> {
            Err(CallError::Timeout)
        }
        fn deliver_here(self: Box<Self>) {}
        fn outcome(self: Box<Self>, _: &[u8]) {
            let _ = self.0.send(std::thread::current().id());
        }
        fn fail(self: Box<Self>, _: CallError) {}
    }

    fn answered() -> (Answered, Receiver<std::thread::ThreadId>) {
        let (told, finished) = channel();
        let errand = Box::new(Told(told, EntityId::new("A", "a")));
        (Answered { errand, answer: Ok(Bytes::new()) }, finished)
    }

    /// A runtime, and the relay into it.
    fn runtime() -> (tokio::runtime::Runtime, Arc<Relay>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert!(runtime.block_on(async { Relay::current() }).is_none(), "what is blocked on is no task");
        let task = async { Relay::current().zip(Relay::current()) };
        let (relay, same) = runtime.block_on(async { tokio::spawn(task).await.unwrap() }).unwrap();
        assert!(Arc::ptr_eq(&relay, &same));
        (runtime, relay)
    }

    #[test]
    fn answers_are_finished_in_the_runtime_of_their_callers() {
        let (runtime, relay) = runtime();
        let here = std::thread::current().id();
        // Where this thread is kept waiting, another test's courier may help out.
        let at_home = (0..100).any(|_| {
            let ((one, first), (other, second)) = (answered(), answered());
            let relay = relay.clone();
            let elsewhere = move || [one, other].into_iter().for_each(|answered| relay.push(answered));
            std::thread::spawn(elsewhere).join().unwrap();
            runtime.block_on(tokio::task::yield_now());
            let finished = [first.recv().unwrap(), second.recv().unwrap()];
            finished == [here, here]
        });
        assert!(at_home);
    }

    #[test]
    fn who_has_left_its_runtime_hears_all_the_same() {
        let (runtime, relay) = runtime();
        let (late, finished) = answered();
        relay.push(late);
        let end = Instant::now() + Duration::from_secs(10);
        while finished.try_recv().is_err() {
            assert!(Instant::now() < end, "an answer waits for a runtime that does not run");
            finish_overdue();
            std::thread::yield_now();
        }
        let (last, finished) = answered();
        relay.push(last);
        drop(runtime);
        assert!(finished.try_recv().is_ok(), "what waited when the runtime ended");
        let (after, finished) = answered();
        relay.push(after);
        assert!(finished.try_recv().is_ok(), "what came after its end");
    }
}
