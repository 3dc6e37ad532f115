use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::entity::{Deadlines, Far, Realm, Tick, Waits};
use crate::messaging::Parcel;
use crate::silo::clock::{Clock, Pulse};
use crate::silo::config::{Limits, millis};
use crate::silo::cycle::{Found, Probe};
use crate::store::{Incarnation, Store};
use crate::telemetry::{Counter, Shard};
use crate::wire::EntityId;

/// What everything in a silo shares.
pub(crate) struct Shared {
    pub(crate) incarnation: Incarnation,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) deadlines: Deadlines,
    pub(crate) waits: Waits,
    pub(crate) arbiters: Vec<Desk>,
    pub(crate) data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Set once, when every arbiter has its hosts.
    pub(crate) kinds: OnceLock<Kinds>,
    /// No new work: what runs is finished, committed and released.
    draining: AtomicBool,
    seed: u64,
    asks: AtomicU64,
    random: AtomicU64,
    unhosted: Mutex<HashSet<Arc<str>>>,
}

/// An arbiter, seen from other threads.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) pulse: Pulse,
    pub(crate) shard: Shard,
    /// Notifications on their way to it, waiting or running.
    pub(crate) notices: AtomicUsize,
    /// Activations, at the last sweep.
    pub(crate) live: AtomicUsize,
    /// Sweeps so far.
    pub(crate) sweeps: AtomicU64,
}

impl Desk {
    fn new() -> Self {
        Self {
            pulse: Pulse::default(),
            shard: Shard::new(),
            notices: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            sweeps: AtomicU64::new(0),
        }
    }
}

/// The kinds that a silo hosts.
#[derive(Default)]
pub(crate) struct Kinds {
    /// The `PortOf` each kind.
    pub(crate) by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub(crate) by_name: HashMap<&'static str, Arc<dyn Letterbox>>,
}

/// The way to entities whose type the sender does not know.
pub(crate) trait Letterbox: Send + Sync {
    /// Hands it to the host of its entity.
    fn post(&self, post: Post);
}

/// What comes for an entity from another one, not from a typed call.
pub(crate) enum Post {
    Parcel(Parcel),
    Probe(Probe),
    Found(Found),
}

impl Post {
    pub(crate) fn addressee(&self) -> &EntityId {
        match self {
            Self::Parcel(parcel) => parcel.addressee(),
            Self::Probe(probe) => &probe.at,
            Self::Found(found) => &found.at,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        limits: Limits,
        arbiters: usize,
        data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        let incarnation = Incarnation::new_v4();
        let (seed, random) = incarnation.as_u64_pair();
        Self {
            incarnation,
            store,
            clock: Clock::new(),
            deadlines: Deadlines::new(limits.calls_max, random.rotate_left(17)),
            limits,
            waits: Waits::default(),
            arbiters: (0..arbiters).map(|_| Desk::new()).collect(),
            data,
            kinds: OnceLock::new(),
            draining: AtomicBool::new(false),
            seed,
            asks: AtomicU64::new(0),
            random: AtomicU64::new(random),
            unhosted: Mutex::default(),
        }
    }

    /// Sends it on its way. A kind that nobody hosts keeps its messages at their senders, and is named once in the log.
    pub(crate) fn post(&self, post: Post) {
        let kind = &post.addressee().kind;
        if let Some(letterbox) = self.kinds.get().and_then(|kinds| kinds.by_name.get(&**kind)) {
            return letterbox.post(post);
        }
        if self.unhosted.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.clone()) {
            tracing::warn!(
                target: "grange",
                %kind,
                "messages wait for a kind that no silo hosts: add its `.entity::<…>()` to a silo's builder"
            );
        }
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn nonce(&self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random())
    }
}

impl Realm for Shared {
    fn port(&self, kind: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        self.kinds.get()?.by_type.get(&kind).map(|port| &**port)
    }
    fn far(&self) -> Option<&Arc<dyn Far>> {
        None
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn tick(&self) -> Tick {
        self.clock.tick()
    }
    fn tick_now(&self) -> Tick {
        self.clock.advance()
    }
    fn now(&self) -> SystemTime {
        self.clock.wall()
    }
    fn timeout_default(&self) -> Tick {
        millis(self.limits.timeout_default)
    }
    fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }
    fn waits(&self) -> &Waits {
        &self.waits
    }
    fn data(&self, kind: TypeId) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.data.get(&kind)
    }
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
    fn admit(&self, arbiter: usize) -> bool {
        let desk = &self.arbiters[arbiter];
        let admitted = desk.notices.fetch_add(1, Ordering::Relaxed) < self.limits.notices_max;
        if !admitted {
            desk.shard.count(Counter::CallOverloaded);
        }
        admitted
    }
    fn discharge(&self, arbiter: usize) {
        self.arbiters[arbiter].notices.fetch_sub(1, Ordering::Relaxed);
    }

    fn next_ask(&self) -> u64 {
        // By the hour, so that the later is the greater in a cluster, too; then a counter, from a random place so that no
        // two silos give the same. In a range of its own: the numbers of other calls are below 2⁶² and above 2⁶³.
        let hour = (self.clock.wall_ms() & ((1 << 40) - 1)) << 22;
        let drawn = |last: u64| Some((last + 1).max(hour | (self.seed & ((1 << 22) - 1))));
        let last = self.asks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, drawn);
        let last = last.unwrap_or_else(|last| last);
        1 << 62 | drawn(last).unwrap_or(last)
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014): one seed, one sequence.
    fn random(&self) -> u64 {
        let mut word = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
