//! Callers of one runtime are woken together.
//!
//! Who wakes each caller of another runtime by itself makes a system call for each. So it hands the wakers to a task in the
//! runtime of those callers, which is woken once, and wakes them from within.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, RawWakerVTable, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use crate::entity::Waking;

/// A runtime that does not run for so long may have been left for good, with its calls polled elsewhere.
const PATIENCE: Duration = Duration::from_millis(40);

thread_local! {
    static OF_THREAD: RefCell<OfThread> = const { RefCell::new(OfThread(Vec::new())) };
}

/// A thread's relays: they end with it.
struct OfThread(Vec<Arc<Relay>>);

impl Drop for OfThread {
    fn drop(&mut self) {
        self.0.iter().for_each(|relay| relay.close());
    }
}

/// How tokio wakes its tasks: known once a relay's own task has been polled. Other wakers go no way round: whoever blocks its
/// thread until it is woken would keep the relay's task from running.
static OF_TASKS: OnceLock<&'static RawWakerVTable> = OnceLock::new();

/// All that there are: for those whose runtime does not run.
static ALL: Mutex<Vec<Weak<Relay>>> = Mutex::new(Vec::new());

/// The way into one runtime, for one of its threads.
pub(crate) struct Relay {
    runtime: Id,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    wakers: Vec<Waker>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// The task sleeps: the first who has something for it wakes it.
    sleeping: Option<Waker>,
    closed: bool,
}

impl Relay {
    /// Into the runtime whose task is being polled; `None`: it is none of tokio's, or something else is woken first.
    pub(crate) fn current(context: &Context<'_>) -> Option<Arc<Self>> {
        let is_task = |vtable: &&'static RawWakerVTable| std::ptr::eq(*vtable, context.waker().vtable());
        if !OF_TASKS.get().is_none_or(&is_task) {
            return None;
        }
        tokio::task::try_id()?;
        let handle = Handle::try_current().ok()?;
        let runtime = handle.id();
        let relay = OF_THREAD
            .try_with(|relays| {
                let relays = &mut relays.borrow_mut().0;
                if let Some(relay) = relays.iter().find(|relay| relay.runtime == runtime && !relay.queue().closed) {
                    return relay.clone();
                }
                relays.retain(|relay| !relay.queue().closed);
                let relay = Arc::new(Self { runtime, queue: Mutex::default() });
                relays.push(relay.clone());
                let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
                all.retain(|relay| relay.strong_count() > 0);
                all.push(Arc::downgrade(&relay));
                handle.spawn(Carrying(relay.clone()));
                relay
            })
            .ok()?;
        // The first time it is not known yet.
        OF_TASKS.get().is_some_and(is_task).then_some(relay)
    }

    /// Whoever waits is woken at once, from now on.
    fn close(&self) {
        let sleeping = {
            let mut queue = self.queue();
            queue.closed = true;
            queue.sleeping.take()
        };
        self.take().into_iter().chain(sleeping).for_each(Waker::wake);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Waker> {
        let mut queue = self.queue();
        queue.since = None;
        std::mem::take(&mut queue.wakers)
    }
}

impl Waking for Relay {
    /// From within the runtime, or where that has ended, at once.
    fn wake(self: Arc<Self>, waker: Waker) {
        if Handle::try_current().is_ok_and(|here| here.id() == self.runtime) {
            return waker.wake();
        }
        let sleeping = {
            let mut queue = self.queue();
            if queue.closed {
                drop(queue);
                return waker.wake();
            }
            queue.since.get_or_insert_with(Instant::now);
            queue.wakers.push(waker);
            queue.sleeping.take()
        };
        if let Some(sleeping) = sleeping {
            sleeping.wake();
        }
    }
}

/// Wakes who waits for runtimes that do not run.
pub(crate) fn wake_overdue() {
    wake_late(PATIENCE);
}

/// Wakes all who wait: nobody looks again.
pub(crate) fn wake_all() {
    wake_late(Duration::ZERO);
}

fn wake_late(patience: Duration) {
    let late: Vec<Arc<Relay>> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |relay: &Arc<Relay>| relay.queue().since.is_some_and(|since| since.elapsed() >= patience);
        all.iter().filter_map(Weak::upgrade).filter(late).collect()
    };
    late.iter().flat_map(|relay| relay.take()).for_each(Waker::wake);
}

