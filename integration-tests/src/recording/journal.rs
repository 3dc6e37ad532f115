use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use grange::prelude::Uuid;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::recording::{Ended, Entry, Operation};

/// An operation's number in its journal.
pub type Number = u64;

/// A file, or a list in memory, with a line for each thing that happened to an operation. The order of the lines is an order in which they
/// happened: one that ended before another was asked stands before it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    began: Instant,
    lines: Mutex<Lines>,
    /// `None`: it is kept in memory.
    disk: Option<Disk>,
}

struct Disk {
    /// How many lines are known to be on it.
    synced: watch::Receiver<u64>,
    wake: mpsc::Sender<()>,
}

struct Lines {
    kept: Kept,
    written: u64,
    operations: u64,
}

enum Kept {
    File(File),
    Memory(Vec<Entry>),
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.0.path.display())
    }
}

impl Journal {
    /// An empty journal.
    ///
    /// # Panics
    /// When the file can't be made.
    pub fn create(path: &Path) -> Self {
        let file = File::create_new(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (wake, woken) = mpsc::channel();
        let (syncs, synced) = watch::channel(0);
        let lines = Mutex::new(Lines { kept: Kept::File(file), written: 0, operations: 0 });
        let disk = Some(Disk { synced, wake });
        let inner = Arc::new(Inner { path: path.to_owned(), began: Instant::now(), lines, disk });
        let weak = Arc::downgrade(&inner);
        let sync = move || {
            // One sync for all that was written since the last one.
            while woken.recv().is_ok() {
                while woken.try_recv().is_ok() {}
                let Some(inner) = weak.upgrade() else { return };
                let opened = {
                    let lines = inner.lines.lock().unwrap_or_else(PoisonError::into_inner);
                    let Kept::File(file) = &lines.kept else { return };
                    file.try_clone().map(|file| (file, lines.written))
                };
                let (file, written) = opened.expect("a second handle of the journal");
                file.sync_data().expect("the journal on disk");
                let _ = syncs.send(written);
            }
        };
        std::thread::Builder::new().name("journal".into()).spawn(sync).expect("a thread");
        Self(inner)
    }

    /// An empty journal that dies with the test: where virtual time passes, nothing may wait for a disk.
    pub fn in_memory() -> Self {
        let lines = Mutex::new(Lines { kept: Kept::Memory(Vec::new()), written: 0, operations: 0 });
        Self(Arc::new(Inner { path: PathBuf::from("in memory"), began: Instant::now(), lines, disk: None }))
    }

    /// What is in a journal in memory.
    pub fn entries(&self) -> Vec<Entry> {
        match &self.lines().kept {
            Kept::Memory(entries) => entries.clone(),
            Kept::File(_) => Vec::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Before an operation is asked for.
    pub fn ask(&self, operation: Operation, key: Option<Uuid>) -> Number {
        let mut lines = self.lines();
        let number = lines.operations;
        lines.operations += 1;
        Self::write(&mut lines, Entry::Asked { number, at: self.at(), operation, key });
        number
    }

    /// Before a finished operation is asked for once more, under its key.
    pub fn ask_again(&self, number: Number, operation: Operation, key: Uuid) {
        Self::write(&mut self.lines(), Entry::Asked { number, at: self.at(), operation, key: Some(key) });
    }

    /// After an operation has ended; returns when that is on disk. Only then does it count as answered.
    pub async fn end(&self, number: Number, ended: Ended, retries: u32) {
        let written = {
            let mut lines = self.lines();
            Self::write(&mut lines, Entry::Ended { number, at: self.at(), ended, retries });
            lines.written
        };
        let Some(Disk { synced, wake }) = &self.0.disk else { return };
        let _ = wake.send(());
        let mut synced = synced.clone();
        synced.wait_for(|synced| *synced >= written).await.expect("the journal's thread");
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(lines: &mut Lines, entry: Entry) {
        match &mut lines.kept {
            Kept::File(file) => {
                let mut line = serde_json::to_vec(&entry).expect("an entry as JSON");
                line.push(b'\n');
                file.write_all(&line).expect("writing the journal");
            }
            Kept::Memory(entries) => entries.push(entry),
        }
        lines.written += 1;
    }

    fn at(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
