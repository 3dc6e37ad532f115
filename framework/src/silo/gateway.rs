//! What other processes send to this silo: calls for its entities, messages, and the way back of answers.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use crate::clock::Tick;
use crate::cluster::{Courier, HOPS_MAX, Table, Told};
use crate::entity::{Caller, Errand, Far, FarEnd, Realm, Source, lost_reply, too_long, unhosted};
use crate::silo::shared::{Arrival, Post, Shared};
use crate::silo::unanswered::Unanswered;
use crate::store::Incarnation;
use crate::wire::{Ask, EntityId, Header, Inbound, Link, Manner, Role, SendError, Violation, frames, write_id};
use crate::{CallError, Never};

/// Unanswered calls of one connection: past it, no more are read from it.
const UNANSWERED_MAX: usize = 20_000;

/// Bytes of their arguments, likewise.
const UNANSWERED_BYTES_MAX: usize = 64 << 20;

/// Whoever routes has decided that it is here: it is taken, and does not go round in this very silo.
const TAKE: u8 = HOPS_MAX;

/// The gateway of a silo: shared by the connections that others opened.
pub(crate) struct Gateway {
    shared: Weak<Shared>,
    courier: Arc<Courier>,
    /// Those of clients are told who is in the cluster.
    links: Mutex<BTreeMap<u64, Link>>,
}

impl Gateway {
    pub(crate) fn new(shared: &Arc<Shared>, courier: Arc<Courier>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::downgrade(shared), courier, links: Mutex::default() })
    }

    /// For a connection that another process opened.
    pub(crate) fn receive(self: &Arc<Self>, link: &Link) -> Box<dyn Inbound> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).insert(link.id(), link.clone());
        if link.peer().role == Role::Client {
            tell(link, &roster_frame(&self.courier.table()));
        }
        Box::new(Receiver { gateway: self.clone(), exchange: Arc::new(Exchange::new(link.clone())) })
    }

    /// Tells every client.
    pub(crate) fn announce(&self, table: &Table) {
        let frame = roster_frame(table);
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().filter(|link| link.peer().role == Role::Client).for_each(|link| tell(link, &frame));
    }

    /// Nothing is taken from anybody any more.
    pub(crate) fn close(&self, reason: &str) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().for_each(|link| link.close(reason));
    }

    /// What other silos sent to an earlier life of this one is void.
    pub(crate) fn close_silos(&self) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let silos = links.values().filter(|link| link.peer().role == Role::Silo);
        silos.for_each(|link| link.close("the silo lost its place in the cluster"));
    }
}

fn roster_frame(table: &Table) -> Vec<u8> {
    // Plain structs of numbers and strings, written to memory.
    let told = Told { partitions: table.partitions(), roster: table.roster().clone() };
    rmp_serde::to_vec_named(&told).unwrap_or_default()
}

fn tell(link: &Link, roster: &[u8]) {
    let header = Header { kind: frames::ROSTER, ..Header::default() };
    let _ = link.send(header, |body| body.extend_from_slice(roster));
}

/// What comes on one connection.
struct Receiver {
    gateway: Arc<Gateway>,
    exchange: Arc<Exchange>,
}

impl Inbound for Receiver {
    fn frame(&mut self, link: &Link, header: Header, body: Bytes) -> Result<(), Violation> {
        let Some(shared) = self.gateway.shared.upgrade() else { return Err(Violation("the silo has stopped".into())) };
        let malformed = || Violation("a malformed body".into());
        let is_silo = link.peer().role == Role::Silo;
        match header.kind {
            frames::ASK => {
                let ask = Ask::read(body).map_err(|_| malformed())?;
                self.ask(&shared, link, header, ask);
                Ok(())
            }
            frames::CANCEL => {
                self.exchange.cancel(header.correlation);
                Ok(())
            }
            frames::POST if is_silo => {
                let post: Post = rmp_serde::from_slice(&body).map_err(|_| malformed())?;
                if !shared.lease.holds() {
                    // It may have waited here for long: its sender sends it again, if it still is to be.
                    return Ok(());
                }
                // What came straight from its silo says where its entity is; what went astray says nothing.
                if let (0, Post::Parcel(parcel)) = (header.hops, &post)
                    && let Some(speaker) = parcel.speaker()
                {
                    self.gateway.courier.heard_from(speaker, link.peer().incarnation);
                }
                shared.arrive(post, header.hops.saturating_add(1));
                Ok(())
            }
            frames::LOAD if is_silo => {
                self.gateway.courier.note_load(link.peer().incarnation, body).map_err(|_| malformed())
            }
            // What a newer silo says beside is no harm.
            _ if is_silo => Ok(()),
            _ => Err(Violation("a frame that only silos send".into())),
        }
    }

