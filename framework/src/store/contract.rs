use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::Members;
use crate::wire::{EntityId, Partition};

/// One life of a silo: fresh at each start, never reused.
pub type Incarnation = Uuid;

/// What a store answers later.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Who may write a record: compared whole by every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The silo that holds the claim.
    pub owner: Incarnation,
    /// Random, one per activation: an epoch can be granted twice by a store that lost its tail, a nonce can't.
    pub nonce: u128,
    /// Rises with every claim: `max(epoch + 1, now in ms)`, so that it rises for the outside world also when the store has lost its
    /// last writes. So it must be one clock that is asked: the store's.
    pub epoch: u64,
}

/// One named part of a record beside its state. The store keeps the value without looking into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// The highest sequence number that this entity ever gave to a message.
    Sequence,
    /// A message staged and not yet acknowledged, by its sequence number.
    Outbox(u64),
    /// The last message applied from this partner.
    Activity(EntityId),
    /// How often the next message from this partner was tried.
    Attempts(EntityId),
    /// The outcome of an idempotent ask.
    Key(Uuid),
    /// Idempotency keys made before this time are refused.
    KeyFloor,
    /// A reminder, by its name.
    Reminder(String),
    /// A dead letter, by its number.
    Letter(u64),
}

/// The wish to own an entity and to have everything that is needed to run it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The entity.
    pub id: EntityId,
    /// Who asks.
    pub owner: Incarnation,
    /// Fresh and random.
    pub nonce: u128,
    /// The time of the silo's clock, in ms since the epoch, for stores in its own process. A store that several processes share goes
    /// by a clock of its own: see [`Fence::epoch`].
    pub now: u64,
    /// An owner that the asker knows to be dead, or to have left: it may be taken over.
    pub over: Option<Incarnation>,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// The asker owns the entity now.
    Granted(Box<Record>),
    /// Another incarnation, which is not known to be dead, owns it.
    Taken {
        /// That incarnation.
        owner: Incarnation,
    },
}

/// Everything that is stored of one entity. An entity never seen before has an empty one at version 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The claim under which it was read.
    pub fence: Fence,
    /// The life of the store's data. A later life has a greater one.
    pub generation: u64,
    /// Rises by one with every commit.
    pub version: u64,
    /// The state as it was committed; `None`: never stored, or deleted.
    pub state: Option<Bytes>,
    /// The fields.
    pub fields: BTreeMap<Field, Bytes>,
    /// When the entity is to be woken, in ms since the epoch.
    pub wake: Option<u64>,
}

/// What a commit does to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateWrite {
    /// Leave it.
    Keep,
    /// These are its new bytes.
    Put(Bytes),
    /// There is none any more.
    Delete,
}

/// What one or more turns of one entity did: applied whole, or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The entity.
    pub id: EntityId,
    /// The claim under which the turns ran.
    pub fence: Fence,
    /// The store's life in which they ran.
    pub generation: u64,
    /// This commit, random: sending it again after a lost answer is answered with `Done`.
    pub commit: u128,
    /// The version that the turns saw; it becomes `version + 1`.
    pub version: u64,
    /// The state.
    pub state: StateWrite,
    /// Fields to write.
    pub puts: Vec<(Field, Bytes)>,
    /// Fields to remove; one that isn't there is no error. Never names a field of `puts`.
    pub removes: Vec<Field>,
    /// When the entity is to be woken next, from the whole record as this commit leaves it.
    pub wake: Option<u64>,
    /// An earlier commit had it named for `wake` or before, and probably that stands: a store that keeps an index of wakes apart
    /// from the records need not write to it first, if it refuses to commit where the index has no entry, or a later one.
    pub named: bool,
}

/// The answer to a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is in the store, as durable as the store makes it.
    Done,
    /// It is not, and never will be.
    Refused(Refusal),
}

/// Why a commit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another claim was granted since.
    Superseded,
    /// The version moved: somebody committed under the same claim.
    Stale,
    /// The store has lived a new life since the claim.
    Generation,
}

/// Fields that nobody needs any more, with no turn: acknowledged messages. It makes no new version. A store
/// that says that it applied one must not lose it alone: whatever survives of what came later, this does, too. One that
/// failed is made again.
#[derive(Debug, Clone)]
pub struct Trim {
    /// The entity.
    pub id: EntityId,
    /// The claim.
    pub fence: Fence,
    /// The store's life.
    pub generation: u64,
    /// The version that it was made for. One that a later commit overtook is not applied: the commit may have written what
    /// it removes, and knew better when the entity is to be woken.
    pub version: u64,
    /// Fields to remove.
    pub removes: Vec<Field>,
    /// When the entity is to be woken next.
    pub wake: Option<u64>,
}

