//! What a process takes from outside: where its tasks run, what time it is, connections, randomness. The real ones, or those
//! of a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "testing")]
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
#[cfg(feature = "testing")]
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Handle;
#[cfg(feature = "testing")]
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

#[cfg(feature = "testing")]
use crate::cluster::Scatter;
#[cfg(feature = "testing")]
use crate::wire::{Inbound, Peer};

/// The world that a process is in. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct World {
    #[cfg(feature = "testing")]
    simulated: Option<Arc<dyn Simulated>>,
    /// In place of every placement.
    #[cfg(feature = "testing")]
    scatter: Option<Arc<Scatter>>,
}

/// A process of a simulation: everything that it takes from outside comes from here, and from a seed.
#[cfg(feature = "testing")]
pub(crate) trait Simulated: Send + Sync + 'static {
    /// By its own clock, which may run fast or slow, since it started, in ms.
    fn elapsed_ms(&self) -> u64;
    /// By its own wall clock, since the epoch.
    fn wall(&self) -> std::time::Duration;
    /// An id that nobody has.
    fn fresh(&self) -> Uuid;
    /// For a handshake.
    fn nonce(&self) -> [u8; 32];
    /// Its tasks: they end with it.
    fn spawner(&self) -> Spawner;
    /// Streams that others open to this address, `host:port`; port 0: any.
    fn listen(&self, address: &str) -> io::Result<(SocketAddr, Incoming)>;
    /// A stream to whoever listens there.
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<DuplexStream>>;
    /// What a connection hands on goes through here.
    fn inbound(&self, peer: &Peer, inbound: Box<dyn Inbound>) -> Box<dyn Inbound>;
    /// Nothing of it runs any more.
    fn end(&self);
}

#[cfg(feature = "testing")]
pub(crate) type Incoming = mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>;

/// A connection that is not shaken hands on.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(feature = "testing")]
    Simulated(DuplexStream),
}

/// Where connections come in.
pub(crate) enum Accepting {
    Tcp(TcpListener),
    #[cfg(feature = "testing")]
    Simulated(tokio::sync::Mutex<Incoming>),
}

/// Where a process's tasks run that are no turns.
#[derive(Clone)]
pub(crate) enum Spawner {
    Runtime(Handle),
    #[cfg(feature = "testing")]
    Simulated(mpsc::UnboundedSender<BoxFuture<'static, ()>>),
}

impl World {
    #[cfg(feature = "testing")]
    pub(crate) fn simulated(simulated: Arc<dyn Simulated>) -> Self {
        Self { simulated: Some(simulated), scatter: None }
    }

    /// Where entities are kept apart, by this one for all processes of the test.
    #[cfg(feature = "testing")]
    pub(crate) fn scattered(self, scatter: Option<Arc<Scatter>>) -> Self {
        Self { scatter, ..self }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn scatter(&self) -> Option<&Scatter> {
        self.scatter.as_deref()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn simulation(&self) -> Option<&Arc<dyn Simulated>> {
        self.simulated.as_ref()
    }

    /// In ms, by the clock of this process.
    pub(crate) fn since(&self, started: Instant) -> u64 {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            return simulated.elapsed_ms();
        }
        started.elapsed().as_millis() as u64
    }

    #[allow(clippy::disallowed_methods)] // the one place where wall time enters
    pub(crate) fn wall(&self) -> SystemTime {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            return SystemTime::UNIX_EPOCH + simulated.wall();
        }
        SystemTime::now()
    }

    /// The time since the machine was started, in ms.
    pub(crate) fn boot_ms(&self) -> u64 {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            return simulated.elapsed_ms() + 1;
        }
        boot_ms()
    }

    /// An id that nobody has.
    pub(crate) fn fresh(&self) -> Uuid {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            return simulated.fresh();
        }
        Uuid::new_v4()
    }

    pub(crate) async fn dial(&self, address: &str) -> io::Result<Socket> {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            return simulated.dial(address).await.map(Socket::Simulated);
        }
        TcpStream::connect(address).await.map(Socket::Tcp)
    }

    /// The addresses that this name stands for.
    pub(crate) async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        lookup_host(address).await.map(Iterator::collect)
    }

    pub(crate) async fn listen(&self, addresses: &[SocketAddr]) -> io::Result<(SocketAddr, Accepting)> {
        #[cfg(feature = "testing")]
        if let Some(simulated) = &self.simulated {
            let address = addresses.first().map(ToString::to_string).unwrap_or_default();
            let (address, incoming) = simulated.listen(&address)?;
            return Ok((address, Accepting::Simulated(tokio::sync::Mutex::new(incoming))));
        }
        let socket = TcpListener::bind(addresses).await?;
        Ok((socket.local_addr()?, Accepting::Tcp(socket)))
    }
}

impl Accepting {
    pub(crate) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(socket, from)| (Socket::Tcp(socket), from)),
            #[cfg(feature = "testing")]
            Self::Simulated(incoming) => match incoming.lock().await.recv().await {
                Some((socket, from)) => Ok((Socket::Simulated(socket), from)),
                None => std::future::pending().await,
            },
        }
    }
}

impl Spawner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Runtime(runtime) => drop(runtime.spawn(task)),
            // A process that is over runs nothing.
            #[cfg(feature = "testing")]
            Self::Simulated(tasks) => drop(tasks.send(task.boxed())),
        }
    }

    /// Everything runs on one thread.
    pub(crate) fn is_simulated(&self) -> bool {
        #[cfg(feature = "testing")]
        if let Self::Simulated(_) = self {
            return true;
        }
        false
    }

    /// A task that need not be `Send`: it is made where it runs.
    #[cfg(feature = "testing")]
    pub(crate) fn spawn_here<F: Future<Output = ()> + 'static>(&self, make: impl FnOnce() -> F + Send + 'static) {
        self.spawn(async move { drop(tokio::task::spawn_local(make())) });
    }

    /// What comes of it; `None`: it ended before.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let (done, result) = oneshot::channel();
        self.spawn(async move { drop(done.send(task.await)) });
        result.map(Result::ok).boxed()
    }
}

/// The time since the machine was started, in ms. Unlike `Instant` it goes on in a suspended machine: a silo that wakes
/// up must not believe in a lease of yesterday.
#[cfg(unix)]
pub(crate) fn boot_ms() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Where there is no such clock, as on macOS, this one does not stop, or there is no better.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let time = clock_gettime(CLOCK);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// The time since the first call, in ms: here `Instant` does not stop in a suspended machine.
#[cfg(not(unix))]
#[allow(clippy::disallowed_methods)] // the machine's own clock is what is wanted
pub(crate) fn boot_ms() -> u64 {
    static STARTED: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    STARTED.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_rises() {
        let first = boot_ms();
        assert!(first > 0 && boot_ms() >= first);
    }
}
