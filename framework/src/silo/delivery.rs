//! How a host gets what other threads have for it, and what its own thread can't run at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::{Actor, ActorFuture, AsyncContext, Context as ActorContext};
use tokio::time::Instant;

use crate::CallError;
use crate::entity::{Entity, Job, RefInner};
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::inbox::Inbox;
use crate::silo::shared::{Arrival, Post};

/// So many of other threads, or as many as take so long, and others of the arbiter run before the next. Those who are answered
/// meanwhile may be woken only then.
const TOGETHER_MAX: usize = 32;
const TOGETHER_TIME: Duration = Duration::from_micros(200);

/// The clock is read once in so many.
const TIMED: usize = 4;

/// The actor that brings a host what comes; everything else is in [`Host`].
pub(crate) struct HostActor<E: Entity>(pub(crate) Rc<Host<E>>);

impl<E: Entity> Unpin for HostActor<E> {} // `Actor` wants it; nothing inside is pinned

impl<E: Entity> Actor for HostActor<E> {
    type Context = ActorContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Taking(self.0.clone()));
    }
}

/// Where other threads leave things for a host.
pub(crate) type HostInbox<E> = Arc<Inbox<Delivery<E>>>;

/// What has come for a host and is not taken in yet.
pub(crate) struct Arrivals<E: Entity> {
    /// Of other threads.
    pub(crate) inbox: HostInbox<E>,
    taken: RefCell<VecDeque<Delivery<E>>>,
    /// Calls of this thread that it could not run at once: what it asks next must not overtake them.
    own: RefCell<VecDeque<Box<dyn Job<E>>>>,
    sleeping: RefCell<Option<Waker>>,
}

impl<E: Entity> Arrivals<E> {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Arc::new(Inbox::new()),
            taken: RefCell::default(),
            own: RefCell::default(),
            sleeping: RefCell::default(),
        }
    }

    /// A call of this thread waits for its turn.
    pub(crate) fn push_own(&self, call: Box<dyn Job<E>>) {
        self.own.borrow_mut().push_back(call);
        if let Some(sleeping) = self.sleeping.take() {
            sleeping.wake();
        }
    }

    /// Whether an ask of this thread would overtake another one.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.borrow().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.inbox.len() + self.taken.borrow().len() + self.own.borrow().len()
    }
}

/// What comes from another thread.
pub(crate) enum Delivery<E: Entity> {
    Call(Box<dyn Job<E>>),
    /// A call of another process.
    Arrived(Box<Addressed<E, Arrival>>),
    /// A parcel or a probe for one of the host's entities.
    Posted {
        post: Box<Addressed<E, Post>>,
        /// How often it came to the wrong silo.
        hops: u8,
    },
}

impl<E: Entity> Delivery<E> {
    /// The arbiter has ended: whoever waits is told.
    pub(crate) fn refuse(self) {
        let reason = || "the silo stopped before the call was started".into();
        match self {
            Self::Call(call) => call.refuse(CallError::Unavailable { reason: reason() }),
            Self::Arrived(arrived) => arrived.what.fail(CallError::Unavailable { reason: reason() }),
            // Its sender still has it.
            Self::Posted { .. } => {}
        }
    }
}

/// Something for an entity that may not be in memory.
pub(crate) struct Addressed<E: Entity, T> {
    pub(crate) to: Arc<RefInner<E>>,
    pub(crate) what: T,
    /// Whether the entity may be brought into memory for it.
    pub(crate) may_take: bool,
}

impl<E: Entity> Host<E> {
    fn take_in(self: &Rc<Self>, delivery: Delivery<E>) {
        match delivery {
            Delivery::Call(call) => self.deliver(call),
            Delivery::Arrived(arrived) => {
                let Addressed { to, what, may_take } = *arrived;
                self.arrive(to, what, may_take);
            }
            Delivery::Posted { post, hops } => {
                let Addressed { to, what, may_take } = *post;
                if !may_take && self.catalog.borrow().find(&to).is_none() {
                    return self.shared.post_on(what, hops);
                }
                match what {
                    Post::Parcel(parcel) => self.receive(&to, parcel, hops),
                    Post::Probe(probe) => self.follow(&to, probe),
                    Post::Found(found) => self.end_cycle(&to, found),
                }
            }
        }
    }

    /// What this thread could not run at once. Until that is here, whatever it asks goes the same way; what comes while it is taken
    /// in waits for the next time.
    fn take_own(self: &Rc<Self>) {
        let count = self.arrivals.own.borrow().len();
        for _ in 0..count {
            let call = self.arrivals.own.borrow_mut().pop_front();
            call.into_iter().for_each(|call| self.deliver(call));
        }
    }

    fn take_others(self: &Rc<Self>) {
        let started = Instant::now();
        for count in 1..=TOGETHER_MAX {
            let Some(delivery) = self.arrivals.taken.borrow_mut().pop_front() else { return };
            self.take_in(delivery);
            if count.is_multiple_of(TIMED) && started.elapsed() > TOGETHER_TIME {
                return;
            }
        }
    }
}

/// Takes everything to the host, until the arbiter ends.
struct Taking<E: Entity>(Rc<Host<E>>);

impl<E: Entity> ActorFuture<HostActor<E>> for Taking<E> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut HostActor<E>,
        _: &mut ActorContext<HostActor<E>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let (host, arrivals) = (&self.0, &self.0.arrivals);
        let has_taken = !arrivals.taken.borrow().is_empty()
            || arrivals.inbox.poll_take(&mut arrivals.taken.borrow_mut(), task).is_ready();
        if !has_taken && !arrivals.has_own() {
            arrivals.sleeping.replace(Some(task.waker().clone()));
            return Poll::Pending;
        }
        let _inside = here::enter();
        host.take_own();
        host.take_others();
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<E: Entity> Drop for Taking<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(target: "grange", kind = E::KIND, arbiter = self.0.arbiter, "a host panicked, and takes nothing more: this is a bug");
        }
        let arrivals = &self.0.arrivals;
        arrivals.inbox.close().into_iter().for_each(Delivery::refuse);
        arrivals.taken.take().into_iter().for_each(Delivery::refuse);
        arrivals.own.take().into_iter().for_each(|call| Delivery::Call(call).refuse());
    }
}
