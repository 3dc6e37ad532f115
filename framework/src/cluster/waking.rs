//! Callers are woken together.
//!
//! Who wakes each caller of another runtime by itself makes a system call for each. So it hands the wakers to a task in the
//! runtime of those callers, which is woken once, and wakes them from within: a [`Relay`]. Callers that are parts of a larger
//! task (of a `join_all`, say) can't be told from such that block their thread, which that task would never be polled in; they are
//! woken by whoever answers, one after the other, when it has done what it is at: then the two threads write to the same
//! memory less often.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, RawWakerVTable, Waker};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use crate::entity::Waking;

/// Where a thread or a runtime stands still for so long, others wake who waits for it.
const PATIENCE: Duration = Duration::from_millis(40);

/// So many are woken, whatever else there is to do first.
const TOGETHER_MAX: usize = 32;

thread_local! {
    static OF_THREAD: RefCell<OfThread> = const { RefCell::new(OfThread { relays: Vec::new(), gathered: None }) };
    /// Whether those whom this thread answers are woken when it has done what it is at.
    static GATHERS: Cell<bool> = const { Cell::new(false) };
    /// Whether there are such.
    static HAS_GATHERED: Cell<bool> = const { Cell::new(false) };
}

/// A thread's relays, which end with it.
struct OfThread {
    /// Into the runtimes in which it polled calls.
    relays: Vec<(Id, Use)>,
    /// Of those whom it wakes itself.
    gathered: Option<&'static Relay>,
}

/// A relay, and which of its uses this is: when that has ended, somebody else may have it.
#[derive(Clone, Copy)]
struct Use {
    relay: &'static Relay,
    number: u64,
}

impl Use {
    fn is_over(self) -> bool {
        self.relay.uses.load(Ordering::Acquire) != self.number
    }

    /// Whoever waits is woken at once, from now on.
    fn end(self) {
        let (wakers, sleeping) = {
            let mut queue = self.relay.queue();
            if self.is_over() {
                return;
            }
            self.relay.uses.store(self.number + 1, Ordering::Release);
            queue.runtime = None;
            (queue.take(), queue.sleeping.take())
        };
        wakers.into_iter().chain(sleeping).for_each(Waker::wake);
    }
}

impl Drop for OfThread {
    fn drop(&mut self) {
        // Its own task gives it back.
        self.relays.iter().for_each(|(_, relay)| relay.end());
        if let Some(gathered) = self.gathered {
            gathered.wake_late(Duration::ZERO);
            give_back(gathered);
        }
    }
}

/// How tokio wakes its tasks: known once a relay's own task has been polled. Other wakers go no way round: whoever blocks its
/// thread until it is woken would keep the relay's task from running.
static OF_TASKS: OnceLock<&'static RawWakerVTable> = OnceLock::new();

/// All that there are: for those whose thread or runtime stands still.
static ALL: Mutex<All> = Mutex::new(All { relays: Vec::new(), free: Vec::new() });

/// They are never freed, but used again: a reference that is counted would be written to by both threads for each call.
struct All {
    relays: Vec<&'static Relay>,
    free: Vec<&'static Relay>,
}

/// One that nobody else uses.
fn take_one() -> &'static Relay {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.free.pop().unwrap_or_else(|| {
        let relay = &*Box::leak(Box::default());
        all.relays.push(relay);
        relay
    })
}

fn give_back(relay: &'static Relay) {
    ALL.lock().unwrap_or_else(PoisonError::into_inner).free.push(relay);
}

