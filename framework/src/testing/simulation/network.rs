//! The network of a simulation: streams between processes, which take time, stand still, and break.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use super::faults::Injected;
use super::stage::Stage;
use crate::world::Incoming;

/// What is on its way in one stream.
const STREAM_BYTES: usize = 1 << 20;

pub(super) struct Network {
    stage: Arc<Stage>,
    kept: Mutex<Kept>,
    /// Partitions have changed.
    changed: Notify,
}

#[derive(Default)]
struct Kept {
    /// By address.
    listeners: BTreeMap<String, Listening>,
    /// In the order in which they were made.
    streams: Vec<Stream>,
    /// From the first nothing reaches the second.
    parted: BTreeSet<(String, String)>,
    ports: u16,
}

struct Listening {
    who: String,
    incoming: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
}

struct Stream {
    ends: [String; 2],
    cut: Arc<Cut>,
}

/// Whether a stream is broken. Not a `watch` channel: that wakes in an order of its own, which no seed repeats.
#[derive(Default)]
struct Cut {
    is: AtomicBool,
    notify: Notify,
}

impl Cut {
    fn set(&self) {
        self.is.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    async fn is(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.is.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// When the first words are on their way.
async fn breaks_soon(cut: Arc<Cut>) {
    tokio::time::sleep(Duration::from_millis(4)).await;
    cut.set();
}

impl Network {
    pub(super) fn new(stage: Arc<Stage>) -> Arc<Self> {
        Arc::new(Self { stage, kept: Mutex::default(), changed: Notify::new() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, who: &str, address: &str) -> io::Result<(SocketAddr, Incoming)> {
        let parsed: SocketAddr = address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (incoming, come) = mpsc::unbounded_channel();
        self.kept().listeners.insert(address.to_owned(), Listening { who: who.to_owned(), incoming });
        Ok((parsed, come))
    }

    pub(super) fn who_listens(&self, address: &str) -> String {
        self.kept().listeners.get(address).map_or_else(|| address.to_owned(), |listening| listening.who.clone())
    }

    /// Opens a stream, which may break at once. An address at which nobody listens refuses.
    pub(super) async fn dial(
        self: Arc<Self>,
        from: &str,
        address: &str,
        fault: Option<Injected>,
    ) -> io::Result<DuplexStream> {
        let to = self.who_listens(address);
        // SYN and its answer.
        self.passes(from, &to).await;
        self.passes(&to, from).await;
        let (near, near_end) = tokio::io::duplex(STREAM_BYTES);
        let (far, far_end) = tokio::io::duplex(STREAM_BYTES);
        let cut = Arc::new(Cut::default());
        {
            let mut kept = self.kept();
            kept.ports = kept.ports.wrapping_add(1);
            let port = 20_000 + kept.ports % 40_000;
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let listening = kept.listeners.get(address).ok_or_else(refused)?;
            let caller = SocketAddr::from(([127, 0, 0, 1], port));
            listening.incoming.send((far, caller)).map_err(|_| refused())?;
            kept.streams.retain(|stream| Arc::strong_count(&stream.cut) > 1);
            kept.streams.push(Stream { ends: [from.to_owned(), to.clone()], cut: cut.clone() });
        }
        match fault {
            Some(Injected::CutAtAccept) => cut.set(),
            Some(Injected::CutAtHandshake) => drop(tokio::spawn(breaks_soon(cut.clone()))),
            _ => {}
        }
        let (near_reads, near_writes) = tokio::io::split(near_end);
        let (far_reads, far_writes) = tokio::io::split(far_end);
        // Tasks of nobody: they go on while a process stands still.
        let there = self.clone().carry(from.to_owned(), to.clone(), near_reads, far_writes, cut.clone());
        drop(tokio::spawn(there));
        drop(tokio::spawn(self.carry(to, from.to_owned(), far_reads, near_writes, cut)));
        Ok(near)
    }

    /// Carries bytes one way, in their order.
    async fn carry(
        self: Arc<Self>,
        from: String,
        to: String,
        mut reads: ReadHalf<DuplexStream>,
        mut writes: WriteHalf<DuplexStream>,
        cut: Arc<Cut>,
    ) {
        let carrying = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = reads.read(&mut buffer).await {
                self.passes(&from, &to).await;
                if writes.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
            let _ = writes.shutdown().await;
        };
        let _ = futures_util::future::select(std::pin::pin!(carrying), std::pin::pin!(cut.is())).await;
    }

    /// As long as something takes on its way; while the two are parted, until they are not.
    async fn passes(&self, from: &str, to: &str) {
        tokio::time::sleep(Duration::from_micros(self.stage.between(100, 3_000))).await;
        let way = (from.to_owned(), to.to_owned());
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.kept().parted.contains(&way) {
                return;
            }
            changed.await;
        }
    }

    /// Nothing from the first reaches the second from now on.
    pub(super) fn part(&self, from: &str, to: &str) {
        self.kept().parted.insert((from.to_owned(), to.to_owned()));
        self.changed.notify_waiters();
    }

    /// Everybody reaches everybody.
    pub(super) fn heal(&self) {
        self.kept().parted.clear();
        self.changed.notify_waiters();
    }

    /// Breaks the streams between two processes.
    pub(super) fn cut(&self, one: &str, other: &str) {
        self.cut_those(|ends| ends.iter().any(|end| end == one) && ends.iter().any(|end| end == other));
    }

    /// Of a process that is gone: its streams break, and nobody listens at its address.
    pub(super) fn cut_all(&self, who: &str) {
        self.kept().listeners.retain(|_, listening| listening.who != who);
        self.cut_those(|ends| ends.iter().any(|end| end == who));
    }

    fn cut_those(&self, these: impl Fn(&[String; 2]) -> bool) {
        let mut kept = self.kept();
        kept.streams.retain(|stream| {
            let cut = these(&stream.ends);
            if cut {
                stream.cut.set();
            }
            !cut
        });
    }
}