    fn may_read(&self, _: &Link) -> bool {
        self.exchange.unanswered.has_room()
    }

    fn closed(&mut self, link: &Link, _: &str) {
        self.gateway.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link.id());
        self.exchange.abandon();
    }
}

impl Receiver {
    fn ask(&mut self, shared: &Arc<Shared>, link: &Link, header: Header, mut ask: Ask) {
        if link.peer().role == Role::Client {
            // No turns run in a client.
            (ask.cause, ask.chain) = (None, None);
        }
        let deadline = shared.tick().saturating_add(Tick::from(header.budget_ms));
        let end = self.exchange.expect(header.correlation, &ask);
        let arrival = Arrival { ask, end: Some(end), deadline };
        if link.peer().role == Role::Silo {
            return shared.ask(arrival, header.hops);
        }
        if self.gateway.courier.is_here(&arrival.ask.to) {
            return shared.ask(arrival, TAKE);
        }
        self.gateway.courier.carry(Box::new(Passing { shared: shared.clone(), arrival }));
    }
}

/// The way back to another process's call.
struct Asked {
    exchange: Arc<Exchange>,
    correlation: u64,
    /// Of its arguments.
    bytes: usize,
    manner: Manner,
    over: AtomicBool,
}

/// What came on a connection and is not over: it bounds what may wait in this silo.
struct Exchange {
    link: Link,
    unanswered: Unanswered,
    /// The connection is over: nobody waits for any of them.
    abandoned: AtomicBool,
    /// Nobody waits for some of them.
    any_cancelled: AtomicBool,
    cancelled: Mutex<Cancelled>,
}

/// Calls that nobody waits for, by their correlations. Some were answered before: so the older half is forgotten when the
/// younger is full, and a call that is run all the same is no harm.
#[derive(Default)]
struct Cancelled {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Exchange {
    fn new(link: Link) -> Self {
        Self {
            link,
            unanswered: Unanswered::new(UNANSWERED_MAX, UNANSWERED_BYTES_MAX),
            abandoned: AtomicBool::new(false),
            any_cancelled: AtomicBool::new(false),
            cancelled: Mutex::default(),
        }
    }

    fn expect(self: &Arc<Self>, correlation: u64, ask: &Ask) -> Arc<dyn FarEnd> {
        let bytes = ask.arguments.len();
        self.unanswered.begin(bytes);
        Arc::new(Asked { exchange: self.clone(), correlation, bytes, manner: ask.manner, over: AtomicBool::new(false) })
    }

    fn cancel(&self, correlation: u64) {
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        if cancelled.young.len() >= UNANSWERED_MAX {
            cancelled.old = std::mem::take(&mut cancelled.young);
        }
        cancelled.young.insert(correlation);
        self.any_cancelled.store(true, Ordering::Release);
    }

    /// None of them is under way.
    fn forget_cancelled(&self) {
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        if self.unanswered.is_empty() {
            *cancelled = Cancelled::default();
            self.any_cancelled.store(false, Ordering::Release);
        }
    }

    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    fn is_abandoned(&self, correlation: u64) -> bool {
        if self.abandoned.load(Ordering::Acquire) {
            return true;
        }
        self.any_cancelled.load(Ordering::Acquire) && {
            let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
            cancelled.young.contains(&correlation) || cancelled.old.contains(&correlation)
        }
    }
}

impl Asked {
    /// Whether nobody answered before.
    fn end(&self) -> bool {
        if self.over.swap(true, Ordering::AcqRel) {
            return false;
        }
        let exchange = &self.exchange;
        let has_room_again = exchange.unanswered.end(self.bytes);
        if exchange.any_cancelled.load(Ordering::Acquire) && exchange.unanswered.is_empty() {
            exchange.forget_cancelled();
        }
        if has_room_again {
            exchange.link.resume_reading();
        }
        true
    }

    fn send(&self, kind: u8, body: &[u8]) -> Result<(), SendError> {
        if self.manner == Manner::Notify {
            return Ok(()); // nobody hears of it
        }
        let header = Header { kind, flags: 0, hops: 0, correlation: self.correlation, budget_ms: 0 };
        self.exchange.link.send(header, |buffer| buffer.extend_from_slice(body)).map(drop)
    }

