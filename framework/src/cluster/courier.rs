//! Brings calls and messages to whoever has their entity: the same in a silo and in a client.
//!
//! Where an entity is, is a hint: what was learned, or what placement says. Whoever is asked knows better, and says so; the
//! claim in the store decides. What can't go anywhere now waits, and goes on when the table changes, when a connection
//! is there, or after a pause, until its deadline.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::CallError;
use crate::clock::{Clock, Tick};
use crate::cluster::lodging::{LOOKS_APART_MS, Lodging, STILL_LOOKS, STILL_MS};
use crate::cluster::peer::{Peer, Posted, State, Up};
use crate::cluster::trip::Trip;
use crate::cluster::waking::wake_overdue;
use crate::cluster::{Hints, Home, Route, Table};
use crate::entity::{Errand, Far, unhosted};
use crate::store::{Incarnation, Roster};
use crate::wire::{
    EntityId, Header, Identity, Malformed, Manner, PARTITIONS_DEFAULT, Partition, SendError, WireLimits, frames,
};

/// How often waiting calls are looked at.
pub(super) const ROUND: Duration = Duration::from_millis(20);

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

/// What a client is told of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) partitions: Partition,
    pub(crate) roster: Roster,
}

pub(crate) struct Courier {
    pub(super) clock: Arc<Clock>,
    pub(super) lodging: Lodging,
    pub(super) identity: Identity,
    pub(super) limits: WireLimits,
    pub(super) home: OnceLock<Home>,
    /// Addresses that a client was given.
    pub(super) gateways: Vec<String>,
    /// Those of the silos that a client knew last when it lost all of them.
    pub(super) remembered: Mutex<Vec<String>>,
    pub(super) table: RwLock<Arc<Table>>,
    pub(crate) hints: Hints,
    pub(super) loads: Mutex<HashMap<Incarnation, u64>>,
    pub(super) peers: RwLock<HashMap<String, Arc<Peer>, FixedState>>,
    pub(super) waiting: Mutex<Vec<Trip>>,
    /// Nothing waits any more. Set under the lock of what does.
    closed: AtomicBool,
    pub(super) random: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Something changed: what waits may go on.
    pub(crate) changed: Notify,
    pub(super) me: Weak<Courier>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Courier {
    pub(crate) fn new(
        clock: Arc<Clock>,
        lodging: Lodging,
        identity: Identity,
        limits: WireLimits,
        gateways: Vec<String>,
        random: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            clock,
            lodging,
            identity,
            limits,
            home: OnceLock::new(),
            gateways,
            remembered: Mutex::default(),
            table: RwLock::new(Arc::new(Table::new(Roster::default(), PARTITIONS_DEFAULT))),
            hints: Hints::new(HINTS_MAX),
            loads: Mutex::default(),
            peers: RwLock::default(),
            waiting: Mutex::default(),
            closed: AtomicBool::new(false),
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
    pub(crate) fn learn(&self, table: &Arc<Table>) {
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

    pub(super) fn go(&self, trip: Trip) {
        match self.route(trip.errand.to()) {
            Route::Here => trip.errand.deliver_here(),
            Route::To { address, incarnation } => self.send(&address, Some(incarnation), trip),
            Route::Nowhere { why, unhosted } => self.nowhere(why, unhosted, trip),
        }
    }

    pub(super) fn nowhere(&self, why: &'static str, is_unhosted: bool, mut trip: Trip) {
        // A client that knows nothing yet asks whoever is there.
        if !is_unhosted && self.home.get().is_none() {
            return self.send_by_gateway(why, trip);
        }
        let now = self.clock.tick();
        if is_unhosted {
            if trip.unhosted_since == 0 {
                trip.unhosted_since = now;
            }
            if now.saturating_sub(trip.unhosted_since) >= UNHOSTED_MS {
                let error = unhosted(&trip.errand.to().kind);
                return trip.errand.fail(error);
            }
        }
        self.wait(why, trip);
    }

    /// Until something changes, or a pause is over.
    pub(super) fn wait(&self, why: &'static str, mut trip: Trip) {
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
        let mut waiting = lock(&self.waiting);
        if self.closed.load(Ordering::Acquire) {
            drop(waiting);
            return trip.errand.fail(closed(why));
        }
        waiting.push(trip);
    }

    pub(super) fn peer(&self, address: &str) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().unwrap_or_else(PoisonError::into_inner).get(address) {
            return peer.clone();
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.entry(address.to_owned()).or_insert_with(|| Arc::new(Peer::new(address.to_owned()))).clone()
    }

    /// As they stand now: the lock is not held while each is seen to.
    pub(super) fn every_peer(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn send(&self, address: &str, incarnation: Option<Incarnation>, mut trip: Trip) {
        if trip.errand.is_abandoned() {
            return;
        }
        let body = match Body::of(&*trip.errand) {
            Ok(body) => body,
            Err(error) => return trip.errand.fail(error),
        };
        let peer = self.peer(address);
        let why = {
            let mut state = peer.state();
            match &mut *state {
                State::Up(up) if incarnation.is_none_or(|wanted| up.link.peer().incarnation == wanted) => {
                    match self.transmit(up, trip, &body) {
                        Ok(over) => {
                            drop(state);
                            return drop(over);
                        }
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
    pub(super) fn send_by_gateway(&self, why: &'static str, trip: Trip) {
        if trip.errand.is_abandoned() {
            return;
        }
        let body = match Body::of(&*trip.errand) {
            Ok(body) => body,
            Err(error) => return trip.errand.fail(error),
        };
        let peers = self.every_peer();
        let from = (self.random)() as usize;
        let mut trip = trip;
        for index in 0..peers.len() {
            let peer = &peers[(from.wrapping_add(index)) % peers.len()];
            let mut state = peer.state();
            let State::Up(up) = &mut *state else { continue };
            match self.transmit(up, trip, &body) {
                Ok(over) => {
                    drop(state);
                    return drop(over);
                }
                Err(Stuck::Over(trip, error)) => {
                    drop(state);
                    return trip.errand.fail(error);
                }
                Err(Stuck::Closed(back)) => trip = back,
            }
        }
        self.wait(why, trip);
    }

    /// Gives back a trip that is over, to be dropped when no lock is held.
    fn transmit(&self, up: &mut Up, mut trip: Trip, body: &Body) -> Result<Option<Trip>, Stuck> {
        let now = self.clock.tick();
        let budget_ms = u32::try_from(trip.errand.deadline().saturating_sub(now)).unwrap_or(u32::MAX);
        let waits_for_answer = trip.errand.manner() != Manner::Notify;
        if waits_for_answer && up.pending.len() >= PENDING_MAX {
            let error = overloaded(&format!("the connection to the silo, with {PENDING_MAX} calls waiting,"));
            return Err(Stuck::Over(trip, error));
        }
        let correlation = up.next;
        up.next += 1;
        let header = Header { kind: frames::ASK, flags: 0, hops: trip.hops, correlation, budget_ms };
        let sent = up.link.send(header, |buffer| buffer.extend_from_slice(&body.0));
        match sent {
            Ok(frame) => {
                trip.frame = frame;
                if !waits_for_answer {
                    return Ok(Some(trip));
                }
                up.pending.insert(correlation, trip);
                Ok(None)
            }
            Err(SendError::Closed) => Err(Stuck::Closed(trip)),
            Err(SendError::Full) => Err(Stuck::Over(trip, overloaded("the connection to the silo"))),
            Err(SendError::TooLarge { size, limit }) => {
                Err(Stuck::Over(trip, CallError::TooLarge { what: "the call".into(), size, limit }))
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
            wake_overdue();
            rounds += 1;
            if rounds.is_multiple_of(5) {
                courier.leave_what_stands_still();
                courier.cancel_abandoned();
                courier.keep_gateways();
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

    /// Gives connections up that nobody polls: their next life is in this process's own runtime.
    fn leave_what_stands_still(&self) {
        if self.lodging.guest().is_none() {
            return;
        }
        let now = self.clock.tick();
        for peer in self.every_peer() {
            let link = match &mut *peer.state() {
                State::Up(up) => {
                    let polls = up.link.polls();
                    if up.polls != polls {
                        (up.polls, up.still_since, up.still_looks, up.looked) = (polls, now, 0, now);
                        continue;
                    }
                    // A process that stood still as a whole proves nothing.
                    if now.saturating_sub(up.looked) > LOOKS_APART_MS {
                        (up.still_since, up.still_looks) = (now, 0);
                    }
                    up.looked = now;
                    up.still_looks += 1;
                    if up.still_looks < STILL_LOOKS || now.saturating_sub(up.still_since) < STILL_MS {
                        continue;
                    }
                    up.link.clone()
                }
                State::Down { .. } | State::Connecting { .. } => continue,
            };
            self.lodging.leave();
            let reason = "the runtime in which the client connected stood still";
            link.give_up(reason);
            self.disconnected(&peer, &link, reason);
        }
    }

    /// Tells silos which calls nobody waits for any more.
    fn cancel_abandoned(&self) {
        let peers = self.every_peer();
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

    fn tell_load(&self) {
        let Some(home) = self.home.get() else { return };
        let load = (home.load)();
        let peers = self.every_peer();
        for link in peers.iter().filter_map(|peer| peer.link()) {
            let header = Header { kind: frames::LOAD, ..Header::default() };
            let _ = link.send(header, |body| body.put_u64(load));
        }
    }

    pub(crate) fn note_load(&self, silo: Incarnation, mut body: Bytes) -> Result<(), Malformed> {
        let load = body.try_get_u64().map_err(|_| Malformed)?;
        lock(&self.loads).insert(silo, load);
        Ok(())
    }

    /// Closes every connection.
    pub(crate) fn close(&self) {
        self.close_links("closed here");
        let waiting = {
            let mut waiting = lock(&self.waiting);
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for trip in waiting {
            let why = trip.why;
            trip.errand.fail(closed(why));
        }
    }
}

/// A call that could not be sent.
enum Stuck {
    /// It ends with this.
    Over(Trip, CallError),
    /// It may go another way.
    Closed(Trip),
}

/// A larger buffer is not kept.
const BODY_KEPT_BYTES: usize = 64 << 10;

thread_local! {
    static BODY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A call as it travels, in a buffer that its thread uses again. Written before any lock is held: the arguments' own code
/// runs for it.
struct Body(Vec<u8>);

impl Body {
    fn of(errand: &dyn Errand) -> Result<Self, CallError> {
        let mut body = Self(BODY.take());
        body.0.clear();
        errand.write(&mut body.0).map(|()| body)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.0.capacity() <= BODY_KEPT_BYTES {
            BODY.set(std::mem::take(&mut self.0));
        }
    }
}

fn closed(why: &str) -> CallError {
    CallError::Unavailable { reason: format!("closed, while {why}") }
}

fn overloaded(what: &str) -> CallError {
    CallError::Overloaded { what: what.into(), retry_after: Duration::from_millis(100) }
}

impl Far for Courier {
    fn carry(&self, errand: Box<dyn Errand>) {
        self.go(Trip::new(errand));
    }
    fn carry_to_owner(&self, errand: Box<dyn Errand>) {
        let mut trip = Trip::new(errand);
        trip.hops = HOPS_MAX;
        self.go(trip);
    }
    fn is_here(&self, id: &EntityId) -> bool {
        self.route(id) == Route::Here
    }
}
