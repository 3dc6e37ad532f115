//! Brings calls and messages to whoever has their entity: the same in a silo and in a client.
//!
//! Where an entity is, is a hint: what was learned, or what placement says. Whoever is asked knows better, and says so; the
//! claim in the store decides. What can't go anywhere now waits, and goes on when the table changes, when a connection
//! is there, or after a pause, until its deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::CallError;
use crate::clock::{Clock, Tick};
use crate::cluster::peer::{Peer, Posted, State, Up};
use crate::cluster::trip::Trip;
use crate::cluster::{Hints, Table};
use crate::entity::{Errand, Far, Placement, unhosted};
use crate::store::{Incarnation, Member, Roster, Status};
use crate::wire::{
    ConnectError, EntityId, Header, Identity, Inbound, Link, Malformed, Manner, PARTITIONS_DEFAULT, Partition, Role,
    SendError, Violation, WireLimits, frames, read_id, read_uuid,
};

/// How often waiting calls are looked at.
const ROUND: Duration = Duration::from_millis(20);

/// A call that waits for a way ends so long before its deadline, in ms: "unavailable, nothing was changed" says more
/// than "the deadline passed".
const SPARE_MS: Tick = 60;

/// How long a kind may be hosted by nobody before its calls are refused, in ms: silos come and go during an upgrade.
const UNHOSTED_MS: Tick = 3_000;

/// After so many wrong addresses a silo takes the entity whatever its own table says: tables may differ for a while.
pub(crate) const HOPS_MAX: u8 = 3;

/// Frames that nobody answers, waiting for one connection.
const POSTS_MAX: usize = 10_000;

/// Calls that wait for answers of one silo.
const PENDING_MAX: usize = 200_000;

/// Entities remembered to be elsewhere than their partition.
const HINTS_MAX: usize = 100_000;

/// The longest pause before a silo that can't be reached is tried again, in ms.
const RETRY_MAX_MS: u64 = 1_000;

/// What of this process concerns routing, if it is a silo.
pub(crate) struct Home {
    /// The kinds that it hosts.
    pub(crate) kinds: HashMap<String, Placement>,
    /// Whether nothing new may start here.
    pub(crate) closed: Box<dyn Fn() -> bool + Send + Sync>,
    /// How many entities are in memory here.
    pub(crate) load: Box<dyn Fn() -> u64 + Send + Sync>,
    /// A connection to this silo broke.
    pub(crate) suspect: Box<dyn Fn(Incarnation) + Send + Sync>,
}

/// What a client is told of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) partitions: Partition,
    pub(crate) roster: Roster,
}

/// Where something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Here,
    To { address: String, incarnation: Incarnation },
    Nowhere { why: &'static str, unhosted: bool },
}

