use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::thread;

use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::faults::failed;
use super::routes::{Lane, Routes};
use super::server::Server;
use super::setup::Setup;
use crate::store::{Pending, StoreError};

type Work = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Rc<Routes>) -> Work + Send>;

/// A thread with connections of its own: asked from any other, whatever runtime that has.
#[derive(Debug)]
pub(super) struct Thread {
    jobs: UnboundedSender<Order>,
}

enum Order {
    Do(Job),
    Close(oneshot::Sender<()>),
}

impl Thread {
    /// Starts it, and waits until it is connected.
    pub(super) async fn start(setup: Setup, seeds: Vec<Server>, lane: Lane) -> Result<Self, StoreError> {
        let (jobs, orders) = unbounded_channel();
        let (started, starting) = oneshot::channel();
        let name = if lane == Lane::Members { "grange-redis-lease" } else { "grange-redis" };
        let run = move || run(setup, seeds, lane, started, orders);
        let spawned = thread::Builder::new().name(name.into()).spawn(run);
        spawned.map_err(|error| failed(format!("a thread for Redis can't be started: {error}")))?;
        starting.await.unwrap_or(Err(StoreError::Closed))?;
        Ok(Self { jobs })
    }

    /// Hands work over, in order; it is done whether or not anybody waits for the answer.
    pub(super) fn ask<T, F>(&self, work: impl FnOnce(Rc<Routes>) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |routes| {
            let work = work(routes);
            Box::pin(async move { drop(answer.send(work.await)) })
        });
        // A thread that has stopped drops what it is asked, and the answer's end with it.
        let _ = self.jobs.send(Order::Do(job));
        Box::pin(async move { answered.await.unwrap_or(Err(StoreError::Closed)) })
    }

    /// Ends it when all that was handed over is answered.
    pub(super) fn close(&self) -> oneshot::Receiver<()> {
        let (closed, closing) = oneshot::channel();
        let _ = self.jobs.send(Order::Close(closed));
        closing
    }
}

fn run(
    setup: Setup,
    seeds: Vec<Server>,
    lane: Lane,
    started: oneshot::Sender<Result<(), StoreError>>,
    orders: UnboundedReceiver<Order>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(failed(format!("no event loop for Redis: {error}"))))),
    };
    LocalSet::new().block_on(&runtime, async move {
        let patience = setup.response_timeout * 2;
        match Routes::open(setup, seeds, lane).await {
            Err(error) => drop(started.send(Err(error))),
            Ok(routes) => {
                let _ = started.send(Ok(()));
                let (working, mut idle) = channel(1);
                let closing = serve(&routes, working, orders).await;
                // Nobody ever sends here: it ends when all who could have.
                let _ = timeout(patience, idle.recv()).await;
                drop(routes);
                if let Some(closing) = closing {
                    let _ = closing.send(());
                }
            }
        }
    });
}

async fn serve(
    routes: &Rc<Routes>,
    working: Sender<()>,
    mut orders: UnboundedReceiver<Order>,
) -> Option<oneshot::Sender<()>> {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Do(job) => {
                let (work, working) = (job(routes.clone()), working.clone());
                spawn_local(async move {
                    work.await;
                    drop(working);
                });
            }
            Order::Close(closing) => return Some(closing),
        }
    }
    None
}
