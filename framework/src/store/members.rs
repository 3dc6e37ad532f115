use serde::{Deserialize, Serialize};

use crate::store::{Incarnation, Pending};
use crate::wire::Partition;

/// A silo as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// This life of it.
    pub incarnation: Incarnation,
    /// Where others reach it: `host:port`.
    pub address: String,
    /// Its share of the partitions, in proportion to the others'.
    pub weight: u32,
    /// The kinds that it hosts, sorted.
    pub kinds: Vec<String>,
    /// The version of the wire protocol that it speaks.
    pub protocol: u16,
    /// Its program's version, for people.
    pub build: String,
    /// Where it is in its life.
    pub status: Status,
    /// When it joined, in ms of the store's clock.
    pub joined: u64,
}

/// A silo's life. It goes one way: dead is final, and so is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there, and gets nothing yet.
    Joining,
    /// It is given work.
    Active,
    /// It finishes what it has, and gets nothing new.
    Draining,
    /// Others declared it dead: whatever it owned may be taken.
    Dead,
    /// It has given everything back.
    Left,
}

impl Status {
    /// Whether it may still own entities.
    pub fn lives(self) -> bool {
        matches!(self, Self::Joining | Self::Active | Self::Draining)
    }
}

/// Partitions in a row that are given to the same silo: how many, to whom.
pub type Slice = (u16, Incarnation);

/// All that silos know of each other, at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roster {
    /// Rises with every change, and is above those of a life of the store that was lost, too: no less than the store's time, in ms.
    pub version: u64,
    /// The silos, in the order in which they joined. Dead ones and those that left stay, as long as an entity may name
    /// them.
    pub members: Vec<Member>,
    /// Which partition is whose, from partition 0 on; empty before the first silo was active.
    pub slices: Vec<Slice>,
}

/// The answer to a silo that joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is in the table.
    Done {
        /// Of the table.
        version: u64,
        /// Of the store's clock, in ms.
        now: u64,
    },
    /// The cluster was made with another number of partitions, which is fixed for ever: nothing was changed.
    Partitions(u16),
}

/// The answer to a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The lease is renewed.
    Alive {
        /// Of the table.
        version: u64,
        /// Of the store's clock, in ms.
        now: u64,
        /// Others who have not renewed for at least [`OVERDUE_MS`], and for how long, in ms.
        overdue: Vec<(Incarnation, u64)>,
    },
    /// There is no living row of this incarnation: it was declared dead, or the store lost it. Final.
    Dead,
}

/// After so long without a renewal, in ms, a silo is worth a look.
pub const OVERDUE_MS: u64 = 1_000;

/// Who is in the cluster. All times are those of the store's clock: no two hosts' clocks are ever compared.
///
/// An error here says nothing about other silos.
pub trait Members: Send + Sync + 'static {
    /// Adds a silo, `Joining`; its `joined` is set by the store.
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined>;

    /// Renews the lease of a silo that lives.
    fn beat(&self, me: Incarnation) -> Pending<Beat>;

    /// The table.
    fn roster(&self) -> Pending<Roster>;

    /// Moves a living silo on to a later status; `false`: it does not live any more, or is that far already.
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool>;

    /// Declares a silo dead, if it lives and has not renewed for so many ms: checked where the renewals are. Says
    /// whether it is dead now.
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool>;

    /// Gives the partitions out anew, if the table is still at this version. Says whether it was.
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool>;

    /// How many partitions there are.
    fn partitions(&self) -> Partition;
}
