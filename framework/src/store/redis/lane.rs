//! Where connections live: on threads of their own, for whoever asks, and on arbiters, for who runs there.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::faults::failed;
use super::routes::{Lane, Routes};
use super::server::Server;
use super::setup::Setup;
use crate::store::{Pending, StoreError};

type Work = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Rc<Routes>) -> Work + Send>;

/// A thread with connections of its own: asked from any other, whatever runtime that has. Where there are connections on the
/// very thread that asks, those are taken.
pub(super) struct Thread {
    /// Unique in the process.
    number: u64,
    origin: Origin,
    jobs: UnboundedSender<Order>,
    stage: Arc<watch::Sender<Stage>>,
}

/// Of what connections are made.
#[derive(Clone)]
struct Origin {
    setup: Setup,
    seeds: Vec<Server>,
    lane: Lane,
}

impl Origin {
    async fn open(self) -> Result<Rc<Routes>, StoreError> {
        Routes::open(self.setup, self.seeds, self.lane).await
    }
}

/// Whoever has something under way watches it; when nobody does any more, all is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Closing,
}

/// Connections on an arbiter, for what is asked from there.
struct Resident {
    routes: Rc<Routes>,
    /// The store does not close before this is gone.
    _open: watch::Receiver<Stage>,
}

thread_local! {
    /// Those of this thread, by the number of the [`Thread`] in whose place they are.
    static RESIDENTS: RefCell<Vec<(u64, Weak<Resident>)>> = const { RefCell::new(Vec::new()) };
}

enum Order {
    Do(Job),
    Close(oneshot::Sender<()>),
}

impl Thread {
    /// Starts it, and waits until it is connected.
    pub(super) async fn start(setup: Setup, seeds: Vec<Server>, lane: Lane) -> Result<Self, StoreError> {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        let (jobs, orders) = unbounded_channel();
        let (started, starting) = oneshot::channel();
        let name = if lane == Lane::Members { "grange-redis-lease" } else { "grange-redis" };
        let origin = Origin { setup, seeds, lane };
        let stage = Arc::new(watch::Sender::new(Stage::Open));
        let run = {
            let (origin, stage) = (origin.clone(), stage.clone());
            move || run(origin, &stage, started, orders)
        };
        let spawned = thread::Builder::new().name(name.into()).spawn(run);
        spawned.map_err(|error| failed(format!("a thread for Redis can't be started: {error}")))?;
        starting.await.unwrap_or(Err(StoreError::Closed))?;
        Ok(Self { number: THREADS.fetch_add(1, Ordering::Relaxed), origin, jobs, stage })
    }

    /// Opens connections on this very thread: what is asked from here goes by them from now on.
    pub(super) fn open_here(&self) -> Pending<()> {
        let (opened, is_open) = oneshot::channel();
        let (number, origin, mut open) = (self.number, self.origin.clone(), self.stage.subscribe());
        spawn_local(async move {
            let routes = match origin.open().await {
                Ok(routes) => routes,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let resident = Rc::new(Resident { routes, _open: open.clone() });
            RESIDENTS.with_borrow_mut(|residents| {
                residents.retain(|(_, resident)| resident.strong_count() > 0);
                residents.push((number, Rc::downgrade(&resident)));
            });
            let _ = opened.send(Ok(()));
            // What is under way keeps it for as long as it needs it.
            let _ = open.wait_for(|stage| *stage == Stage::Closing).await;
        });
        Box::pin(async move { is_open.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn resident(&self) -> Option<Rc<Resident>> {
        RESIDENTS.with_borrow(|residents| {
            let (_, resident) = residents.iter().find(|(number, _)| *number == self.number)?;
            resident.upgrade()
        })
    }

    /// Hands work over, in order; it is done whether or not anybody waits for the answer.
    pub(super) fn ask<T, F>(&self, work: impl FnOnce(Rc<Routes>) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        if let Some(resident) = self.resident() {
            let work = work(resident.routes.clone());
            spawn_local(async move {
                let _ = answer.send(work.await);
                drop(resident);
            });
        } else {
            let job: Job = Box::new(move |routes| {
                let work = work(routes);
                Box::pin(async move { drop(answer.send(work.await)) })
            });
            // A thread that has stopped drops what it is asked, and the answer's end with it.
            let _ = self.jobs.send(Order::Do(job));
        }
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
    origin: Origin,
    stage: &watch::Sender<Stage>,
    started: oneshot::Sender<Result<(), StoreError>>,
    orders: UnboundedReceiver<Order>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(failed(format!("no event loop for Redis: {error}"))))),
    };
    LocalSet::new().block_on(&runtime, async move {
        let patience = origin.setup.response_timeout * 2;
        match origin.open().await {
            Err(error) => drop(started.send(Err(error))),
            Ok(routes) => {
                let _ = started.send(Ok(()));
                let closing = serve(&routes, stage, orders).await;
                stage.send_replace(Stage::Closing);
                let _ = timeout(patience, stage.closed()).await;
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
    stage: &watch::Sender<Stage>,
    mut orders: UnboundedReceiver<Order>,
) -> Option<oneshot::Sender<()>> {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Do(job) => {
                let (work, open) = (job(routes.clone()), stage.subscribe());
                spawn_local(async move {
                    work.await;
                    drop(open);
                });
            }
            Order::Close(closing) => return Some(closing),
        }
    }
    None
}
