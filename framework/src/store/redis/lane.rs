//! Where connections live: on threads of their own, for whoever asks, and on arbiters, for who runs there.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::{LocalSet, spawn_local, unconstrained};
use tokio::time::timeout;

use super::faults::failed;
use super::routes::{Lane, Routes};
use super::server::Server;
use super::setup::Setup;
use crate::store::{Pending, StoreError};

type Job = Box<dyn FnOnce(Rc<Connections>) + Send>;
/// To whoever waits for an answer; it does not matter whether anybody still does.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A thread with connections of its own: asked from any other, whatever runtime that has. Where there are connections on the
/// very thread that asks, those are taken.
pub(super) struct Thread {
    /// Unique in the process.
    number: u64,
    origin: Origin,
    jobs: UnboundedSender<Order>,
    stage: Arc<watch::Sender<Stage>>,
    /// It takes nothing more.
    closed: AtomicBool,
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

/// A thread's connections. What is under way holds them.
pub(super) struct Connections {
    routes: Rc<Routes>,
    tasks: UnboundedSender<LocalBoxFuture<'static, ()>>,
    /// The store does not close before this is gone.
    _open: watch::Receiver<Stage>,
}

impl Connections {
    /// In a task of their thread, also where this is called from a task outside of its `LocalSet`.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let _ = self.tasks.send(Box::pin(task));
    }

    fn new(routes: Rc<Routes>, open: watch::Receiver<Stage>) -> Rc<Self> {
        let (tasks, mut given) = unbounded_channel();
        spawn_local(async move {
            while let Some(task) = given.recv().await {
                spawn_local(task);
            }
        });
        Rc::new(Self { routes, tasks, _open: open })
    }
}

impl Deref for Connections {
    type Target = Routes;

    fn deref(&self) -> &Routes {
        &self.routes
    }
}

thread_local! {
    /// Those of this arbiter, by the number of the [`Thread`] in whose place they are.
    static HERE: RefCell<Vec<(u64, Weak<Connections>)>> = const { RefCell::new(Vec::new()) };
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
        Ok(Self {
            number: THREADS.fetch_add(1, Ordering::Relaxed),
            origin,
            jobs,
            stage,
            closed: AtomicBool::new(false),
        })
    }

    /// Opens connections on this very thread: what is asked from here goes by them from now on.
    pub(super) fn open_here(&self) -> Pending<()> {
        let (opened, is_open) = oneshot::channel();
        let (number, mut origin, mut open) = (self.number, self.origin.clone(), self.stage.subscribe());
        origin.setup.speaks = false;
        spawn_local(async move {
            let routes = match origin.open().await {
                Ok(routes) => routes,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let connections = Connections::new(routes, open.clone());
            HERE.with_borrow_mut(|here| {
                here.retain(|(_, connections)| connections.strong_count() > 0);
                here.push((number, Rc::downgrade(&connections)));
            });
            let _ = opened.send(Ok(()));
            let _ = open.wait_for(|stage| *stage == Stage::Closing).await;
        });
        Box::pin(async move { is_open.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn here(&self) -> Option<Rc<Connections>> {
        HERE.with_borrow(|here| {
            let (_, connections) = here.iter().find(|(number, _)| *number == self.number)?;
            connections.upgrade()
        })
    }

    /// Hands work over; it is done whether or not anybody waits for the answer, for as long as its thread runs.
    pub(super) fn ask<T, F>(&self, work: impl FnOnce(Rc<Connections>) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        self.call(|connections, reply| {
            let work = work(connections.clone());
            connections.spawn(async move { drop(reply.send(work.await)) });
        })
    }

    /// The same for what needs no task: it is only begun there.
    pub(super) fn call<T: Send + 'static>(
        &self,
        begin: impl FnOnce(Rc<Connections>, Reply<T>) + Send + 'static,
    ) -> Pending<T> {
        if self.closed.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(StoreError::Closed)));
        }
        let (reply, answered) = oneshot::channel();
        match self.here() {
            Some(connections) => begin(connections, reply),
            // A thread that has stopped drops what it is asked, and the answer's end with it.
            None => _ = self.jobs.send(Order::Do(Box::new(move |connections| begin(connections, reply)))),
        }
        // Of a task's share of the loop it takes nothing: that is for what is done about it.
        Box::pin(unconstrained(async move { answered.await.unwrap_or(Err(StoreError::Closed)) }))
    }

    /// Ends it when all that was handed over is answered. `None`: somebody has.
    pub(super) fn close(&self) -> Option<oneshot::Receiver<()>> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (closed, closing) = oneshot::channel();
        let _ = self.jobs.send(Order::Close(closed));
        Some(closing)
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
                let connections = Connections::new(routes, stage.subscribe());
                let closing = serve(connections, orders).await;
                stage.send_replace(Stage::Closing);
                let _ = timeout(patience, stage.closed()).await;
                if let Some(closing) = closing {
                    let _ = closing.send(());
                }
            }
        }
    });
}

async fn serve(connections: Rc<Connections>, mut orders: UnboundedReceiver<Order>) -> Option<oneshot::Sender<()>> {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Do(job) => job(connections.clone()),
            Order::Close(closing) => return Some(closing),
        }
    }
    None
}