    fn send_failure(&self, error: &CallError) {
        if let Ok(body) = rmp_serde::to_vec_named(error) {
            let _ = self.send(frames::FAILURE, &body);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.end() {
            self.send_failure(&CallError::Unknown { reason: "the silo lost track of the call".into() });
        }
    }
}

impl Caller for Asked {
    fn fail(&self, error: CallError<Never>) {
        self.answer(Err(error));
    }
    fn waits(&self) -> bool {
        !self.over.load(Ordering::Acquire) && !self.exchange.is_abandoned(self.correlation)
    }
}

impl FarEnd for Asked {
    fn answer(&self, answer: Result<Vec<u8>, CallError>) {
        if !self.end() {
            return;
        }
        match answer {
            Ok(outcome) => {
                match self.send(frames::ANSWER, &outcome) {
                    Err(SendError::TooLarge { size, limit }) => {
                        let reason = format!("there is an answer, of {size} bytes: a frame has at most {limit}");
                        self.send_failure(&lost_reply(reason, self.manner != Manner::Read));
                    }
                    // Its caller is to hear that it does not hear, and not at its deadline.
                    Err(SendError::Full) => {
                        self.exchange.link.close("answers are not taken as fast as they are asked for")
                    }
                    Ok(()) | Err(SendError::Closed) => {}
                }
            }
            Err(error) => self.send_failure(&error),
        }
    }

    fn is_abandoned(&self) -> bool {
        self.exchange.is_abandoned(self.correlation)
    }

    fn hint(&self, to: &EntityId, owner: Incarnation) {
        if self.exchange.link.peer().role != Role::Client {
            return;
        }
        let header = Header { kind: frames::HINT, ..Header::default() };
        let _ = self.exchange.link.send(header, |body| {
            if write_id(to, body).is_ok() {
                body.extend_from_slice(owner.as_bytes());
            }
        });
    }

    fn turn_away(&self, owner: Option<Incarnation>) -> bool {
        if self.exchange.link.peer().role != Role::Silo {
            return false;
        }
        if self.end() {
            let _ = self.send(frames::ELSEWHERE, owner.as_ref().map_or(&[], |owner| owner.as_bytes()));
        }
        true
    }
}

impl Arrival {
    /// Where it came from, for its turn.
    pub(crate) fn source(&self, durable: bool, exclusive: bool) -> Source {
        match self.ask.manner {
            Manner::Notify => Source::Notify,
            Manner::Keyed { key, digest } if durable && exclusive => Source::Keyed { key, digest },
            Manner::Read | Manner::Exclusive | Manner::Keyed { .. } => Source::Ask,
        }
    }

    pub(crate) fn fail(self, error: CallError) {
        if let Some(end) = self.end {
            end.answer(Err(error));
        }
    }

    /// Somebody else has its entity.
    pub(crate) fn go_on(self, shared: &Arc<Shared>, owner: Option<Incarnation>) {
        let Some(far) = shared.far() else {
            let error = unhosted(&self.ask.to.kind);
            return self.fail(error);
        };
        if self.end.as_ref().is_some_and(|end| end.turn_away(owner)) {
            return;
        }
        far.carry(Box::new(Passing { shared: shared.clone(), arrival: self }));
    }
}

/// A call on its way through this silo.
struct Passing {
    shared: Arc<Shared>,
    arrival: Arrival,
}

impl Errand for Passing {
    fn to(&self) -> &EntityId {
        &self.arrival.ask.to
    }
    fn deadline(&self) -> Tick {
        self.arrival.deadline
    }
    fn is_abandoned(&self) -> bool {
        self.arrival.end.as_ref().is_some_and(|end| end.is_abandoned())
    }
    fn manner(&self) -> Manner {
        self.arrival.ask.manner
    }
    fn write(&self, body: &mut Vec<u8>) -> Result<(), CallError> {
        self.arrival.ask.write(body).map_err(too_long)
    }
    fn deliver_here(self: Box<Self>) {
        self.shared.ask(self.arrival, TAKE);
    }
    fn outcome(self: Box<Self>, outcome: &[u8]) {
        let Some(end) = self.arrival.end else { return };
        end.answer(Ok(outcome.to_vec()));
        if let Some(owner) = self.shared.learned_owner(&self.arrival.ask.to) {
            end.hint(&self.arrival.ask.to, owner);
        }
    }
    fn fail(self: Box<Self>, error: CallError) {
        self.arrival.fail(error);
    }
}
