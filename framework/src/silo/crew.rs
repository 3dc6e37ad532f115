//! What waits for the store, for all entities of a kind on an arbiter, in one task: a task for each would cost more than most
//! commits do, and a wake-up for each answer.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::task::Poll;

use futures_util::future::{AbortHandle, FutureExt, LocalBoxFuture, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use crate::entity::panic_text;
use crate::silo::here;

type Work = LocalBoxFuture<'static, ()>;

/// The way to that task. What is under way is dropped with the arbiter, as a task of its own would be.
pub(crate) struct Crew(UnboundedSender<Order>);

enum Order {
    Take(Work),
    /// As a task of its own.
    Spawn(Work),
}

/// Ends a task that was spawned.
pub(crate) enum Task {
    Spawned(tokio::task::AbortHandle),
    Ordered(AbortHandle),
}

impl Task {
    pub(crate) fn abort(&self) {
        match self {
            Self::Spawned(task) => task.abort(),
            Self::Ordered(task) => task.abort(),
        }
    }
}

impl Crew {
    /// On the arbiter's own thread.
    pub(crate) fn new() -> Self {
        let (orders, taken) = unbounded_channel();
        actix_rt::spawn(work(taken));
        Self(orders)
    }

    /// Has this done; an arbiter that has ended drops it.
    pub(crate) fn take(&self, work: impl Future<Output = ()> + 'static) {
        let _ = self.0.send(Order::Take(Box::pin(work)));
    }

    /// Has this done by a task of its own, which is one pass of the loop later where this is called from outside of the
    /// arbiter's `LocalSet`.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) -> Task {
        if !here::is_outside() {
            return Task::Spawned(spawn_local(work).abort_handle());
        }
        let (work, task) = abortable(work);
        let _ = self.0.send(Order::Spawn(Box::pin(work.map(drop))));
        Task::Ordered(task)
    }
}

async fn work(mut orders: UnboundedReceiver<Order>) {
    let mut under_way = FuturesUnordered::new();
    poll_fn(|context| {
        let open = loop {
            // What is taken at once takes nothing of the task's share of the loop: that is for what is done about it.
            let order = match orders.try_recv() {
                Ok(order) => Poll::Ready(Some(order)),
                Err(_) => orders.poll_recv(context),
            };
            match order {
                Poll::Ready(Some(Order::Take(work))) => under_way.push(guarded(work)),
                Poll::Ready(Some(Order::Spawn(work))) => drop(spawn_local(work)),
                Poll::Ready(None) => break false,
                Poll::Pending => break true,
            }
        };
        while let Poll::Ready(Some(())) = under_way.poll_next_unpin(context) {}
        if open || !under_way.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// A bug of ours must not end what the others wait for.
async fn guarded(work: Work) {
    if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
        tracing::error!(target: "grange", panic = panic_text(&*panic), "what waited for the store panicked: please report it");
    }
}