/// An entity that the agenda names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it asked to be woken, in ms since the epoch.
    pub wake: u64,
    /// The entity.
    pub id: EntityId,
}

/// Partitions whose agendas are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// Every one.
    All,
    /// These.
    These(Arc<[Partition]>),
}

impl Partitions {
    /// Whether this one is among them.
    pub fn contains(&self, partition: Partition) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&partition),
        }
    }
}

/// What a store did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Claims answered.
    pub claims: u64,
    /// Commits applied.
    pub commits: u64,
    /// Trims applied.
    pub trims: u64,
    /// Times the data was made durable: one may cover many commits.
    pub syncs: u64,
    /// State and field bytes handed to be written.
    pub bytes: u64,
}

/// Where entities are kept.
///
/// All methods return at once; the answer comes later. Dropping what they return takes nothing back: a commit that
/// was handed over may still be applied.
pub trait Store: Send + Sync + 'static {
    /// Makes the asker the owner and reads the record. Reading an entity that was never committed leaves nothing behind.
    fn claim(&self, claim: Claim) -> Pending<Claimed>;

    /// Applies what turns did, or refuses. Checks in this order: the commit id (applied before: `Done`), the fence,
    /// the generation, the version.
    fn commit(&self, commit: Commit) -> Pending<Committed>;

    /// Removes fields, if the fence still holds and no commit came since; says whether that was so.
    fn trim(&self, trim: Trim) -> Pending<bool>;

    /// Gives the claim back, if it is still this one.
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()>;

    /// Whether this field is stored now.
    fn has(&self, id: EntityId, field: Field) -> Pending<bool>;

    /// Whether this claim is still the current one.
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool>;

    /// At most `limit` entities of these partitions whose wake time is not after `until`, the earliest first. A hint: it
    /// may name too many, never too few.
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>>;

    /// At most `limit` dead letters: the entity that holds it, its number, its content.
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>>;

    /// What the store did since it was opened.
    fn stats(&self) -> Stats;

    /// The life of the data that this entity's record is in, as far as is known. A store that lives once has one.
    fn generation(&self, id: &EntityId) -> u64;

    /// How often a life was seen to end: when it moves, what is in memory may be ahead of what the store remembers.
    fn lives(&self) -> u64 {
        0
    }

    /// Who is in the cluster; `None`: the store serves one process.
    fn members(&self) -> Option<Arc<dyn Members>> {
        None
    }

    /// Called on each arbiter of a silo before anything else is asked from there: a store may keep what it needs on that very
    /// thread, inside of its `LocalSet`, so that no other thread has to be woken for an answer. What it keeps ends with the
    /// arbiter, or when the store is closed.
    fn open_here(&self) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Makes everything durable and lets go of files and threads. Calls after it fail with [`StoreError::Closed`].
    fn close(&self) -> Pending<()>;
}

/// A store could not do what it was asked. Nothing here says that another silo is dead.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory belongs to a living process.
    #[error("{path} is in use, by another process or another silo of this one: stop it, or use a directory of its own")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The data was written by a newer grange.
    #[error(
        "{path} has format {found}, and this version of grange reads up to {supported}: nothing was changed; \
         use the newer version"
    )]
    Newer {
        /// The directory.
        path: String,
        /// The format that was found.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// The data is damaged.
    #[error("{path} can't be read: {reason}; nothing was changed: restore it from a backup")]
    Corrupt {
        /// The directory or the entity.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The store can't be reached, or its disk refused: whether the last commit was applied isn't known.
    #[error("the store failed: {reason}")]
    Failed {
        /// What it said.
        reason: Arc<str>,
    },
    /// The store is there and does not write: it is full, a replica, or its disk is. Nothing was changed.
    #[error("the store refused to write, nothing was changed: {reason}")]
    Refused {
        /// What it said, and what to do.
        reason: Arc<str>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Commit {
    /// State and field bytes that it carries: what [`Stats::bytes`] counts, and what limits are measured by.
    pub fn bytes(&self) -> u64 {
        let state = if let StateWrite::Put(state) = &self.state { state.len() } else { 0 };
        self.puts.iter().fold(state, |sum, (_, value)| sum + value.len()) as u64
    }
}
