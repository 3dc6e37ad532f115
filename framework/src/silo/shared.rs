use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Tick};
use crate::cluster::{Courier, HOPS_MAX, Handle, Lease, Route};
use crate::entity::{Deadlines, Far, FarEnd, Realm, Waits, unhosted};
use crate::messaging::Parcel;
use crate::mutant::Mutant;
use crate::silo::config::{Limits, millis};
use crate::silo::cycle::{Found, Probe};
use crate::silo::watch::Pulse;
use crate::store::{Incarnation, Store, StoreError};
use crate::telemetry::{Counter, Shard};
use crate::wire::{Ask, EntityId, Identity, Running, frames};

/// What everything in a silo shares.
pub(crate) struct Shared {
    /// Another one after the silo lost its place in the cluster and joined it again.
    pub(crate) identity: Identity,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<Clock>,
    /// Whether replies may leave; of a silo with no cluster it always holds.
    pub(crate) lease: Arc<Lease>,
    /// There are, or may be, other silos.
    pub(crate) clustered: bool,
    /// How often the silo lost its place: everything in memory from before is void.
    pub(crate) life: AtomicU64,
    /// It lost its place, and has no other yet: nothing is taken into memory.
    homeless: AtomicBool,
    cluster: OnceLock<Arc<Courier>>,
    far: OnceLock<Arc<dyn Far>>,
    /// Entities whose claims could not be released.
    pub(crate) not_given_back: AtomicUsize,
    /// The silo's place in the cluster.
    place: OnceLock<Handle>,
    pub(crate) deadlines: Deadlines,
    pub(crate) waits: Waits,
    pub(crate) arbiters: Vec<CachePadded<Desk>>,
    pub(crate) data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Set once, when every arbiter has its hosts.
    pub(crate) kinds: OnceLock<Kinds>,
    /// No new work: what runs is finished, committed and released.
    draining: AtomicBool,
    /// A mistake, planted on purpose.
    #[cfg(feature = "testing")]
    pub(crate) mutant: Option<crate::Mutant>,
    seed: u64,
    asks: AtomicU64,
    random: AtomicU64,
    unhosted: Mutex<HashSet<Arc<str>>>,
}

/// Takes a connection to where it runs.
pub(crate) type Settle = Box<dyn Fn(Running) + Send + Sync>;

/// An arbiter, seen from other threads.
pub(crate) struct Desk {
    pub(crate) pulse: Pulse,
    pub(crate) shard: Shard,
    /// Notifications on their way to it, waiting or running.
    pub(crate) notices: AtomicUsize,
    /// Activations, at the last sweep.
    pub(crate) live: AtomicUsize,
    /// Sweeps so far.
    pub(crate) sweeps: AtomicU64,
    /// Those that live there.
    pub(crate) connections: AtomicUsize,
    /// Spawns one there.
    pub(crate) settle: OnceLock<Settle>,
}

impl Desk {
    fn new() -> Self {
        Self {
            pulse: Pulse::default(),
            shard: Shard::new(),
            notices: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            sweeps: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            settle: OnceLock::new(),
        }
    }
}

/// The kinds that a silo hosts.
#[derive(Default)]
pub(crate) struct Kinds {
    /// The `PortOf` each kind.
    pub(crate) by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>, RandomState>,
    pub(crate) by_name: HashMap<&'static str, Arc<dyn Letterbox>, RandomState>,
}

/// The way to entities whose type the sender does not know.
pub(crate) trait Letterbox: Send + Sync {
    /// Hands it to the host of its entity.
    fn post(&self, post: Post, may_take: bool, hops: u8);
    /// Hands a call of another process to the host of its entity; one that is not in memory is taken there if it may be.
    fn ask(&self, arrival: Arrival, may_take: bool);
}

/// A call that came from another process.
pub(crate) struct Arrival {
    pub(crate) ask: Ask,
    /// `None`: a notification.
    pub(crate) end: Option<Arc<dyn FarEnd>>,
    /// By this silo's clock.
    pub(crate) deadline: Tick,
}

/// What comes for an entity from another one, not from a typed call.
#[derive(Serialize, Deserialize)]
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

