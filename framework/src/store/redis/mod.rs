//! Entities in Redis or Valkey, on one server or a Redis Cluster, for as many silos as there are.
//!
//! One hash holds all of an entity, and each commit is one script that checks everything and then writes once. Each arbiter
//! of a silo has connections of its own, so that no other thread is woken for a commit. Two more threads have some, too: one
//! for whoever else asks about entities, from whatever runtime, and one for the table of members, so that no load holds up a
//! renewal.
//!
//! Always true: the first thing said on a connection finds out which life the server's data is in (see [`lives`]), and
//! a commit of another life is refused; nothing is sent twice that may have run; an error says that nothing was changed
//! ([`StoreError::Refused`]) or that it isn't known ([`StoreError::Failed`]), and never that another silo is dead.
//!
//! Stops in reading order: [`keys`] has every name in Redis, `scripts/` what runs there, [`entities`] and [`table`] call
//! them, [`routes`] and [`link`] bring the calls there.

mod entities;
mod faults;
mod greeting;
mod keys;
mod lane;
mod link;
mod lives;
mod options;
mod routes;
mod scripts;
mod server;
mod setup;
mod shared;
mod sweeps;
mod table;

use std::fmt::{self, Debug};
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;

use self::entities::Entities;
use self::faults::failed;
use self::keys::Keys;
use self::lane::{Reply, Thread};
use self::lives::Lives;
pub use self::options::RedisOptions;
use self::routes::Lane;
#[cfg(feature = "testing")]
pub use self::scripts::Mutant;
use self::scripts::Scripts;
use self::server::Access;
use self::setup::Setup;
use self::shared::Shared;
use self::table::Table;
use crate::store::{
    Beat, Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Joined, Member, Members, Partitions,
    Pending, Roster, Slice, Stats, Status, Store, StoreError, Trim,
};
use crate::wire::{EntityId, Partition};

/// Entities in Redis, shared by all silos of a cluster.
///
/// What was answered `Done` is as durable as Redis makes it: with `appendonly yes` and `appendfsync always`, and one
/// primary, it survives a crash of Redis and of its machine. Cloning it shares the connections.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    partitions: u16,
    shared: Arc<Shared>,
    entities: Thread,
    members: Thread,
}

impl RedisStore {
    /// Connects to Redis, and fails if that can't be done now. From then on a lost connection is made again by itself,
    /// and until it is, calls fail at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`]: it can't be reached, or is too old. [`StoreError::Refused`]: it does not let us in, or is
    /// a replica.
    pub async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        if options.partitions == 0 {
            return Err(failed("a cluster has at least one partition"));
        }
        let keys = Keys::new(&options.cluster, options.partitions).map_err(failed)?;
        let (seeds, access) = Access::read(&options)?;
        let scripts = Scripts::new();
        #[cfg(feature = "testing")]
        let scripts = options.mutants.iter().copied().fold(scripts, Scripts::without);
        let lives = Arc::new(Lives::new(options.partitions));
        let setup = Setup {
            access,
            keys: Arc::new(keys),
            scripts: Arc::new(scripts),
            lives: lives.clone(),
            partitions: options.partitions,
            response_timeout: options.response_timeout,
            clustered: false,
            speaks: true,
        };
        let entities = Thread::start(setup.clone(), seeds.clone(), Lane::Entities).await?;
        let members = Thread::start(setup, seeds, Lane::Members).await?;
        let shared = Arc::new(Shared::new(lives));
        Ok(Self { inner: Arc::new(Inner { partitions: options.partitions, shared, entities, members }) })
    }

    fn entities<T, F>(&self, work: impl FnOnce(Entities) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        let shared = self.inner.shared.clone();
        self.inner.entities.ask(move |routes| work(Entities { routes, shared }))
    }

    /// The same for what most often needs no task.
    fn call<T: Send + 'static>(&self, begin: impl FnOnce(Entities, Reply<T>) + Send + 'static) -> Pending<T> {
        let shared = self.inner.shared.clone();
        self.inner.entities.call(move |routes, reply| begin(Entities { routes, shared }, reply))
    }

    fn table<T, F>(&self, work: impl FnOnce(Table) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        self.inner.members.ask(move |routes| work(Table { routes }))
    }
}

impl Store for RedisStore {
    fn claim(&self, claim: Claim) -> Pending<Claimed> {
        self.call(|entities, reply| entities.claim(claim, reply))
    }
    fn commit(&self, commit: Commit) -> Pending<Committed> {
        self.call(|entities, reply| entities.commit(commit, reply))
    }
    fn trim(&self, trim: Trim) -> Pending<bool> {
        self.entities(|entities| async move { entities.trim(trim).await })
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        self.entities(move |entities| async move { entities.release(id, fence).await })
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.entities(move |entities| async move { entities.has(id, field).await })
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        self.entities(move |entities| async move { entities.verify(id, fence).await })
    }
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        let partitions = self.inner.partitions;
        let of = match of {
            Partitions::All => (0..partitions).collect(),
            Partitions::These(these) => these.iter().copied().filter(|partition| *partition < partitions).collect(),
        };
        self.entities(move |entities| async move { entities.due(of, until, limit).await })
    }
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>> {
        self.entities(move |entities| async move { entities.letters(limit).await })
    }
    fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }
    fn generation(&self, id: &EntityId) -> u64 {
        self.inner.shared.lives.of(id.partition(self.inner.partitions))
    }
    fn lives(&self) -> u64 {
        self.inner.shared.lives.ended()
    }
    fn members(&self) -> Option<Arc<dyn Members>> {
        Some(Arc::new(self.clone()))
    }
    fn open_here(&self) -> Pending<()> {
        self.inner.entities.open_here()
    }
    fn close(&self) -> Pending<()> {
        let closing = [self.inner.entities.close(), self.inner.members.close()];
        if closing.iter().all(Option::is_none) {
            return Box::pin(ready(Err(StoreError::Closed)));
        }
        Box::pin(async move {
            for thread in closing.into_iter().flatten() {
                // One that has ended already is closed, too.
                let _ = thread.await;
            }
            Ok(())
        })
    }
}

impl Members for RedisStore {
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined> {
        self.table(move |table| async move { table.join(member, partitions).await })
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        self.table(move |table| async move { table.beat(me).await })
    }
    fn roster(&self) -> Pending<Roster> {
        self.table(|table| async move { table.roster().await })
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.table(move |table| async move { table.advance(me, to).await })
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        self.table(move |table| async move { table.declare_dead(who, missed_ms).await })
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.table(move |table| async move { table.place(version, slices).await })
    }
    fn partitions(&self) -> Partition {
        self.inner.partitions
    }
}

impl Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("partitions", &self.inner.partitions).finish_non_exhaustive()
    }
}
