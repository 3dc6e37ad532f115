use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserValue};

use super::directory::{Directory, sync_directory};
use super::head::Head;
use super::keys::{self, Part};
use super::trial::Trial;
use super::{corrupt, corrupt_entity, failed};
use crate::store::{Due, Field, StoreError};
use crate::wire::EntityId;

/// What is kept in memory of what was read.
const CACHE_BYTES: u64 = 64 << 20;
/// Bounds what opening has to copy and to replay.
const JOURNALS_BYTES_MAX: u64 = 128 << 20;
/// They write tables and merge them.
const WORKERS: usize = 2;

/// What one batch writes; `None` removes. The last word on a key counts.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Bytes>>;

/// A record as it lies on disk.
pub(super) type Stored = (Head, Option<Bytes>, BTreeMap<Field, Bytes>);

/// The open data.
pub(super) struct Disk {
    // Before the directory: the lock goes last.
    database: Database,
    records: Keyspace,
    directory: Directory,
    /// The number of the last durable batch.
    sequence: AtomicU64,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = Directory::open(path)?;
        let marked = directory.marked()?;
        let failed = |error| failed("preparing", path, &error);
        Trial::undo(&directory).map_err(failed)?;
        make(&directory, marked)?;
        let trial = Trial::begin(&directory).map_err(failed)?;
        match open_checked(&directory, marked, &trial) {
            Ok((database, records, sequence)) => {
                trial.accept().map_err(failed)?;
                Ok(Self { database, records, directory, sequence: sequence.into() })
            }
            Err(refused) => {
                // fjall is closed by now. Should this fail, the next opening does it.
                trial.refuse().map_err(failed)?;
                Err(refused)
            }
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.directory.generation
    }

    /// Writes all or nothing; only the writer's thread does. If `durable`, it is when this returns, and it is marked as answered for.
    pub(super) fn write(&self, writes: Writes, durable: bool) -> Result<(), StoreError> {
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&self.records, key, value.as_ref()),
                None => batch.remove(&self.records, key),
            }
        }
        let sequence = self.sequence.load(Ordering::Relaxed) + u64::from(durable);
        if durable {
            batch.insert(&self.records, keys::SEQUENCE, sequence.to_be_bytes());
        }
        batch.commit().map_err(|error| failed("writing to", &self.directory.path, &error))?;
        if durable {
            self.directory.set_mark(sequence)?;
            self.sequence.store(sequence, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| failed("syncing", &self.directory.path, &error))
    }

    pub(super) fn head(&self, id: &EntityId) -> Result<Head, StoreError> {
        let bytes = self.records.get(keys::head(id)).map_err(|error| unread(id, &error))?;
        bytes.map_or(Ok(Head::default()), |bytes| decode_head(id, &bytes))
    }

    pub(super) fn has(&self, id: &EntityId, field: &Field) -> Result<bool, StoreError> {
        self.records.contains_key(keys::field(id, field)).map_err(|error| unread(id, &error))
    }

    /// The whole record, as one moment saw it.
    pub(super) fn record(&self, id: &EntityId) -> Result<Stored, StoreError> {
        let prefix = keys::record(id);
        let (mut head, mut state, mut fields) = (None, None, BTreeMap::new());
        for entry in self.records.prefix(&prefix) {
            let (key, value) = entry.into_inner().map_err(|error| unread(id, &error))?;
            match key.strip_prefix(prefix.as_slice()).and_then(keys::read_part) {
                Some(Part::Head) => head = Some(decode_head(id, &value)?),
                Some(Part::State) => state = Some(bytes(&value)),
                Some(Part::Field(field)) => drop(fields.insert(field, bytes(&value))),
                None => return Err(corrupt_entity(id, "it has a part that no field's name fits")),
            }
        }
        match head {
            Some(head) => Ok((head, state, fields)),
            None if state.is_none() && fields.is_empty() => Ok((Head::default(), None, fields)),
            None => Err(corrupt_entity(id, "its head is missing")),
        }
    }

    pub(super) fn due(&self, from: u64, until: u64, limit: usize) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        for entry in self.records.range(keys::agenda_times(from, until)).take(limit) {
            let key = entry.key().map_err(|error| corrupt(&self.directory.path, &error))?;
            match keys::read_agenda(&key) {
                Some((wake, id)) => due.push(Due { wake, id }),
                None => return Err(corrupt(&self.directory.path, "its agenda has an entry that can't be read")),
            }
        }
        Ok(due)
    }

    pub(super) fn letters(&self, limit: usize) -> Result<Vec<(EntityId, u64, Bytes)>, StoreError> {
        let mut letters = Vec::new();
        for entry in self.records.prefix(keys::LETTERS) {
            if letters.len() >= limit {
                break;
            }
            let key = entry.key().map_err(|error| corrupt(&self.directory.path, &error))?;
            let (id, number) = keys::read_letter(&key)
                .ok_or_else(|| corrupt(&self.directory.path, "a dead letter's name can't be read"))?;
            let content = self.records.get(keys::field(&id, &Field::Letter(number)));
            // Gone since the index was read: somebody has just removed it.
            if let Some(content) = content.map_err(|error| unread(&id, &error))? {
                letters.push((id, number, bytes(&content)));
            }
        }
        Ok(letters)
    }

    /// Moves what the journal holds into tables, as happens by itself when there is more of it.
    #[cfg(feature = "testing")]
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let flushed = self.records.rotate_memtable_and_wait();
        flushed.map_err(|error| failed("writing to", &self.directory.path, &error))
    }
}