/// The body of a frame, for people.
#[cfg(feature = "testing")]
pub(crate) fn describe_post(body: &[u8]) -> String {
    match rmp_serde::from_slice::<Post>(body) {
        Ok(Post::Parcel(Parcel::Message { envelope, again, .. })) => {
            let again = if again { ", again" } else { "" };
            format!("message {} of {} to {}::{}{again}", envelope.sequence, envelope.from, envelope.to, envelope.method)
        }
        Ok(Post::Parcel(Parcel::Acknowledge { sender, by, sequence, .. })) => {
            format!("{by} has message {sequence} of {sender}")
        }
        Ok(Post::Parcel(Parcel::Later { sender, by, sequence, .. })) => {
            format!("{by} can't take message {sequence} of {sender} now")
        }
        Ok(Post::Parcel(Parcel::Forget { sender, target, sequence, .. })) => {
            format!("{target} may forget {sender} up to {sequence}")
        }
        Ok(Post::Parcel(parcel)) => format!("word for {}", parcel.addressee()),
        Ok(Post::Probe(_) | Post::Found(_)) => "a search for a cycle".into(),
        Err(_) => "something".into(),
    }
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        limits: Limits,
        arbiters: usize,
        data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
        identity: Identity,
        lease: Arc<Lease>,
        clustered: bool,
    ) -> Self {
        let (seed, random) = identity.incarnation().as_u64_pair();
        Self {
            clock: Arc::new(Clock::new(identity.world.clone())),
            identity,
            store,
            lease,
            clustered,
            life: AtomicU64::new(0),
            homeless: AtomicBool::new(false),
            cluster: OnceLock::new(),
            far: OnceLock::new(),
            not_given_back: AtomicUsize::new(0),
            place: OnceLock::new(),
            deadlines: Deadlines::new(limits.calls_max, random.rotate_left(17)),
            limits,
            waits: Waits::default(),
            arbiters: (0..arbiters).map(|_| Desk::new().into()).collect(),
            data,
            kinds: OnceLock::new(),
            draining: AtomicBool::new(false),
            #[cfg(feature = "testing")]
            mutant: None,
            seed,
            asks: AtomicU64::new(0),
            random: AtomicU64::new(random),
            unhosted: Mutex::default(),
        }
    }

    /// How many entities are in memory, to within a sweep.
    pub(crate) fn load(&self) -> u64 {
        self.arbiters.iter().map(|desk| desk.live.load(Ordering::Relaxed) as u64).sum()
    }

    /// Every arbiter has swept since the question: the first sweep may have been under way.
    pub(crate) async fn swept_twice(&self) {
        let sweeps = || self.arbiters.iter().map(|desk| desk.sweeps.load(Ordering::Acquire));
        let enough: Vec<u64> = sweeps().map(|sweeps| sweeps + 2).collect();
        while !sweeps().zip(&enough).all(|(sweeps, enough)| sweeps >= *enough) {
            tokio::time::sleep(crate::silo::sweep::SWEEP).await;
        }
    }

    /// From here on there are other silos.
    pub(crate) fn join(&self, courier: Arc<Courier>, place: Handle) {
        let _ = self.place.set(place);
        let _ = self.far.set(courier.clone());
        let _ = self.cluster.set(courier);
    }

    /// This life in the cluster is over: what is in memory is void, and nothing comes into it until there is another.
    pub(crate) fn lose_place(&self) {
        self.homeless.store(true, Ordering::Release);
        self.life.fetch_add(1, Ordering::AcqRel);
    }

    /// It has a place again.
    pub(crate) fn find_place(&self) {
        self.homeless.store(false, Ordering::Release);
    }

    /// Whether this mistake is to be made.
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        #[cfg(feature = "testing")]
        if self.mutant == Some(mutant) {
            return true;
        }
        mutant.is_planted()
    }

    pub(crate) fn is_homeless(&self) -> bool {
        self.homeless.load(Ordering::Acquire)
    }

    pub(crate) fn courier(&self) -> Option<&Arc<Courier>> {
        self.cluster.get()
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.identity.incarnation()
    }

    fn letterbox(&self, kind: &str) -> Option<&Arc<dyn Letterbox>> {
        self.kinds.get().and_then(|kinds| kinds.by_name.get(kind))
    }

    /// Sends it on its way. A kind that nobody hosts keeps its messages at their senders, and is named once in the log.
    pub(crate) fn post(&self, post: Post) {
        match self.courier().map(|courier| courier.route(post.addressee())) {
            None | Some(Route::Here) => self.post_here(post, true, 0),
            Some(route) => self.post_far(route, &post, 0),
        }
    }

    /// It came from another silo.
    pub(crate) fn arrive(&self, post: Post, hops: u8) {
        let may_take = self.courier().is_none_or(|courier| courier.may_take(post.addressee(), hops));
        self.post_here(post, may_take, hops);
    }

    /// It came here after so many detours, and the entity is elsewhere.
    pub(crate) fn post_on(&self, post: Post, hops: u8) {
        let Some(courier) = self.courier() else { return };
        if hops > HOPS_MAX + 2 {
            return; // in circles: its sender sends it again, by what is known then
        }
        match courier.route(post.addressee()) {
            Route::Here => self.post_here(post, true, hops),
            route => self.post_far(route, &post, hops.max(HOPS_MAX)),
        }
    }

    fn post_here(&self, post: Post, may_take: bool, hops: u8) {
        match self.letterbox(&post.addressee().kind) {
            Some(letterbox) => letterbox.post(post, may_take, hops),
            None => self.unhosted(&post.addressee().kind),
        }
    }

    fn post_far(&self, route: Route, post: &Post, hops: u8) {
        if let Route::Nowhere { unhosted: true, .. } = &route {
            self.unhosted(&post.addressee().kind);
        }
        let Some(courier) = self.courier() else { return };
        let Ok(body) = rmp_serde::to_vec_named(post) else { return };
        if courier.post(route, frames::POST, hops, body) {
            return;
        }
        // The sender of a message is not to wait for its resend: it starts again after a pause that grows.
        if let Post::Parcel(Parcel::Message { envelope, .. }) = post {
            let (sender, by, sequence) = (envelope.from.clone(), envelope.to.clone(), envelope.sequence);
            self.post_home(Parcel::Later { sender, by, sequence, after: None });
        }
    }

    /// To an entity that is here, or else to nobody.
    fn post_home(&self, parcel: Parcel) {
        if let Some(letterbox) = self.letterbox(&parcel.addressee().kind) {
            letterbox.post(Post::Parcel(parcel), false, u8::MAX);
        }
    }

    fn unhosted(&self, kind: &Arc<str>) {
        if self.unhosted.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.clone()) {
            tracing::warn!(
                target: "grange",
                %kind,
                "messages wait for a kind that no silo hosts: add its `.entity::<…>()` to a silo's builder"
            );
        }
    }

    /// A call came from another process.
    pub(crate) fn ask(self: &Arc<Self>, arrival: Arrival, hops: u8) {
        let may_take = self.courier().is_none_or(|courier| courier.may_take(&arrival.ask.to, hops));
        match self.letterbox(&arrival.ask.to.kind) {
            Some(letterbox) => letterbox.ask(arrival, may_take),
            None if self.courier().is_none_or(|courier| courier.route(&arrival.ask.to) == Route::Here) => {
                let error = unhosted(&arrival.ask.to.kind);
                arrival.fail(error);
            }
            None => arrival.go_on(self, None),
        }
    }

    /// Where an entity was found that is not where its partition is.
    pub(crate) fn learned_owner(&self, id: &EntityId) -> Option<Incarnation> {
        self.courier()?.hints.get(id)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn random_below(&self, bound: u64) -> u64 {
        self.random() % bound.max(1)
    }

    /// Whether this silo lives, by a table read after the question.
    pub(crate) async fn lives_somewhere(&self, silo: Incarnation) -> Result<bool, StoreError> {
        let Some(place) = self.place.get() else { return Ok(false) };
        if let Some(status) = place.table().status(silo) {
            return Ok(status.lives());
        }
        Ok(!place.reread().await?.is_gone(silo))
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
        self.far.get()
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

    fn random(&self) -> u64 {
        crate::clock::scatter(&self.random)
    }
}
