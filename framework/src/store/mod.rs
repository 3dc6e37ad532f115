//! Where entities are kept: the contract that every store fulfils, and the stores.
//!
//! One record an entity, one write a commit, one fence that decides who may write. A store runs no user code, sends
//! nothing and knows neither turns nor handlers: to it, a record is a state, some fields and a wake time.
//!
//! Always true, whatever the store: a commit is applied whole or not at all; a commit is applied only under the claim
//! that its fence names; a commit id that was applied answers `Done` again and changes nothing.

mod contract;
#[cfg(feature = "embedded")]
mod embedded;
mod members;
mod memory;
mod memory_members;
#[cfg(feature = "testing")]
mod memory_past;
#[cfg(feature = "redis")]
mod redis;

#[cfg(all(feature = "redis", feature = "testing"))]
pub use self::redis::Mutant as RedisMutant;
#[allow(clippy::module_name_repetitions, reason = "they are named far from this room")]
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore};
#[allow(clippy::module_name_repetitions, reason = "they are named far from this room")]
pub use contract::{
    Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Partitions, Pending, Record, Refusal,
    StateWrite, Stats, Store, StoreError, Trim,
};
#[allow(clippy::module_name_repetitions, reason = "they are named far from this room")]
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
#[allow(clippy::module_name_repetitions, reason = "they are named far from this room")]
pub use members::{Beat, Joined, Member, Members, OVERDUE_MS, Roster, Slice, Status};
#[allow(clippy::module_name_repetitions, reason = "they are named far from this room")]
pub use memory::MemoryStore;
#[cfg(feature = "testing")]
pub use memory::Snapshot;
pub(crate) use memory_members::MemoryMembers;
