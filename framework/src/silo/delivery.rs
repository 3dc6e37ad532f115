//! How a host gets what other threads have for it, and what its own thread can't run at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use actix::{Actor, ActorFuture, AsyncContext, Context as ActorContext};

use crate::entity::{Entity, Job, RefInner};
use crate::inbox::Inbox;
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::shared::{Arrival, Post};

/// The actor that brings a host what comes; everything else is in [`Host`].
pub(crate) struct HostActor<E: Entity> {
    pub(crate) host: Rc<Host<E>>,
    pub(crate) inbox: HostInbox<E>,
}

impl<E: Entity> Unpin for HostActor<E> {} // `Actor` wants it; nothing inside is pinned

impl<E: Entity> Actor for HostActor<E> {
    type Context = ActorContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Taking { inbox: self.inbox.clone(), taken: VecDeque::new() });
    }
}

/// Where it is left for a host.
pub(crate) type HostInbox<E> = Arc<Inbox<Delivery<E>>>;

/// What comes to a host by other ways than a call of its own thread.
pub(crate) enum Delivery<E: Entity> {
    Call {
        call: Box<dyn Job<E>>,
        /// It comes from this thread.
        own: bool,
    },
    /// A call of another process.
    Arrived(Box<Addressed<E, Arrival>>),
    /// A parcel or a probe for one of the host's entities.
    Posted {
        post: Box<Addressed<E, Post>>,
        /// How often it came to the wrong silo.
        hops: u8,
    },
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
            Delivery::Call { call, own } => {
                if own {
                    self.overtakable.set(self.overtakable.get().saturating_sub(1));
                }
                self.deliver(call);
            }
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
}

/// So many, and others of the arbiter run before the next; those who are answered meanwhile are woken together.
const TOGETHER_MAX: usize = 32;

/// Takes everything to the host, until the arbiter ends.
struct Taking<E: Entity> {
    inbox: HostInbox<E>,
    taken: VecDeque<Delivery<E>>,
}

impl<E: Entity> ActorFuture<HostActor<E>> for Taking<E> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut HostActor<E>,
        _: &mut ActorContext<HostActor<E>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let this = &mut *self;
        if this.taken.is_empty() {
            ready!(this.inbox.poll_take(&mut this.taken, task));
        }
        let _inside = here::enter();
        let count = this.taken.len().min(TOGETHER_MAX);
        this.taken.drain(..count).for_each(|delivery| actor.host.take_in(delivery));
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<E: Entity> Drop for Taking<E> {
    /// Whoever waits for what is in it is told, and whoever comes later.
    fn drop(&mut self) {
        drop(self.inbox.close());
    }
}
