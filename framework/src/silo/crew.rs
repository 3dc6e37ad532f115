//! What waits for the store, for all entities of a kind on an arbiter, in one task: a task for each would cost more than most
//! commits do, and a wake-up for each answer.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::task::Poll;

use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::entity::panic_text;

type Work = LocalBoxFuture<'static, ()>;

/// The way to that task. What is under way is dropped with the arbiter, as a task of its own would be.
pub(crate) struct Crew(UnboundedSender<Work>);

impl Crew {
    /// On the arbiter's own thread.
    pub(crate) fn new() -> Self {
        let (orders, taken) = unbounded_channel();
        actix_rt::spawn(work(taken));
        Self(orders)
    }

    /// Has this done; an arbiter that has ended drops it.
    pub(crate) fn take(&self, work: impl Future<Output = ()> + 'static) {
        let _ = self.0.send(Box::pin(work));
    }
}

async fn work(mut orders: UnboundedReceiver<Work>) {
    let mut under_way = FuturesUnordered::new();
    poll_fn(|context| {
        let open = loop {
            match orders.poll_recv(context) {
                Poll::Ready(Some(work)) => under_way.push(guarded(work)),
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
