use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use grange::prelude::Uuid;
use grange::store::{
    Beat, Claim, Claimed, Committed, Fence, Member, MemoryStore, Pending, Snapshot, StateWrite, Status, Store,
};
use grange::wire::EntityId;

use super::Weakness;

/// The real store between two steps, and what only an onlooker knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    snapshot: Snapshot,
    /// The claim that was granted last.
    pub(super) granted: Option<Ticket>,
    /// The id of the commit that was applied last.
    applied: Option<u128>,
}

/// A fence, in numbers. While a claim is asked for there is no epoch yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket {
    /// The incarnation that owns it.
    pub(super) owner: u8,
    /// Which of its claims it is.
    pub(super) nonce: u8,
    pub(super) epoch: u64,
}

/// A commit on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Commit {
    /// The activation that made it, whatever its fence says.
    pub(super) by: Ticket,
    pub(super) fence: Ticket,
    pub(super) generation: u64,
    pub(super) version: u64,
    /// The turns that have changed the entity, from the first one on.
    pub(super) image: Vec<u8>,
}

/// What a claim reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) fence: Ticket,
    pub(super) generation: u64,
    pub(super) version: u64,
    pub(super) image: Vec<u8>,
}

/// How a commit was answered, and what an onlooker saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decided {
    pub(super) done: bool,
    /// It changed the store just now.
    pub(super) applied: bool,
    /// It is the one that the store applied last.
    pub(super) is_last: bool,
}

/// One tick, in ms: what others need to declare a silo dead.
const TICK_MS: u64 = 1_500;

fn id() -> EntityId {
    static ID: OnceLock<EntityId> = OnceLock::new();
    ID.get_or_init(|| EntityId::new("Model", b"m".to_vec())).clone()
}

fn uuid(incarnation: u8) -> Uuid {
    Uuid::from_u128(incarnation.into())
}

/// The memory store answers at once.
fn answer<T>(mut pending: Pending<T>) -> T {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(answer)) => answer,
        Poll::Ready(Err(error)) => panic!("the memory store failed: {error}"),
        Poll::Pending => panic!("the memory store waits for something"),
    }
}

impl From<Ticket> for Fence {
    fn from(ticket: Ticket) -> Self {
        Self { owner: uuid(ticket.owner), nonce: ticket.nonce.into(), epoch: ticket.epoch }
    }
}

impl From<Fence> for Ticket {
    fn from(fence: Fence) -> Self {
        Self { owner: fence.owner.as_u128() as u8, nonce: fence.nonce as u8, epoch: fence.epoch }
    }
}

