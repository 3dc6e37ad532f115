//! A process of a simulation: a set of tasks that is polled, stands still, or is dropped where it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::faults::{DELAYED, Injected, ON_ANSWER, ON_CALL, ON_CONNECT, ON_MESSAGE, PAUSE};
use super::network::Network;
use super::stage::{EPOCH_MS, Stage};
use crate::wire::{Ask, Header, Inbound, Link, Peer, Violation, frames};
use crate::world::{Incoming, Simulated, Spawner};

/// One process, seen from the rest of the simulation.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) stage: Arc<Stage>,
    pub(super) network: Arc<Network>,
    started_ms: u64,
    /// How fast its clock runs, in thousandths.
    rate: u64,
    tasks: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    dead: AtomicBool,
    died: Notify,
    /// It does not reach the store.
    storeless: AtomicBool,
    /// It is not polled before then; 0: it runs.
    paused_until: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Told when it died by a fault.
    crashed: mpsc::UnboundedSender<String>,
    me: Weak<Self>,
}

/// The process itself: polls its tasks.
struct Life {
    tasks: LocalSet,
    process: Arc<Process>,
}

impl Process {
    /// Starts one, on this thread: within a `LocalSet`.
    pub(super) fn start(
        name: String,
        rate: u64,
        stage: Arc<Stage>,
        network: Arc<Network>,
        crashed: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        let (tasks, mut made) = mpsc::unbounded_channel::<BoxFuture<'static, ()>>();
        let started_ms = stage.now_ms();
        let process = Arc::new_cyclic(|me| Self {
            name,
            stage,
            network,
            started_ms,
            rate,
            tasks,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            storeless: AtomicBool::new(false),
            paused_until: AtomicU64::new(0),
            waker: Mutex::default(),
            crashed,
            me: me.clone(),
        });
        let set = LocalSet::new();
        set.spawn_local(async move {
            while let Some(task) = made.recv().await {
                drop(tokio::task::spawn_local(task));
            }
        });
        drop(tokio::task::spawn_local(Life { tasks: set, process: process.clone() }));
        process
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// It dies where it is: nothing that it does from here on is seen by anybody.
    pub(super) fn kill(&self) {
        if !self.dead.swap(true, Ordering::AcqRel) {
            self.network.cut_all(&self.name);
            self.died.notify_waiters();
            self.wake();
        }
    }

    pub(super) fn reaches_store(&self) -> bool {
        !self.storeless.load(Ordering::Acquire)
    }

    pub(super) fn set_reaches_store(&self, reaches: bool) {
        self.storeless.store(!reaches, Ordering::Release);
    }

    /// Waits for its death.
    pub(super) async fn died(&self) {
        let mut died = std::pin::pin!(self.died.notified());
        died.as_mut().enable();
        if !self.is_dead() {
            died.await;
        }
    }

    fn crash(&self) {
        if !self.is_dead() {
            self.kill();
            let _ = self.crashed.send(self.name.clone());
        }
    }

    /// It stands still for so long.
    pub(super) fn pause(&self, time: Duration) {
        let until = self.stage.now_ms() + time.as_millis() as u64;
        self.paused_until.fetch_max(until, Ordering::AcqRel);
        if let Some(me) = self.me.upgrade() {
            // A task of nobody's: its own are not polled.
            drop(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                me.wake();
            }));
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.stage.now_ms() < self.paused_until.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// What a fault does to this process as a whole; `true`: what was about to happen does not.
    pub(super) fn suffers(&self, fault: Injected) -> bool {
        match fault {
            Injected::Crash => self.crash(),
            Injected::Pause => self.pause(PAUSE),
            _ => return false,
        }
        fault == Injected::Crash
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.process.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if !self.process.is_dead() && !self.process.is_paused() {
            let _ = Pin::new(&mut self.tasks).poll(context);
        }
        if self.process.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Simulated for Process {
    fn elapsed_ms(&self) -> u64 {
        (self.stage.now_ms() - self.started_ms) * self.rate / 1_000
    }
    fn wall(&self) -> Duration {
        Duration::from_millis(EPOCH_MS + self.started_ms + self.elapsed_ms())
    }
    fn fresh(&self) -> Uuid {
        let id = self.stage.fresh();
        self.stage.name(id, &self.name);
        id
    }
    fn nonce(&self) -> [u8; 32] {
        self.stage.bytes()
    }
    fn spawner(&self) -> Spawner {
        Spawner::Simulated(self.tasks.clone())
    }
    fn listen(&self, address: &str) -> io::Result<(SocketAddr, Incoming)> {
        self.network.listen(&self.name, address)
    }
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<DuplexStream>> {
        let to = self.network.who_listens(address);
        let fault = self.stage.point(&self.name, &format!("connects to {to}"), ON_CONNECT);
        let (network, name, address) = (self.network.clone(), self.name.clone(), address.to_owned());
        Box::pin(async move {
            match fault {
                Some(Injected::ConnectRefused) => Err(io::ErrorKind::ConnectionRefused.into()),
                fault => network.dial(&name, &address, fault).await,
            }
        })
    }
    fn inbound(&self, peer: &Peer, inbound: Box<dyn Inbound>) -> Box<dyn Inbound> {
        let from = self.stage.name_of(peer.incarnation);
        match self.me.upgrade() {
            Some(process) => Box::new(Tap { inner: Arc::new(Mutex::new(inbound)), process, from, late: None }),
            None => inbound,
        }
    }
    fn end(&self) {
        self.kill();
    }
}

/// Hears every frame before the process does.
struct Tap {
    /// Shared with what comes later.
    inner: Arc<Mutex<Box<dyn Inbound>>>,
    process: Arc<Process>,
    from: String,
    late: Option<(Header, Bytes)>,
}

impl Tap {
    fn inner(&self) -> MutexGuard<'_, Box<dyn Inbound>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On its way for longer; the process may be gone by then, or the connection.
    fn delay(&self, link: &Link, header: Header, body: Bytes) {
        let (inner, process, link) = (self.inner.clone(), self.process.clone(), link.clone());
        let comes_later = async move {
            tokio::time::sleep(DELAYED).await;
            if !process.is_dead() && !link.is_closed() {
                let body = Bytes::copy_from_slice(&body);
                let _ = inner.lock().unwrap_or_else(PoisonError::into_inner).frame(&link, header, body);
            }
        };
        let _ = self.process.tasks.send(Box::pin(comes_later));
    }

    fn describe(&self, header: Header, body: &Bytes) -> Option<String> {
        let from = &self.from;
        Some(match header.kind {
            frames::ASK => match Ask::read(body.clone()) {
                Ok(ask) => format!("hears {from} ask {}::{}", ask.to, String::from_utf8_lossy(&ask.method)),
                Err(_) => format!("hears {from} ask something"),
            },
            frames::ANSWER => format!("hears {from} answer {}", header.correlation),
            frames::FAILURE => format!("hears {from} fail {}", header.correlation),
            frames::ELSEWHERE => format!("hears {from} send {} elsewhere", header.correlation),
            frames::POST => {
                let what = crate::silo::describe_post(body);
                format!("hears from {from}: {what}")
            }
            _ => return None,
        })
    }
}

impl Inbound for Tap {
    fn frame(&mut self, link: &Link, header: Header, body: Bytes) -> Result<(), Violation> {
        if self.process.is_dead() {
            return Ok(());
        }
        let Some(what) = self.describe(header, &body) else { return self.inner().frame(link, header, body) };
        let faults = match header.kind {
            frames::POST => ON_MESSAGE,
            frames::ASK => ON_CALL,
            _ if self.process.name.starts_with("silo") => ON_CALL,
            _ => ON_ANSWER,
        };
        let fault = self.process.stage.point(&self.process.name, &what, faults);
        match fault {
            Some(Injected::FrameLost) => return Ok(()),
            Some(Injected::FrameLate) if self.late.is_none() => {
                self.late = Some((header, body));
                return Ok(());
            }
            Some(Injected::FrameDelayed) => {
                self.delay(link, header, body);
                return Ok(());
            }
            Some(Injected::FrameTwice) => self.inner().frame(link, header, body.clone())?,
            Some(Injected::CutBefore) => {
                self.process.network.cut(&self.process.name, &self.from);
                return Ok(());
            }
            Some(fault) if self.process.suffers(fault) => return Ok(()),
            _ => {}
        }
        self.inner().frame(link, header, body)?;
        if fault == Some(Injected::CutAfter) {
            self.process.network.cut(&self.process.name, &self.from);
        }
        match self.late.take() {
            Some((header, body)) => self.inner().frame(link, header, body),
            None => Ok(()),
        }
    }

    fn may_read(&self, link: &Link) -> bool {
        self.inner().may_read(link)
    }

    fn closed(&mut self, link: &Link, reason: &str) {
        if !self.process.is_dead() {
            self.process.stage.note(&self.process.name, format!("lost the connection with {}", self.from));
        }
        self.inner().closed(link, reason);
    }
}