/// How whoever is being polled is woken: by a task of its runtime, or straight by whoever answers.
pub(crate) fn way_to(context: &Context<'_>) -> &'static dyn Waking {
    match Relay::current(context) {
        Some(relay) => relay,
        None => &Straight,
    }
}

/// By whoever answers.
struct Straight;

impl Waking for Straight {
    fn wake(&'static self, waker: Waker) {
        if GATHERS.get() { gather(waker) } else { waker.wake() }
    }
}

/// From here on this thread wakes nobody before it says [`wake_gathered`], or too many have come together.
pub(crate) fn begin_gathering() {
    GATHERS.set(true);
}

/// Wakes all whom this thread has answered.
pub(crate) fn wake_gathered() {
    GATHERS.set(false);
    if HAS_GATHERED.replace(false) {
        let gathered = OF_THREAD.try_with(|mine| mine.borrow().gathered).ok().flatten();
        gathered.into_iter().for_each(|gathered| gathered.wake_late(Duration::ZERO));
    }
}

fn gather(waker: Waker) {
    let gathered = OF_THREAD.try_with(|mine| *mine.borrow_mut().gathered.get_or_insert_with(take_one));
    let Ok(gathered) = gathered else { return waker.wake() };
    HAS_GATHERED.set(true);
    if gathered.queue().push(waker) >= TOGETHER_MAX {
        gathered.wake_late(Duration::ZERO);
    }
}

/// The way into one runtime, for one of its threads; or what a thread has gathered.
#[derive(Default)]
struct Relay {
    /// So many uses are over. Apart from the queue, because it is read for each call that waits, and hardly written.
    uses: CachePadded<AtomicU64>,
    queue: CachePadded<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    /// Into which it leads; `None`: into none.
    runtime: Option<Id>,
    wakers: Vec<Waker>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// The task sleeps: the first who has something for it wakes it.
    sleeping: Option<Waker>,
}

impl Queue {
    /// Says how many there are.
    fn push(&mut self, waker: Waker) -> usize {
        self.since.get_or_insert_with(Instant::now);
        self.wakers.push(waker);
        self.wakers.len()
    }

    fn take(&mut self) -> Vec<Waker> {
        self.since = None;
        std::mem::take(&mut self.wakers)
    }
}

impl Relay {
    /// Into the runtime whose task is being polled; `None`: it is none of tokio's, or something else is woken first.
    fn current(context: &Context<'_>) -> Option<&'static Self> {
        let is_task = |vtable: &&'static RawWakerVTable| std::ptr::eq(*vtable, context.waker().vtable());
        if !OF_TASKS.get().is_none_or(&is_task) {
            return None;
        }
        tokio::task::try_id()?;
        let handle = Handle::try_current().ok()?;
        let relay = OF_THREAD.try_with(|mine| Self::into(&handle, &mut mine.borrow_mut().relays)).ok()?;
        // The first time it is not known yet.
        OF_TASKS.get().is_some_and(is_task).then_some(relay)
    }

    /// Into this runtime, for the thread that has these.
    fn into(handle: &Handle, relays: &mut Vec<(Id, Use)>) -> &'static Self {
        let id = handle.id();
        if let Some((_, found)) = relays.iter().find(|(runtime, found)| *runtime == id && !found.is_over()) {
            return found.relay;
        }
        // Of runtimes that have ended.
        relays.retain(|(_, found)| !found.is_over());
        let relay = take_one();
        relay.queue().runtime = Some(id);
        let number = relay.uses.load(Ordering::Acquire);
        relays.push((id, Use { relay, number }));
        handle.spawn(Carrying { of: Use { relay, number }, taken: Vec::new() });
        relay
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those that wait for so long.
    fn wake_late(&self, patience: Duration) {
        let mut late = {
            let mut queue = self.queue();
            if queue.since.is_none_or(|since| since.elapsed() < patience) {
                return;
            }
            queue.take()
        };
        late.drain(..).for_each(Waker::wake);
        let mut queue = self.queue();
        if queue.wakers.is_empty() {
            queue.wakers = late;
        }
    }
}

impl Waking for Relay {
    /// From within the runtime, or where that has ended, at once.
    fn wake(&'static self, waker: Waker) {
        let here = Handle::try_current().ok().map(|here| here.id());
        let sleeping = {
            let mut queue = self.queue();
            if queue.runtime.is_none() || queue.runtime == here {
                drop(queue);
                return waker.wake();
            }
            queue.push(waker);
            queue.sleeping.take()
        };
        if let Some(sleeping) = sleeping {
            sleeping.wake();
        }
    }
}

/// Wakes who waits for what stands still.
pub(crate) fn wake_overdue() {
    wake_late(PATIENCE);
}

/// Wakes all who wait: nobody looks again.
pub(crate) fn wake_all() {
    wake_late(Duration::ZERO);
}

fn wake_late(patience: Duration) {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner).relays.clone();
    all.iter().for_each(|relay| relay.wake_late(patience));
}

/// The relay's task, until its runtime ends.
struct Carrying {
    of: Use,
    /// Whom it wakes.
    taken: Vec<Waker>,
}

impl Future for Carrying {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        OF_TASKS.get_or_init(|| context.waker().vtable());
        {
            let mut queue = self.of.relay.queue();
            if queue.wakers.is_empty() {
                if self.of.is_over() {
                    return Poll::Ready(());
                }
                queue.sleeping = Some(context.waker().clone());
                return Poll::Pending;
            }
            queue.since = None;
            std::mem::swap(&mut queue.wakers, &mut self.taken);
        }
        self.taken.drain(..).for_each(Waker::wake);
        // What came meanwhile waits for those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.of.end();
        give_back(self.of.relay);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
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
    fn runtime() -> (tokio::runtime::Runtime, &'static Relay) {
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
        assert!(std::ptr::eq(relay, same));
        (runtime, relay)
    }

    #[test]
    fn callers_are_woken_in_their_runtime() {
        let (runtime, relay) = runtime();
        let here = thread::current().id();
        // Where this thread is kept waiting, another test's courier may help out.
        let at_home = (0..100).any(|_| {
            let ((one, first), (other, second)) = (waker(), waker());
            let elsewhere = move || [one, other].into_iter().for_each(|waker| relay.wake(waker));
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
    fn relays_are_used_again() {
        let rounds = 0..50;
        let relays: Vec<*const Relay> = rounds.map(|_| std::ptr::from_ref(runtime().1)).collect();
        let once: std::collections::BTreeSet<_> = relays.iter().collect();
        assert!(once.len() < relays.len() / 2, "{} relays for {} runtimes", once.len(), relays.len());
    }

    #[test]
    fn a_thread_that_ends_ends_nobody_elses_relay() {
        let (used, go_on) = channel();
        let (end, told) = channel::<()>();
        let first = thread::spawn(move || {
            let (runtime, relay) = runtime();
            drop(runtime);
            used.send(relay).unwrap();
            let _ = told.recv();
        });
        let given_back: &'static Relay = go_on.recv().unwrap();
        // Other tests take relays, too.
        let runtimes: Vec<_> = (0..100).map(|_| runtime()).collect();
        drop(end);
        first.join().unwrap();
        for (runtime, relay) in runtimes {
            let again = async { tokio::spawn(poll_fn(|context| Poll::Ready(Relay::current(context)))).await.unwrap() };
            let again = runtime.block_on(again).unwrap();
            assert!(std::ptr::eq(again, relay), "another one than before; {}", std::ptr::eq(relay, given_back));
            assert!(relay.queue().runtime.is_some(), "it leads nowhere");
        }
    }

    #[test]
    fn a_relay_that_is_over_is_replaced() {
        let (runtime, relay) = runtime();
        let current = || poll_fn(|context| Poll::Ready(Relay::current(context)));
        Use { relay, number: relay.uses.load(Ordering::Acquire) }.end();
        let next = runtime.block_on(async { tokio::spawn(current()).await.unwrap() }).unwrap();
        assert!(next.queue().runtime.is_some());
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
        relay.wake(late);
        wait_for_others(&woken);
        let (last, woken) = waker();
        relay.wake(last);
        drop(runtime);
        assert!(woken.try_recv().is_ok(), "who waited when the runtime ended");
        let (after, woken) = waker();
        relay.wake(after);
        assert!(woken.try_recv().is_ok(), "who came after its end");
    }

    #[test]
    fn a_thread_wakes_whom_it_answered_when_it_has_done() {
        // Another test's silo that ends wakes everybody.
        let kept = (0..100).any(|_| {
            let (straight, woken) = waker();
            begin_gathering();
            Straight.wake(straight);
            let early = woken.try_recv().is_ok();
            wake_gathered();
            !early && woken.try_recv() == Ok(thread::current().id())
        });
        assert!(kept);
        let (straight, woken) = waker();
        Straight.wake(straight);
        assert!(woken.try_recv().is_ok(), "it does nothing else");
    }

    #[test]
    fn where_a_thread_is_kept_others_wake_whom_it_answered() {
        begin_gathering();
        let answered: Vec<_> = (0..TOGETHER_MAX).map(|_| waker()).collect();
        let woken: Vec<_> = answered.into_iter().map(|(waker, woken)| (Straight.wake(waker), woken).1).collect();
        assert!(woken.iter().all(|woken| woken.try_recv().is_ok()), "so many are not kept waiting");
        let (late, woken) = waker();
        Straight.wake(late);
        wait_for_others(&woken);
        wake_gathered();
    }

    /// As the clock of a silo does.
    fn wait_for_others(woken: &Receiver<ThreadId>) {
        let end = Instant::now() + Duration::from_secs(10);
        while woken.try_recv().is_err() {
            assert!(Instant::now() < end, "a caller waits for what stands still");
            wake_overdue();
            thread::yield_now();
        }
    }
}