/// Makes the data of a new directory: whole, or not at all.
fn make(directory: &Directory, marked: u64) -> Result<(), StoreError> {
    let (data, new) = (directory.data(), directory.path.join("data.new"));
    if data.exists() {
        return Ok(());
    }
    if marked > 0 {
        return Err(corrupt(&directory.path, "its data is missing"));
    }
    let made = if new.exists() { fs::remove_dir_all(&new) } else { Ok(()) };
    made.map_err(|error| failed("creating", &new, &error))?;
    let (database, records) = open_data(&new)?;
    database.persist(PersistMode::SyncAll).map_err(|error| failed("creating", &new, &error))?;
    drop((records, database));
    let made = fs::rename(&new, &data).and_then(|()| sync_directory(&directory.path));
    made.map_err(|error| failed("creating", &data, &error))
}

/// The data, and the number of its last batch, if nothing that was answered for is missing.
fn open_checked(directory: &Directory, marked: u64, trial: &Trial) -> Result<(Database, Keyspace, u64), StoreError> {
    let path = &directory.path;
    let (database, records) = open_data(&directory.data())?;
    let sequence = records.get(keys::SEQUENCE).map_err(|error| corrupt(path, &error))?;
    let sequence = sequence.map_or(Some(0), |bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    let sequence = sequence.ok_or_else(|| corrupt(path, "the number of its last batch is damaged"))?;
    if sequence < marked {
        return Err(corrupt(path, format!("batches {} to {marked} are missing", sequence + 1)));
    }
    if let Some(name) = trial.cut().map_err(|error| failed("reading", path, &error))? {
        return Err(corrupt(path, format!("the journal {name} is damaged")));
    }
    Ok((database, records, sequence))
}

/// Damage that fjall meets may be an error or a panic of its own; both are an error here.
fn open_data(path: &Path) -> Result<(Database, Keyspace), StoreError> {
    let open = || -> fjall::Result<(Database, Keyspace)> {
        let builder = Database::builder(path).cache_size(CACHE_BYTES).worker_threads(WORKERS);
        let database = builder.max_journaling_size(JOURNALS_BYTES_MAX).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok((database, records))
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(fjall::Error::Locked)) => Err(StoreError::Locked { path: path.display().to_string() }),
        Ok(Err(fjall::Error::Io(error))) if is_refusal(error.kind()) => Err(failed("opening", path, &error)),
        Ok(Err(error)) => Err(corrupt(path, &error)),
        Err(_) => Err(corrupt(path, "reading it panicked")),
    }
}

/// Whether it was the system that refused, and not the data that was wrong.
fn is_refusal(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{Interrupted, OutOfMemory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | StorageFull | OutOfMemory | Interrupted)
}

fn unread(id: &EntityId, error: &fjall::Error) -> StoreError {
    corrupt_entity(id, error)
}

fn decode_head(id: &EntityId, bytes: &[u8]) -> Result<Head, StoreError> {
    Head::decode(bytes).ok_or_else(|| corrupt_entity(id, "its head is damaged"))
}

fn bytes(value: &UserValue) -> Bytes {
    Bytes::copy_from_slice(value)
}