/// The relay's task, until its runtime ends.
struct Carrying(Arc<Relay>);

impl Future for Carrying {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        OF_TASKS.get_or_init(|| context.waker().vtable());
        let wakers = {
            let mut queue = self.0.queue();
            queue.since = None;
            if queue.wakers.is_empty() {
                if queue.closed {
                    return Poll::Ready(());
                }
                queue.sleeping = Some(context.waker().clone());
                return Poll::Pending;
            }
            std::mem::take(&mut queue.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        // What came meanwhile waits for those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Says from which thread it was woken.
    struct Told(Mutex<Sender<ThreadId>>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().send(thread::current().id());
        }
    }

    fn waker() -> (Waker, Receiver<ThreadId>) {
        let (told, woken) = channel();
        (Arc::new(Told(Mutex::new(told))).into(), woken)
    }

    /// A runtime, and the relay into it.
    fn runtime() -> (tokio::runtime::Runtime, Arc<Relay>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let current = || poll_fn(|context| Poll::Ready(Relay::current(context)));
        assert!(runtime.block_on(current()).is_none(), "what is blocked on is no task");
        let task = async move {
            // Its own task tells what the waker of a task is.
            current().await;
            tokio::task::yield_now().await;
            current().await.zip(current().await)
        };
        let (relay, same) = runtime.block_on(async { tokio::spawn(task).await.unwrap() }).unwrap();
        assert!(Arc::ptr_eq(&relay, &same));
        (runtime, relay)
    }

    #[test]
    fn callers_are_woken_in_their_runtime() {
        let (runtime, relay) = runtime();
        let here = thread::current().id();
        // Where this thread is kept waiting, another test's courier may help out.
        let at_home = (0..100).any(|_| {
            let ((one, first), (other, second)) = (waker(), waker());
            let relay = relay.clone();
            let elsewhere = move || [one, other].into_iter().for_each(|waker| relay.clone().wake(waker));
            thread::spawn(elsewhere).join().unwrap();
            runtime.block_on(tokio::task::yield_now());
            let woken = [first.recv().unwrap(), second.recv().unwrap()];
            woken == [here, here]
        });
        assert!(at_home);
    }

    #[test]
    fn in_their_own_runtime_they_are_woken_at_once() {
        let (runtime, relay) = runtime();
        let (waker, woken) = waker();
        runtime.block_on(async { relay.wake(waker) });
        assert!(woken.try_recv().is_ok());
    }

    #[test]
    fn a_relay_ends_with_its_thread() {
        let (runtime, relay) = thread::spawn(runtime).join().unwrap();
        let (waker, woken) = waker();
        relay.wake(waker);
        assert!(woken.try_recv().is_ok());
        drop(runtime);
    }

    #[test]
    fn who_blocks_its_thread_goes_no_way_round() {
        let (runtime, _) = runtime();
        let blocking = || Relay::current(&Context::from_waker(Waker::noop())).is_none();
        assert!(runtime.block_on(async { tokio::spawn(async move { blocking() }).await.unwrap() }));
    }

    #[test]
    fn who_has_left_its_runtime_is_woken_all_the_same() {
        let (runtime, relay) = runtime();
        let (late, woken) = waker();
        relay.clone().wake(late);
        let end = Instant::now() + Duration::from_secs(10);
        while woken.try_recv().is_err() {
            assert!(Instant::now() < end, "a caller waits for a runtime that does not run");
            wake_overdue();
            thread::yield_now();
        }
        let (last, woken) = waker();
        relay.clone().wake(last);
        drop(runtime);
        assert!(woken.try_recv().is_ok(), "who waited when the runtime ended");
        let (after, woken) = waker();
        relay.wake(after);
        assert!(woken.try_recv().is_ok(), "who came after its end");
    }
}