pub(crate) struct Courier {
    clock: Arc<Clock>,
    runtime: Handle,
    identity: Identity,
    limits: WireLimits,
    home: OnceLock<Home>,
    /// Addresses that a client was given.
    gateways: Vec<String>,
    table: RwLock<Arc<Table>>,
    pub(crate) hints: Hints,
    loads: Mutex<HashMap<Incarnation, u64>>,
    peers: RwLock<HashMap<String, Arc<Peer>>>,
    waiting: Mutex<Vec<Trip>>,
    random: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Something changed: what waits may go on.
    pub(crate) changed: Notify,
    me: Weak<Courier>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Courier {
    pub(crate) fn new(
        clock: Arc<Clock>,
        runtime: Handle,
        identity: Identity,
        limits: WireLimits,
        gateways: Vec<String>,
        random: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            clock,
            runtime,
            identity,
            limits,
            home: OnceLock::new(),
            gateways,
            table: RwLock::new(Arc::new(Table::new(Roster::default(), PARTITIONS_DEFAULT))),
            hints: Hints::new(HINTS_MAX),
            loads: Mutex::default(),
            peers: RwLock::default(),
            waiting: Mutex::default(),
            random,
            changed: Notify::new(),
            me: me.clone(),
        })
    }

    pub(crate) fn settle(&self, home: Home) {
        let _ = self.home.set(home);
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A newer table: what waits goes on.
    pub(crate) fn learn(&self, table: Arc<Table>) {
        {
            let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
            if table.version() < current.version() {
                return;
            }
            *current = table.clone();
        }
        // Things move: what was found elsewhere may be where it belongs by now.
        self.hints.retain(|_| false);
        // Connections to those that are gone are of no use.
        self.peers.write().unwrap_or_else(PoisonError::into_inner).retain(|address, peer| {
            let known = table.living().any(|member| member.address == *address);
            known || self.gateways.contains(address) || peer.link().is_some()
        });
        self.changed.notify_one();
    }

    /// Of a client: the first silo lets it in, and says who there is. `false`: each has refused.
    pub(crate) async fn enter(&self) -> bool {
        loop {
            if self.table().version() > 0 {
                return true;
            }
            for address in &self.gateways {
                self.open(address);
            }
            if self.gateways.iter().all(|address| self.peer(address).refused()) {
                return false;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Why the addresses that a client was given did not let it in.
    pub(crate) fn refusals(&self) -> String {
        let told = self.gateways.iter().map(|address| self.peer(address).trouble());
        told.collect::<Vec<_>>().join("; ")
    }

    fn is_me(&self, incarnation: Incarnation) -> bool {
        self.home.get().is_some() && self.identity.incarnation() == incarnation
    }

    /// Where this entity is, as far as is known here.
    pub(crate) fn route(&self, id: &EntityId) -> Route {
        let table = self.table();
        if let Some(owner) = self.hints.get(id) {
            if let Some(route) = self.route_to(&table, owner) {
                return route;
            }
            self.hints.forget(id);
        }
        let home = self.home.get();
        let hosted = home.and_then(|home| home.kinds.get(&*id.kind)).copied();
        let me = self.identity.incarnation();
        let chosen = match hosted {
            Some(Placement::Local) if table.status(me) == Some(Status::Active) => Some(me),
            Some(Placement::Balanced) => table.two_choices(id).map(|(one, other)| self.less_busy(one, other)),
            _ => table.candidate(id).map(|silo| silo.incarnation),
        };
        match chosen.and_then(|chosen| self.route_to(&table, chosen)) {
            Some(route) => route,
            None if table.version() == 0 => Route::Nowhere { why: "the cluster is not known yet", unhosted: false },
            None => Route::Nowhere { why: "no silo that takes work hosts its kind", unhosted: true },
        }
    }

    fn route_to(&self, table: &Table, incarnation: Incarnation) -> Option<Route> {
        if self.is_me(incarnation) {
            let closed = self.home.get().is_some_and(|home| (home.closed)());
            return Some(match closed {
                true => Route::Nowhere { why: "this silo is leaving the cluster", unhosted: false },
                false => Route::Here,
            });
        }
        let member = table.member(incarnation).filter(|member| member.status.lives())?;
        Some(Route::To { address: member.address.clone(), incarnation })
    }

    fn less_busy(&self, one: &Member, other: &Member) -> Incarnation {
        let (one, other) = (one.incarnation, other.incarnation);
        let loads = lock(&self.loads);
        let load = |incarnation| match self.home.get() {
            Some(home) if self.is_me(incarnation) => (home.load)(),
            _ => loads.get(&incarnation).copied().unwrap_or(0),
        };
        if load(other) < load(one) { other } else { one }
    }

    /// Whether an entity that is in no memory here may be taken into it.
    pub(crate) fn may_take(&self, id: &EntityId, hops: u8) -> bool {
        let Some(home) = self.home.get() else { return false };
        if (home.closed)() {
            return false;
        }
        match home.kinds.get(&*id.kind) {
            None => false,
            Some(Placement::Local) => true,
            Some(Placement::Balanced) => hops > 0,
            Some(Placement::Partition) => {
                hops >= HOPS_MAX || self.table().candidate(id).is_some_and(|silo| self.is_me(silo.incarnation))
            }
        }
    }

    /// Whether this silo should keep an entity that it has in memory.
    pub(crate) fn may_keep(&self, id: &EntityId) -> bool {
        let Some(home) = self.home.get() else { return true };
        match home.kinds.get(&*id.kind) {
            Some(Placement::Partition) => {
                let table = self.table();
                table.status(self.identity.incarnation()) != Some(Status::Active)
                    || table.candidate(id).is_none_or(|silo| self.is_me(silo.incarnation))
            }
            _ => true,
        }
    }

    /// An entity speaks from there.
    pub(crate) fn heard_from(&self, id: &EntityId, silo: Incarnation) {
        match self.table().candidate(id) {
            Some(placed) if placed.incarnation == silo => self.hints.forget(id),
            _ => self.hints.note(id.clone(), silo),
        }
    }

    /// The owner, for whoever asked here in vain.
    pub(crate) fn owner(&self, id: &EntityId) -> Option<Incarnation> {
        match self.route(id) {
            Route::To { incarnation, .. } => Some(incarnation),
            Route::Here | Route::Nowhere { .. } => None,
        }
    }

    fn go(&self, trip: Trip) {
        match self.route(trip.errand.to()) {
            Route::Here => trip.errand.deliver_here(),
            Route::To { address, incarnation } => self.send(&address, Some(incarnation), trip),
            Route::Nowhere { why, unhosted } => self.nowhere(why, unhosted, trip),
        }
    }

    fn nowhere(&self, why: &'static str, is_unhosted: bool, mut trip: Trip) {
        // A client that knows nothing yet asks whoever is there.
        if !is_unhosted && self.home.get().is_none() {
            return self.send_by_gateway(why, trip);
        }
        let now = self.clock.tick();
        if is_unhosted {
            let since = *trip.unhosted_since.get_or_insert(now);
            if now.saturating_sub(since) >= UNHOSTED_MS {
                let error = unhosted(&trip.errand.to().kind);
                return trip.errand.fail(error);
            }
        }
        self.wait(why, trip);
    }

    /// Until something changes, or a pause is over.
    fn wait(&self, why: &'static str, mut trip: Trip) {
        let now = self.clock.tick();
        if trip.errand.is_abandoned() || trip.errand.manner() == Manner::Notify {
            return;
        }
        if now + SPARE_MS >= trip.errand.deadline() {
            let to = trip.errand.to();
            let reason = format!("{to} could not be reached in time: {why}");
            return trip.errand.fail(CallError::Unavailable { reason });
        }
        trip.why = why;
        let ceiling = 10_u64 << trip.waits.min(4);
        trip.waits += 1;
        trip.resume = now + 1 + (self.random)() % ceiling;
        lock(&self.waiting).push(trip);
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().unwrap_or_else(PoisonError::into_inner).get(address) {
            return peer.clone();
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.entry(address.to_owned()).or_insert_with(|| Arc::new(Peer::new(address.to_owned()))).clone()
    }

    fn send(&self, address: &str, incarnation: Option<Incarnation>, mut trip: Trip) {
        let peer = self.peer(address);
        let why = {
            let mut state = peer.state();
            match &mut *state {
                State::Up(up) if incarnation.is_none_or(|wanted| up.link.peer().incarnation == wanted) => {
                    match self.transmit(up, trip) {
                        Ok(()) => return,
                        Err(Stuck::Over(trip, error)) => {
                            drop(state);
                            return trip.errand.fail(error);
                        }
                        Err(Stuck::Closed(back)) => {
                            trip = back;
                            "the connection to its silo was lost"
                        }
                    }
                }
                State::Up(up) => {
                    // One of the two is gone: whoever answers now says who it is.
                    up.link.close("its silo began another life");
                    "another silo answers at the address of its silo"
                }
                State::Connecting { waiting, .. } => return waiting.push(trip),
                State::Down { failures, retry_at } if *retry_at <= self.clock.tick() => {
                    *state = State::Connecting { failures: *failures, waiting: vec![trip], posts: Vec::new() };
                    drop(state);
                    return self.connect(peer);
                }
                State::Down { .. } => "its silo can't be reached",
            }
        };
        if self.home.get().is_none() { self.send_by_gateway(why, trip) } else { self.wait(why, trip) }
    }

    /// A client that can't reach an entity's silo asks any other to route on.
    fn send_by_gateway(&self, why: &'static str, trip: Trip) {
        let peers: Vec<_> = self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let from = (self.random)() as usize;
        let mut trip = trip;
        for index in 0..peers.len() {
            let peer = &peers[(from.wrapping_add(index)) % peers.len()];
            let mut state = peer.state();
            let State::Up(up) = &mut *state else { continue };
            match self.transmit(up, trip) {
                Ok(()) => return,
                Err(Stuck::Over(trip, error)) => {
                    drop(state);
                    return trip.errand.fail(error);
                }
                Err(Stuck::Closed(back)) => trip = back,
            }
        }
        self.wait(why, trip);
    }

    fn transmit(&self, up: &mut Up, trip: Trip) -> Result<(), Stuck> {
        if trip.errand.is_abandoned() {
            return Ok(());
        }
        let now = self.clock.tick();
        let budget_ms = u32::try_from(trip.errand.deadline().saturating_sub(now)).unwrap_or(u32::MAX);
        let ask = match trip.errand.ask() {
            Ok(ask) => ask,
            Err(error) => return Err(Stuck::Over(trip, error)),
        };
        let waits_for_answer = ask.manner != Manner::Notify;
        if waits_for_answer && up.pending.len() >= PENDING_MAX {
            let error = overloaded(&format!("the connection to the silo, with {PENDING_MAX} calls waiting,"));
            return Err(Stuck::Over(trip, error));
        }
        let correlation = up.next;
        up.next += 1;
        let header = Header { kind: frames::ASK, flags: 0, hops: trip.hops, correlation, budget_ms };
        let mut written = Ok(());
        let sent = up.link.send(header, |body| written = ask.write(body));
        if written == Err(Malformed) {
            // A name or a key of more than 64 KiB: the receiver refuses what was begun.
            let error = CallError::Invalid { reason: "the entity's key or the method's name is too long".into() };
            return Err(Stuck::Over(trip, error));
        }
        match sent {
            Ok(()) => {
                if waits_for_answer {
                    up.pending.insert(correlation, trip);
                }
                Ok(())
            }
            Err(SendError::Closed) => Err(Stuck::Closed(trip)),
            Err(SendError::Full) => Err(Stuck::Over(trip, overloaded("the connection to the silo"))),
            Err(SendError::TooLarge { size, limit }) => {
                Err(Stuck::Over(trip, CallError::TooLarge { what: "the call".into(), size, limit }))
            }
        }
    }

    fn connect(&self, peer: Arc<Peer>) {
        let Some(courier) = self.me.upgrade() else { return };
        self.runtime.spawn(async move {
            let inbound = {
                let (courier, peer) = (courier.me.clone(), peer.clone());
                move |_: &Link| Box::new(Correspondent { courier, peer }) as Box<dyn Inbound>
            };
            let connected = crate::wire::connect(&peer.address, &courier.identity, &courier.limits, inbound).await;
            match connected {
                Ok((link, driver)) => {
                    courier.connected(&peer, link);
                    drop(courier);
                    driver.await;
                }
                Err(error) => courier.not_connected(&peer, &error),
            }
        });
    }

    fn connected(&self, peer: &Arc<Peer>, link: Link) {
        let (waiting, posts) = {
            let mut state = peer.state();
            let up = State::Up(Up { link: link.clone(), pending: HashMap::new(), next: 1 });
            match std::mem::replace(&mut *state, up) {
                State::Connecting { waiting, posts, .. } => (waiting, posts),
                State::Down { .. } | State::Up(_) => Default::default(),
            }
        };
        for Posted { kind, hops, body } in posts {
            let header = Header { kind, flags: 0, hops, correlation: 0, budget_ms: 0 };
            let _ = link.send(header, |buffer| buffer.extend_from_slice(&body));
        }
        // By their routes: the silo that answers may be another one by now.
        waiting.into_iter().for_each(|trip| self.go(trip));
        self.changed.notify_one();
    }

    fn not_connected(&self, peer: &Arc<Peer>, error: &ConnectError) {
        tracing::debug!(target: "grange", address = peer.address, %error, "a silo can't be reached");
        peer.note(error);
        let waiting = {
            let mut state = peer.state();
            let (failures, waiting) = match &mut *state {
                State::Connecting { failures, waiting, .. } => (*failures + 1, std::mem::take(waiting)),
                State::Down { .. } | State::Up(_) => (1, Vec::new()),
            };
            let ceiling = (20_u64 << failures.min(6)).min(RETRY_MAX_MS);
            let retry_at = self.clock.tick() + ceiling / 2 + (self.random)() % (ceiling / 2 + 1);
            *state = State::Down { failures, retry_at };
            waiting
        };
        self.suspect_address(&peer.address);
        for trip in waiting {
            match self.home.get() {
                Some(_) => self.wait("its silo can't be reached", trip),
                None => self.send_by_gateway("its silo can't be reached", trip),
            }
        }
    }

    fn suspect_address(&self, address: &str) {
        let Some(home) = self.home.get() else { return };
        let table = self.table();
        for member in table.living().filter(|member| member.address == address) {
            (home.suspect)(member.incarnation);
        }
    }

    /// The connection is over. What may have run there is told so; what can be run twice goes on.
    fn disconnected(&self, peer: &Arc<Peer>, reason: &str) {
        let pending = {
            let mut state = peer.state();
            let now = self.clock.tick();
            match std::mem::replace(&mut *state, State::Down { failures: 0, retry_at: now }) {
                State::Up(up) => up.pending,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        tracing::debug!(
            target: "grange", address = peer.address, reason, pending = pending.len(), "a connection was lost"
        );
        self.suspect_address(&peer.address);
        for trip in pending.into_values() {
            match trip.errand.manner() {
                Manner::Read => self.wait("the connection to its silo was lost", trip),
                Manner::Notify => {}
                Manner::Exclusive | Manner::Keyed { .. } => {
                    let reason = format!("the connection to the silo at {} was lost: {reason}", peer.address);
                    trip.errand.fail(CallError::Unknown { reason });
                }
            }
        }
    }

    /// Sends a frame that nobody answers to wherever this entity is. `false`: there is no way now.
    pub(crate) fn post(&self, route: Route, kind: u8, hops: u8, body: Vec<u8>) -> bool {
        let Route::To { address, incarnation } = route else { return false };
        let peer = self.peer(&address);
        let mut state = peer.state();
        match &mut *state {
            State::Up(up) if up.link.peer().incarnation == incarnation => {
                let header = Header { kind, flags: 0, hops, correlation: 0, budget_ms: 0 };
                up.link.send(header, |buffer| buffer.extend_from_slice(&body)).is_ok()
            }
            State::Up(up) => {
                up.link.close("its silo began another life");
                false
            }
            State::Connecting { posts, .. } => {
                let room = posts.len() < POSTS_MAX;
                if room {
                    posts.push(Posted { kind, hops, body });
                }
                room
            }
            State::Down { failures, retry_at } if *retry_at <= self.clock.tick() => {
                let posts = vec![Posted { kind, hops, body }];
                *state = State::Connecting { failures: *failures, waiting: Vec::new(), posts };
                drop(state);
                self.connect(peer);
                true
            }
            State::Down { .. } => false,
        }
    }

    /// Looks after what waits, until the courier is gone.
    pub(crate) async fn run(me: Weak<Self>) {
        let mut rounds = 0_u64;
        loop {
            let Some(courier) = me.upgrade() else { return };
            let woken = tokio::time::timeout(ROUND, courier.changed.notified()).await.is_ok();
            courier.resume(woken);
            rounds += 1;
            if rounds.is_multiple_of(5) {
                courier.cancel_abandoned();
                courier.keep_a_gateway();
            }
            if rounds.is_multiple_of(50) {
                courier.tell_load();
            }
        }
    }

    fn resume(&self, all: bool) {
        let now = self.clock.tick();
        let ready: Vec<Trip> = {
            let mut waiting = lock(&self.waiting);
            waiting
                .extract_if(.., |trip| all || trip.resume <= now || now + SPARE_MS >= trip.errand.deadline())
                .collect()
        };
        for trip in ready {
            if now + SPARE_MS >= trip.errand.deadline() {
                let why = trip.why;
                self.wait(why, trip); // which ends it
            } else {
                self.go(trip);
            }
        }
    }

    /// Tells silos which calls nobody waits for any more.
    fn cancel_abandoned(&self) {
        let peers: Vec<_> = self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let now = self.clock.tick();
        for peer in peers {
            let mut over = Vec::new();
            if let State::Up(up) = &mut *peer.state() {
                // Its own deadline has ended it; a late answer finds nobody.
                let is_over = |trip: &Trip| trip.errand.is_abandoned() || now > trip.errand.deadline() + SPARE_MS;
                over.extend(up.pending.extract_if(|_, trip| is_over(trip)));
                for (correlation, _) in &over {
                    let header =
                        Header { kind: frames::CANCEL, flags: 0, hops: 0, correlation: *correlation, budget_ms: 0 };
                    let _ = up.link.send(header, |_| {});
                }
            }
            drop(over); // outside the lock: it is the user's data
        }
    }

    /// A client that has lost every silo goes back to where it came in.
    fn keep_a_gateway(&self) {
        if self.home.get().is_some() {
            return;
        }
        let peers: Vec<_> = self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        if peers.iter().any(|peer| peer.link().is_some()) {
            return;
        }
        for address in &self.gateways {
            self.open(address);
        }
    }

    /// Begins to connect, if the time has come.
    pub(crate) fn open(&self, address: &str) {
        let peer = self.peer(address);
        let mut state = peer.state();
        if let State::Down { failures, retry_at } = &*state
            && *retry_at <= self.clock.tick()
        {
            *state = State::Connecting { failures: *failures, waiting: Vec::new(), posts: Vec::new() };
            drop(state);
            self.connect(peer);
        }
    }

    fn tell_load(&self) {
        let Some(home) = self.home.get() else { return };
        let load = (home.load)();
        let peers: Vec<_> = self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for link in peers.iter().filter_map(|peer| peer.link()) {
            let header = Header { kind: frames::LOAD, flags: 0, hops: 0, correlation: 0, budget_ms: 0 };
            let _ = link.send(header, |body| body.put_u64(load));
        }
    }

    pub(crate) fn note_load(&self, silo: Incarnation, mut body: Bytes) -> Result<(), Malformed> {
        let load = body.try_get_u64().map_err(|_| Malformed)?;
        lock(&self.loads).insert(silo, load);
        Ok(())
    }

    /// Connections that were made by an earlier life of this silo, or to one of another's.
    pub(crate) fn close_links(&self, reason: &str) {
        let peers: Vec<_> = self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        peers.iter().filter_map(|peer| peer.link()).for_each(|link| link.close(reason));
    }

    /// Closes every connection.
    pub(crate) fn close(&self) {
        self.close_links("closed here");
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for trip in waiting {
            trip.errand.fail(CallError::Unavailable { reason: format!("closed, while {}", trip.why) });
        }
    }

    fn answered(&self, peer: &Peer, header: Header, mut body: Bytes) -> Result<(), Malformed> {
        let trip = match &mut *peer.state() {
            State::Up(up) => up.pending.remove(&header.correlation),
            State::Down { .. } | State::Connecting { .. } => None,
        };
        // Nobody waits for it any more.
        let Some(mut trip) = trip else { return Ok(()) };
        match header.kind {
            frames::ANSWER => trip.errand.outcome(&body),
            frames::FAILURE => {
                let error = rmp_serde::from_slice(&body).unwrap_or_else(|_| CallError::Unknown {
                    reason: "the silo answered with an error that this version does not know".into(),
                });
                trip.errand.fail(error);
            }
            _ => {
                let owner = if body.is_empty() { None } else { Some(read_uuid(&mut body)?) };
                // Also when it is this silo: its claim says so.
                match owner {
                    Some(owner) => self.hints.note(trip.errand.to().clone(), owner),
                    None => self.hints.forget(trip.errand.to()),
                }
                trip.hops = trip.hops.saturating_add(1);
                // Two silos that each say "the other": not in circles at full speed.
                if owner.is_some() && trip.hops <= HOPS_MAX {
                    self.go(trip);
                } else {
                    self.wait("the silos don't agree yet on where it is", trip);
                }
            }
        }
        Ok(())
    }
}

/// A call that could not be sent.
enum Stuck {
    /// It ends with this.
    Over(Trip, CallError),
    /// It may go another way.
    Closed(Trip),
}

fn overloaded(what: &str) -> CallError {
    CallError::Overloaded { what: what.into(), retry_after: Duration::from_millis(100) }
}

impl Far for Courier {
    fn carry(&self, errand: Box<dyn Errand>) {
        self.go(Trip::new(errand));
    }
    fn is_here(&self, id: &EntityId) -> bool {
        self.route(id) == Route::Here
    }
}

/// What comes back on a connection that this process opened.
struct Correspondent {
    courier: Weak<Courier>,
    peer: Arc<Peer>,
}

impl Inbound for Correspondent {
    fn frame(&mut self, link: &Link, header: Header, mut body: Bytes) -> Result<(), Violation> {
        let Some(courier) = self.courier.upgrade() else { return Err(Violation("closed here".into())) };
        let malformed = |_: Malformed| Violation("a malformed body".into());
        match header.kind {
            frames::ANSWER | frames::FAILURE | frames::ELSEWHERE => {
                courier.answered(&self.peer, header, body).map_err(malformed)
            }
            frames::ROSTER if courier.home.get().is_none() => {
                let told: Told = rmp_serde::from_slice(&body).map_err(|_| malformed(Malformed))?;
                courier.learn(Arc::new(Table::new(told.roster, told.partitions)));
                Ok(())
            }
            frames::HINT if courier.home.get().is_none() => {
                let id = read_id(&mut body).map_err(malformed)?;
                courier.hints.note(id, read_uuid(&mut body).map_err(malformed)?);
                Ok(())
            }
            // What a newer version says beside is no harm.
            _ if link.peer().role == Role::Silo => Ok(()),
            _ => Err(Violation("a frame that only silos send".into())),
        }
    }

    fn may_read(&self, _: &Link) -> bool {
        true
    }

    fn closed(&mut self, _: &Link, reason: &str) {
        if let Some(courier) = self.courier.upgrade() {
            courier.disconnected(&self.peer, reason);
        }
    }
}
