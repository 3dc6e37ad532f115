//! A TCP proxy that makes the network's faults: between a silo and Redis, between silos, between a client and a silo.
//!
//! It runs on a thread of its own, so that a busy test does not slow it. What is held by a fault is not lost: as with
//! real TCP it arrives when the fault is over, unless the connection was closed meanwhile. What a proxy in user space
//! can't show is a connection attempt that nobody answers: the system accepts it, and then there is silence.

mod conditions;
mod lane;
mod listener;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use conditions::Conditions;
pub use conditions::{Direction, Lane};

use crate::random::Random;
use crate::servers::free_port;

/// What passed through.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    bytes: [AtomicU64; 2],
}

/// A proxy in front of one address. Dropping it ends its connections.
pub struct Proxy {
    address: SocketAddr,
    conditions: Arc<watch::Sender<Conditions>>,
    counts: Arc<Counts>,
    // Dropped: the thread ends.
    _stop: oneshot::Sender<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions = self.conditions.borrow();
        write!(f, "{} → {}: {:?}, {:?}", self.address, conditions.target, conditions.lanes, self.counts)
    }
}

impl Proxy {
    /// Starts one on a port of its own. The seed decides where connections are cut.
    ///
    /// # Panics
    /// When it can't listen.
    pub fn start(target: &str, seed: u64) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (conditions, watching) = watch::channel(Conditions::new(target));
        let conditions = Arc::new(conditions);
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (listening, listens) = std::sync::mpsc::channel();
        let (random, counted, control) = (Random::new(seed), counts.clone(), conditions.clone());
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let serving = listener::serve(address, watching, control, counted, random, listening);
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        };
        std::thread::Builder::new().name("proxy".into()).spawn(serve).expect("a thread");
        listens.recv().expect("the proxy's thread").unwrap_or_else(|error| panic!("{address}: {error}"));
        Self { address, conditions, counts, _stop: stop }
    }

    /// Where it listens: `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections at once, with a reset. New ones are made.
    pub fn cut(&self) {
        self.change(|conditions| conditions.cuts += 1);
    }

    /// Ends all connections, and refuses new ones, until [`heal`](Self::heal): as if nobody listened.
    pub fn refuse(&self) {
        self.change(|conditions| {
            conditions.refuses = true;
            conditions.cuts += 1;
        });
    }

    /// Lets nothing pass in this direction, until [`heal`](Self::heal); new connections meet silence.
    pub fn hold(&self, direction: Direction) {
        self.change(|conditions| direction.lanes(&mut conditions.lanes).for_each(|lane| lane.holds = true));
    }

    /// Delays everything in this direction by so much.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(|conditions| direction.lanes(&mut conditions.lanes).for_each(|lane| lane.delay = delay));
    }

    /// Lets so many bytes pass in a second.
    pub fn throttle(&self, direction: Direction, bytes_per_second: u64) {
        let rate = Some(bytes_per_second.max(1));
        self.change(|conditions| direction.lanes(&mut conditions.lanes).for_each(|lane| lane.bytes_per_second = rate));
    }

    /// Lets each connection pass a random number of bytes below this, from now on, and cuts it there: mid-frame.
    pub fn cut_within(&self, direction: Direction, bytes: u64) {
        let bound = Some(bytes.max(1));
        self.change(|conditions| direction.lanes(&mut conditions.lanes).for_each(|lane| lane.cut_within = bound));
    }

    /// Ends every fault. What was held goes on its way.
    pub fn heal(&self) {
        self.change(|conditions| {
            conditions.lanes = Default::default();
            conditions.refuses = false;
        });
    }

    /// Leads to another address from now on: a failover that clients see as lost connections.
    pub fn lead_to(&self, target: &str) {
        self.change(|conditions| {
            conditions.target = target.to_owned();
            conditions.cuts += 1;
        });
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Bytes that passed so far.
    pub fn bytes(&self, lane: Lane) -> u64 {
        self.counts.bytes[lane as usize].load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }
}
