use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::disk::{Disk, Writes};
use super::head::Head;
use super::reader::Read;
use super::{Answer, Shared, keys, lock};
use crate::store::{Claim, Claimed, Commit, Committed, Fence, Field, Refusal, StateWrite, Stats, StoreError, Trim};
use crate::wire::EntityId;

/// Closes a batch: what waits longer than this for one sync waits for the next.
const BATCH_OPERATIONS_MAX: usize = 1_024;
/// Closes a batch: bounds what one sync has to write.
const BATCH_BYTES_MAX: u64 = 4 << 20;

/// What the writer is asked.
pub(super) enum Operation {
    Claim(Claim, Answer<Claimed>),
    Commit(Commit, Answer<Committed>),
    Trim(Trim, Answer<bool>),
    Release(EntityId, Fence, Answer<()>),
    Read(Read),
    #[cfg(feature = "testing")]
    Flush(Answer<()>),
    Close(Answer<()>),
}

/// The only one who writes. Everything that waits when a batch begins shares its one sync.
pub(super) struct Writer {
    shared: Arc<Shared>,
    readers: Vec<(Sender<Read>, JoinHandle<()>)>,
    batch: Batch,
}

/// Somebody who is answered when the batch is written, or has failed.
type Waiting = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What is being gathered: decided, and not yet written.
#[derive(Default)]
struct Batch {
    writes: Writes,
    answers: Vec<Waiting>,
    /// Whose records the disk doesn't show yet as the answers will say.
    staged: HashSet<EntityId>,
    stats: Stats,
    /// The earliest time at which the agenda gets an entry.
    wake: Option<u64>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, readers: Vec<(Sender<Read>, JoinHandle<()>)>) -> Self {
        Self { shared, readers, batch: Batch::default() }
    }

    /// The loop of the writer's thread: until it is closed, or nobody can ask any more.
    pub(super) fn run(mut self, operations: &Receiver<Operation>) {
        let mut closing = None;
        while closing.is_none() {
            let Ok(first) = operations.recv() else { break };
            let mut next = Some(first);
            while let Some(operation) = next {
                if let Operation::Close(answer) = operation {
                    closing = Some(answer);
                    break;
                }
                self.take(operation);
                next = if self.batch.is_full() { None } else { operations.try_recv().ok() };
            }
            self.flush();
        }
        let synced = self.shared.read(Disk::sync);
        for (reads, thread) in self.readers {
            drop(reads);
            // A reader that panicked has nothing more to tell.
            let _ = thread.join();
        }
        self.shared.replace(Err(StoreError::Closed));
        if let Some(answer) = closing {
            let _ = answer.send(synced);
        }
    }

    fn take(&mut self, operation: Operation) {
        match operation {
            Operation::Commit(commit, answer) => match self.judge(&commit) {
                Ok(verdict) => {
                    self.batch.answers.push(Box::new(move |done| drop(answer.send(done.map(|()| verdict)))));
                }
                Err(error) => drop(answer.send(Err(error))),
            },
            Operation::Trim(trim, answer) => {
                let held = self.trim(&trim);
                self.batch.answers.push(Box::new(move |done| drop(answer.send(done.map(|()| held)))));
            }
            Operation::Claim(claim, answer) => self.claim(claim, answer),
            Operation::Release(id, fence, answer) => {
                lock(&self.shared.claims).release(&id, fence);
                let _ = answer.send(Ok(()));
            }
            Operation::Read(read) => self.read(0, read),
            #[cfg(feature = "testing")]
            Operation::Flush(answer) => {
                self.flush();
                let _ = answer.send(self.shared.read(Disk::flush));
            }
            Operation::Close(answer) => drop(answer.send(Ok(()))),
        }
    }

    fn claim(&mut self, claim: Claim, answer: Answer<Claimed>) {
        if let Err(error) = self.shared.reopen_if_failed() {
            let _ = answer.send(Err(error));
            return;
        }
        if self.batch.staged.contains(&claim.id) {
            self.flush();
        }
        let begun = lock(&self.shared.claims).begin(&claim);
        match begun {
            Ok(()) => {
                let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&claim.id);
                self.read(hash as usize % self.readers.len(), Read::Claim(claim, answer));
            }
            Err(owner) => {
                lock(&self.shared.stats).claims += 1;
                let _ = answer.send(Ok(Claimed::Taken { owner }));
            }
        }
    }

    fn read(&self, reader: usize, read: Read) {
        // If that thread is gone, the answer is dropped, and who waits for it is told so.
        let _ = self.readers[reader].0.send(read);
    }

    /// Decides on a commit, and stages it if it is to be.
    fn judge(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let live = lock(&self.shared.claims).live(&commit.id).map(|(fence, head)| (fence, *head));
        let (fence, head) = match live {
            Some((fence, head)) => (Some(fence), head),
            None => {
                if self.batch.staged.contains(&commit.id) {
                    self.flush();
                }
                (None, self.shared.read(|disk| disk.head(&commit.id))?)
            }
        };
        let generation = self.shared.read(|disk| Ok(disk.generation()))?;
        Ok(if head.version > 0 && head.commit == commit.commit {
            Committed::Done
        } else if fence != Some(commit.fence) {
            Committed::Refused(Refusal::Superseded)
        } else if generation != commit.generation {
            Committed::Refused(Refusal::Generation)
        } else if head.version != commit.version {
            Committed::Refused(Refusal::Stale)
        } else {
            if !keys::fit(&commit.id, commit.puts.iter().map(|(field, _)| field).chain(&commit.removes)) {
                let reason = "the entity's key, or the name of one of its fields, is too long to be stored";
                return Err(StoreError::Failed { reason: reason.into() });
            }
            self.stage(commit, head);
            Committed::Done
        })
    }

    fn stage(&mut self, commit: &Commit, before: Head) {
        let id = &commit.id;
        let writes = &mut self.batch.writes;
        match &commit.state {
            StateWrite::Keep => {}
            StateWrite::Put(state) => drop(writes.insert(keys::state(id), Some(state.clone()))),
            StateWrite::Delete => drop(writes.insert(keys::state(id), None)),
        }
        for (field, value) in &commit.puts {
            if let Field::Letter(number) = field {
                writes.insert(keys::letter(id, *number), Some(Bytes::new()));
            }
            writes.insert(keys::field(id, field), Some(value.clone()));
        }
        self.batch.stats.commits += 1;
        self.batch.stats.syncs = 1;
        self.batch.stats.bytes += commit.bytes();
        let (version, epoch) = (commit.version + 1, commit.fence.epoch);
        self.remove(id, &commit.removes, before, Head { version, commit: commit.commit, epoch, wake: commit.wake });
    }

    fn trim(&mut self, trim: &Trim) -> bool {
        let live = lock(&self.shared.claims).live(&trim.id).map(|(fence, head)| (fence, *head));
        let generation = self.shared.read(|disk| Ok(disk.generation()));
        let Some((fence, head)) = live else { return false };
        let held = fence == trim.fence && generation.is_ok_and(|generation| generation == trim.generation);
        let held = held && head.version == trim.version && keys::fit(&trim.id, trim.removes.iter());
        if held {
            self.batch.stats.trims += 1;
            if head.version > 0 {
                self.remove(&trim.id, &trim.removes, head, Head { wake: trim.wake, ..head });
            }
        }
        held
    }

    /// Stages what commits and trims have in common: fields that go, and the head with its entry in the agenda.
    fn remove(&mut self, id: &EntityId, removes: &[Field], before: Head, after: Head) {
        let writes = &mut self.batch.writes;
        for field in removes {
            if let Field::Letter(number) = field {
                writes.insert(keys::letter(id, *number), None);
            }
            writes.insert(keys::field(id, field), None);
        }
        if before.wake != after.wake {
            writes.extend(before.wake.map(|wake| (keys::agenda(wake, id), None)));
            writes.extend(after.wake.map(|wake| (keys::agenda(wake, id), Some(Bytes::new()))));
            self.batch.wake = self.batch.wake.into_iter().chain(after.wake).min();
        }
        writes.insert(keys::head(id), Some(after.encode().into()));
        if let Some((_, head)) = lock(&self.shared.claims).live(id) {
            *head = after;
        }
        self.batch.staged.insert(id.clone());
    }

    /// Writes the batch, makes it durable if it holds a commit, and then answers.
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let durable = batch.stats.commits > 0;
        let written = if batch.writes.is_empty() { Ok(()) } else { self.shared.write(batch.writes, durable) };
        match &written {
            Ok(()) => {
                if let Some(wake) = batch.wake {
                    lock(&self.shared.front).written(wake);
                }
                add(&mut lock(&self.shared.stats), &batch.stats);
            }
            Err(error) => self.shared.fail(error.clone()),
        }
        for answer in batch.answers {
            answer(written.clone());
        }
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.answers.len() >= BATCH_OPERATIONS_MAX || self.stats.bytes >= BATCH_BYTES_MAX
    }
}

fn add(stats: &mut Stats, more: &Stats) {
    stats.commits += more.commits;
    stats.trims += more.trims;
    stats.syncs += more.syncs;
    stats.bytes += more.bytes;
}
