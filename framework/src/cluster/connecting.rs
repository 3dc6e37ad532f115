//! Connections that this process opens: made when something is to go there, and what becomes of it when they are lost.

use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;

use crate::CallError;
use crate::cluster::courier::{Courier, ROUND, lock};
use crate::cluster::dialling::Dialling;
use crate::cluster::peer::{Peer, Posted, State, Up};
use crate::cluster::{HOPS_MAX, Table, Told};
use crate::mutant::Mutant;
use crate::store::Roster;
use crate::wire::{
    ConnectError, Header, Inbound, Link, Malformed, Manner, PARTITIONS_DEFAULT, Role, Violation, frames, read_id,
    read_uuid,
};

/// How often a read is sent again after its silo was lost.
const LOST_MAX: u8 = 2;

/// The longest pause before a silo that can't be reached is tried again, in ms.
const RETRY_MAX_MS: u64 = 1_000;

impl Courier {
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

    pub(super) fn connect(&self, peer: Arc<Peer>) {
        let Some(courier) = self.me.upgrade() else { return };
        let dialling = Dialling::new(self, &peer);
        self.lodging.runtime().spawn(async move {
            if !dialling.begin() {
                return;
            }
            let inbound = {
                let (courier, peer) = (courier.me.clone(), peer.clone());
                move |_: &Link| Box::new(Correspondent { courier, peer }) as Box<dyn Inbound>
            };
            let connected = crate::wire::connect(&peer.address, &courier.identity, &courier.limits, inbound).await;
            if !dialling.end() {
                return; // it took so long that another one was begun
            }
            match connected {
                Ok((link, driver)) => {
                    courier.connected(&peer, &link);
                    drop(courier);
                    driver.await;
                }
                Err(error) => courier.not_connected(&peer, &error),
            }
        });
    }

    pub(super) fn connected(&self, peer: &Arc<Peer>, link: &Link) {
        let (waiting, posts) = {
            let mut state = peer.state();
            let up = State::Up(Up::new(link.clone(), self.clock.tick()));
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

    pub(super) fn not_connected(&self, peer: &Arc<Peer>, error: &ConnectError) {
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

    /// A client that has lost every silo learns anew: they may be others when they are back, and count from the beginning.
    fn forget_table_when_alone(&self) {
        if self.home.get().is_none()
            && self.peers.read().unwrap_or_else(PoisonError::into_inner).values().all(|peer| peer.link().is_none())
        {
            let nobody = Arc::new(Table::new(Roster::default(), PARTITIONS_DEFAULT));
            let known = std::mem::replace(&mut *self.table.write().unwrap_or_else(PoisonError::into_inner), nobody);
            if known.version() > 0 {
                *lock(&self.remembered) = known.living().map(|member| member.address.clone()).collect();
            }
        }
    }

    pub(super) fn suspect_address(&self, address: &str) {
        let Some(home) = self.home.get() else { return };
        let table = self.table();
        for member in table.living().filter(|member| member.address == address) {
            (home.suspect)(member.incarnation);
        }
    }

    /// The connection is over. What never left is sent another way. What may have run there is told so; what can be run twice goes on.
    pub(super) fn disconnected(&self, peer: &Arc<Peer>, link: &Link, reason: &str) {
        let pending = {
            let mut state = peer.state();
            if !matches!(&*state, State::Up(up) if up.link.id() == link.id()) {
                return; // it was given up before
            }
            let now = self.clock.tick();
            match std::mem::replace(&mut *state, State::Down { failures: 0, retry_at: now }) {
                State::Up(up) => up.pending,
                State::Down { .. } | State::Connecting { .. } => return,
            }
        };
        tracing::debug!(
            target: "grange", address = peer.address, reason, pending = pending.len(), "a connection was lost"
        );
        self.suspect_address(&peer.address);
        self.forget_table_when_alone();
        let left = link.left();
        for mut trip in pending.into_values() {
            if trip.frame > left {
                self.wait("the connection to its silo was lost", trip);
                continue;
            }
            trip.lost += 1;
            match trip.errand.manner() {
                // One that kills the process it runs in must not walk through all of them.
                Manner::Exclusive | Manner::Keyed { .. } if Mutant::LostIsRepeated.is_planted() => {
                    self.wait("the connection to its silo was lost", trip);
                }
                Manner::Exclusive if Mutant::LostIsRefused.is_planted() => {
                    trip.errand.fail(CallError::Unavailable { reason: "the connection was lost".into() });
                }
                Manner::Read if trip.lost <= LOST_MAX => self.wait("the connection to its silo was lost", trip),
                Manner::Notify => {}
                Manner::Read | Manner::Exclusive | Manner::Keyed { .. } => {
                    let reason = format!("the connection to the silo at {} was lost: {reason}", peer.address);
                    trip.errand.fail(CallError::Unknown { reason });
                }
            }
        }
    }

    /// A client makes connections again that broke: the silo at the other end of the one that it still has may be cut off from
    /// the store, and not know how the cluster is now. One that has lost all of them goes back to where it came in, and to those
    /// that it knew since: where it came in may be gone for good.
    pub(super) fn keep_gateways(&self) {
        if self.home.get().is_some() {
            return;
        }
        let peers = self.every_peer();
        let (up, down): (Vec<_>, Vec<_>) = peers.iter().partition(|peer| peer.link().is_some());
        down.iter().for_each(|peer| self.open(&peer.address));
        if up.is_empty() {
            let remembered = lock(&self.remembered).clone();
            self.gateways.iter().chain(&remembered).for_each(|address| self.open(address));
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

    /// Connections that were made by an earlier life of this silo, or to one of another's.
    pub(crate) fn close_links(&self, reason: &str) {
        let peers = self.every_peer();
        peers.iter().filter_map(|peer| peer.link()).for_each(|link| link.close(reason));
    }

    pub(super) fn answered(&self, peer: &Peer, link: &Link, header: Header, mut body: Bytes) -> Result<(), Malformed> {
        let trip = match &mut *peer.state() {
            // One that was given up has numbers that its successor gives again.
            State::Up(up) if up.link.id() == link.id() => up.pending.remove(&header.correlation),
            State::Up(_) | State::Down { .. } | State::Connecting { .. } => None,
        };
        // Nobody waits for it any more.
        let Some(mut trip) = trip else { return Ok(()) };
        match header.kind {
            frames::ANSWER => trip.finish(Ok(body)),
            frames::FAILURE => {
                trip.finish(Err(rmp_serde::from_slice(&body).unwrap_or_else(|_| CallError::Unknown {
                    reason: "the silo answered with an error that this version does not know".into(),
                })));
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
                courier.answered(&self.peer, link, header, body).map_err(malformed)
            }
            frames::ROSTER if courier.home.get().is_none() => {
                let told: Told = rmp_serde::from_slice(&body).map_err(|_| malformed(Malformed))?;
                courier.learn(&Arc::new(Table::new(told.roster, told.partitions)));
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

    fn closed(&mut self, link: &Link, reason: &str) {
        if let Some(courier) = self.courier.upgrade() {
            courier.disconnected(&self.peer, link, reason);
        }
    }
}
