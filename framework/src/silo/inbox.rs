//! What other threads leave for one task: taken by it all at once, and it is woken only where it sleeps.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard};

/// A larger queue is not kept.
const KEPT_MAX: usize = 1_024;

/// A queue with many senders and one task that takes.
pub(crate) struct Inbox<T>(Mutex<Queue<T>>);

struct Queue<T> {
    items: VecDeque<T>,
    /// The task sleeps: the first who has something for it wakes it.
    sleeping: Option<Waker>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Queue { items: VecDeque::new(), sleeping: None, closed: false }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves one thing there. An inbox that was closed gives it back.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let sleeping = {
            let mut queue = self.queue();
            if queue.closed {
                return Err(item);
            }
            queue.items.push_back(item);
            queue.sleeping.take()
        };
        if let Some(sleeping) = sleeping {
            sleeping.wake();
        }
        Ok(())
    }

    /// Takes everything, in the order in which it came, into a queue that is empty; `Pending`: there is nothing, and the
    /// task is woken when there is.
    pub(crate) fn poll_take(&self, taken: &mut VecDeque<T>, context: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue();
        if queue.items.is_empty() {
            if !queue.sleeping.as_ref().is_some_and(|sleeping| sleeping.will_wake(context.waker())) {
                queue.sleeping = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        if taken.capacity() > KEPT_MAX {
            *taken = VecDeque::new();
        }
        std::mem::swap(&mut queue.items, taken);
        Poll::Ready(())
    }

    /// How many things are in it.
    pub(crate) fn len(&self) -> usize {
        self.queue().items.len()
    }

    /// Nobody takes from it any more: what is in it comes back, and whatever comes later.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut queue = self.queue();
        queue.closed = true;
        queue.sleeping = None;
        std::mem::take(&mut queue.items)
    }
}
