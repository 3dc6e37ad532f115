//! What other threads leave for one task: taken by it all at once, and it is woken only where it sleeps.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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
        std::mem::swap(&mut queue.items, taken);
        Poll::Ready(())
    }

    /// Nobody takes from it any more: what is in it comes back, and whatever comes later.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut queue = self.queue();
        queue.closed = true;
        queue.sleeping = None;
        std::mem::take(&mut queue.items)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_is_taken_in_order_and_who_sleeps_is_woken_once() {
        let (inbox, woken) = (Inbox::new(), Arc::new(Counting::default()));
        let (waker, mut taken) = (Waker::from(woken.clone()), VecDeque::new());
        let mut take = || {
            let polled = inbox.poll_take(&mut taken, &Context::from_waker(&waker)).is_ready();
            (polled, taken.drain(..).collect::<Vec<_>>())
        };
        inbox.push(0).unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "nobody sleeps yet");
        assert_eq!(take(), (true, vec![0]));
        assert_eq!(take(), (false, vec![]));
        for item in 1..5 {
            inbox.push(item).unwrap();
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(take(), (true, vec![1, 2, 3, 4]));
    }

    #[test]
    fn one_that_is_closed_gives_everything_back() {
        let inbox = Inbox::new();
        inbox.push("left").unwrap();
        assert_eq!(inbox.close(), ["left"]);
        assert_eq!(inbox.push("late"), Err("late"));
    }

    #[test]
    fn nothing_is_left_behind_by_threads() {
        let inbox = Inbox::new();
        let (threads, each) = (4, 1_000);
        let mut seen = vec![0; threads];
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let inbox = &inbox;
                scope.spawn(move || (0..each).for_each(|item| inbox.push((thread, item)).unwrap()));
            }
            let (parked, mut taken) = (Waker::from(Arc::new(Unpark(std::thread::current()))), VecDeque::new());
            while seen.iter().sum::<usize>() < threads * each {
                match inbox.poll_take(&mut taken, &Context::from_waker(&parked)) {
                    Poll::Ready(()) => taken.drain(..).for_each(|(thread, item)| {
                        assert_eq!(seen[thread], item, "out of order");
                        seen[thread] += 1;
                    }),
                    Poll::Pending => std::thread::park_timeout(std::time::Duration::from_secs(10)),
                }
            }
        });
    }

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
