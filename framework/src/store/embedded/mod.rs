//! Entities in a directory on this machine's disk.
//!
//! One writer thread decides on every commit and gathers all that wait into one atomic batch with one sync; two
//! readers read records for claims. Claims are in memory only: the directory belongs to one process, by a lock of the
//! system, and whoever opens it begins with nobody owning anything.
//!
//! Always true: what was answered `Done` is durable, and covered by the mark (see [`directory`]), so that its loss is
//! noticed; a directory that is refused is left as it was; after a failed write nothing is written until the
//! directory was opened anew and every activation has read its record again.

mod agenda;
mod claims;
mod directory;
mod disk;
mod head;
mod keys;
mod reader;
mod shared;
mod trial;
mod writer;

use std::fmt::{self, Debug, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::disk::Disk;
use self::reader::Read;
use self::shared::{Shared, lock};
use self::writer::{Operation, Writer};
use crate::store::{
    Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Partitions, Pending, Stats, Store, StoreError,
    Trim,
};
use crate::wire::EntityId;

const READERS: usize = 2;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Entities in a directory: durable, with no server beside the silo.
///
/// What a commit was answered `Done` for survives the process and, as far as the disk keeps what it said it synced,
/// the machine. Dropping the store lets go of the directory soon; [`Store::close`] says when.
pub struct EmbeddedStore {
    path: PathBuf,
    generation: u64,
    shared: Arc<Shared>,
    operations: Sender<Operation>,
}

impl EmbeddedStore {
    /// Opens the directory, and makes it if it isn't there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`]: another process has it. [`StoreError::Newer`], [`StoreError::Corrupt`]: it can't be
    /// read, and was left as it was. [`StoreError::Failed`]: the system refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let shared = Arc::new(Shared::new(path.clone(), Disk::open(&path)?));
        let spawned = |error| failed("starting a thread for", &path, &error);
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (reads, waiting) = channel();
            let shared = shared.clone();
            let reader = thread::Builder::new().name("grange-store-read".into());
            readers.push((reads, reader.spawn(move || reader::run(&shared, &waiting)).map_err(spawned)?));
        }
        let (operations, waiting) = channel();
        let run = Writer::new(shared.clone(), readers);
        let thread = thread::Builder::new().name("grange-store-write".into());
        thread.spawn(move || run.run(&waiting)).map_err(spawned)?;
        let generation = shared.read(|disk| Ok(disk.generation()))?;
        Ok(Self { path, generation, shared, operations })
    }

    /// Takes back all claims of an incarnation that is dead, so that others may claim its entities: for a silo that
    /// starts again over a store that stayed open.
    pub fn forget(&self, owner: Incarnation) {
        lock(&self.shared.claims).forget(owner);
    }

    /// The next write is carried out and reported as failed.
    #[cfg(feature = "testing")]
    pub fn fail_next_write(&self) {
        self.shared.fail_next_write.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves everything out of the journal into tables, as happens by itself to large data.
    #[cfg(feature = "testing")]
    pub fn flush(&self) -> Pending<()> {
        self.ask(Operation::Flush)
    }

    fn ask<T: Send + 'static>(&self, operation: impl FnOnce(Answer<T>) -> Operation) -> Pending<T> {
        let (answer, answered) = oneshot::channel();
        // A writer that has stopped drops what it is asked, and the answer's end with it.
        let _ = self.operations.send(operation(answer));
        Box::pin(async { answered.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

impl Store for EmbeddedStore {
    fn claim(&self, claim: Claim) -> Pending<Claimed> {
        self.ask(|answer| Operation::Claim(claim, answer))
    }
    fn commit(&self, commit: Commit) -> Pending<Committed> {
        self.ask(|answer| Operation::Commit(commit, answer))
    }
    fn trim(&self, trim: Trim) -> Pending<bool> {
        self.ask(|answer| Operation::Trim(trim, answer))
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        self.ask(|answer| Operation::Release(id, fence, answer))
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.ask(|answer| Operation::Read(Read::Has(id, field, answer)))
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        let held = self.shared.read(|_| Ok(lock(&self.shared.claims).holds(&id, fence)));
        Box::pin(std::future::ready(held))
    }
    /// Of all partitions: it serves one process.
    fn due(&self, _: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        self.ask(|answer| Operation::Read(Read::Due(until, limit, answer)))
    }
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>> {
        self.ask(|answer| Operation::Read(Read::Letters(limit, answer)))
    }
    fn stats(&self) -> Stats {
        *lock(&self.shared.stats)
    }
    fn generation(&self, _: &EntityId) -> u64 {
        self.generation
    }
    fn close(&self) -> Pending<()> {
        self.ask(Operation::Close)
    }
}

impl Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

fn failed(act: &str, path: &Path, error: &dyn Display) -> StoreError {
    StoreError::Failed { reason: format!("{act} {}: {error}", path.display()).into() }
}

fn corrupt(path: &Path, reason: impl Display) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), reason: reason.to_string() }
}

fn corrupt_entity(id: &EntityId, reason: impl Display) -> StoreError {
    StoreError::Corrupt { path: id.to_string(), reason: reason.to_string() }
}