impl Commit {
    /// Random in truth; here it is enough that no two commits have the same.
    fn id(&self) -> u128 {
        u128::from(self.by.owner) << 96 | u128::from(self.by.nonce) << 64 | u128::from(self.version)
    }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { snapshot: MemoryStore::new(1).snapshot(), granted: None, applied: None }
    }

    fn ask<T>(&mut self, now: u8, ask: impl FnOnce(&MemoryStore) -> Pending<T>) -> T {
        let store = self.snapshot.clone().open(u64::from(now) * TICK_MS);
        let answer = answer(ask(&store));
        self.snapshot = store.snapshot();
        answer
    }

    pub(super) fn generation(&self) -> u64 {
        self.snapshot.generation()
    }

    /// Who owns the entity.
    pub(super) fn owner(&self) -> Option<u8> {
        self.snapshot.claim(&id()).map(|fence| Ticket::from(fence).owner)
    }

    /// The turns that have changed the entity.
    pub(super) fn image(&self) -> &[u8] {
        self.snapshot.state(&id()).map_or(&[], |state| state)
    }

    /// The same data in another life.
    pub(super) fn next_life(self) -> Self {
        Self { snapshot: self.snapshot.next_life(), ..self }
    }

    /// `Err`: this incarnation owns it.
    pub(super) fn claim(&mut self, ticket: Ticket, over: Option<u8>, weakness: Option<Weakness>) -> Result<Read, u8> {
        let held = self.snapshot.claim(&id()).filter(|held| held.owner == uuid(ticket.owner));
        if let Some(held) = held
            && weakness == Some(Weakness::OwnClaimRefused)
        {
            return Err(Ticket::from(held).owner);
        }
        if let Some(held) = held
            && weakness == Some(Weakness::FenceKept)
        {
            self.granted = Some(ticket);
            let (generation, version) = (self.generation(), self.snapshot.version(&id()));
            return Ok(Read { fence: held.into(), generation, version, image: self.image().to_vec() });
        }
        // No time: an epoch that only counts is given twice when the store loses its tail.
        let claim =
            Claim { id: id(), owner: uuid(ticket.owner), nonce: ticket.nonce.into(), now: 0, over: over.map(uuid) };
        match self.ask(0, |store| store.claim(claim)) {
            Claimed::Granted(record) => {
                self.granted = Some(ticket);
                Ok(Read {
                    fence: record.fence.into(),
                    generation: record.generation,
                    version: record.version,
                    image: record.state.map(|state| state.to_vec()).unwrap_or_default(),
                })
            }
            Claimed::Taken { owner } => Err(owner.as_u128() as u8),
        }
    }

    pub(super) fn commit(&mut self, commit: &Commit, weakness: Option<Weakness>) -> Decided {
        let version = self.snapshot.version(&id());
        let is_fenced = self.snapshot.claim(&id()) == Some(commit.fence.into());
        let mut asked = grange::store::Commit {
            id: id(),
            fence: commit.fence.into(),
            generation: commit.generation,
            commit: commit.id(),
            version: commit.version,
            state: StateWrite::Put(commit.image.clone().into()),
            puts: Vec::new(),
            removes: Vec::new(),
            wake: None,
            named: false,
        };
        match weakness {
            Some(Weakness::NoFence) => asked.fence = self.snapshot.claim(&id()).unwrap_or(asked.fence),
            Some(Weakness::NoVersion) => asked.version = version,
            Some(Weakness::NoGeneration) => asked.generation = self.generation(),
            // One that was never used: it includes the version that it would make.
            Some(Weakness::NoId) => asked.commit |= u128::from(version + 1) << 32,
            Some(Weakness::FenceBeforeId) if !is_fenced => asked.commit = u128::MAX,
            _ => {}
        }
        let done = self.ask(0, |store| store.commit(asked)) == Committed::Done;
        let applied = self.snapshot.version(&id()) > version;
        if applied {
            self.applied = Some(commit.id());
        }
        Decided { done, applied, is_last: self.applied == Some(commit.id()) }
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        self.ask(0, |store| store.release(id(), ticket.into()));
    }

    /// Joins the table, active at once; its lease begins.
    pub(super) fn join(&mut self, incarnation: u8, now: u8) {
        let member = Member {
            incarnation: uuid(incarnation),
            address: String::new(),
            weight: 1,
            kinds: Vec::new(),
            protocol: 1,
            build: String::new(),
            status: Status::Joining,
            joined: 0,
        };
        self.ask(now, |store| table(store).join(member, 64));
        self.ask(now, |store| table(store).advance(uuid(incarnation), Status::Active));
    }

    /// `false`: it has no living row.
    pub(super) fn beat(&mut self, incarnation: u8, now: u8) -> bool {
        self.ask(now, |store| table(store).beat(uuid(incarnation))) != Beat::Dead
    }

    pub(super) fn leave(&mut self, incarnation: u8, now: u8) {
        self.ask(now, |store| table(store).advance(uuid(incarnation), Status::Left));
    }

    /// Says whether it is dead now.
    pub(super) fn declare_dead(&mut self, incarnation: u8, now: u8, is_checked: bool) -> bool {
        let missed_ms = if is_checked { TICK_MS } else { 0 };
        self.ask(now, |store| table(store).declare_dead(uuid(incarnation), missed_ms))
    }

    /// The incarnations that the table knows, and whether they live.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u8, bool)> + '_ {
        let members = self.snapshot.roster().members.iter();
        members.map(|member| (member.incarnation.as_u128() as u8, member.status.lives()))
    }

    /// Whether an incarnation may still own the entity: one that has no row does not.
    pub(super) fn lives(&self, incarnation: u8) -> bool {
        self.rows().any(|(row, lives)| row == incarnation && lives)
    }
}

fn table(store: &MemoryStore) -> std::sync::Arc<dyn grange::store::Members> {
    store.members().expect("the memory store has a table")
}
