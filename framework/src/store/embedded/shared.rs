use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::agenda::Front;
use super::claims::Claims;
use super::disk::{Disk, Writes};
use crate::store::{Stats, StoreError};

/// What the threads of an open store have in common.
pub(super) struct Shared {
    path: PathBuf,
    /// `Err`: why there is none. Replaced by the writer alone, when no reader has it in hand.
    disk: RwLock<Result<Disk, StoreError>>,
    pub(super) claims: Mutex<Claims>,
    pub(super) stats: Mutex<Stats>,
    pub(super) front: Mutex<Front>,
    #[cfg(feature = "testing")]
    pub(super) fail_next_write: AtomicBool,
}

impl Shared {
    pub(super) fn new(path: PathBuf, disk: Disk) -> Self {
        Self {
            path,
            disk: RwLock::new(Ok(disk)),
            claims: Mutex::default(),
            stats: Mutex::default(),
            front: Mutex::default(),
            #[cfg(feature = "testing")]
            fail_next_write: AtomicBool::new(false),
        }
    }

    pub(super) fn read<T>(&self, act: impl FnOnce(&Disk) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.disk.read().unwrap_or_else(PoisonError::into_inner) {
            // fjall may panic where it meets what it doesn't expect. That must not take a thread of ours along.
            Ok(disk) => catch_unwind(AssertUnwindSafe(|| act(disk)))
                .unwrap_or_else(|_| Err(StoreError::Failed { reason: "fjall panicked".into() })),
            Err(error) => Err(error.clone()),
        }
    }

    pub(super) fn write(&self, writes: Writes, durable: bool) -> Result<(), StoreError> {
        self.read(|disk| {
            disk.write(writes, durable)?;
            // The worst kind of failure: it has happened, and is reported as if it had not.
            #[cfg(feature = "testing")]
            if self.fail_next_write.swap(false, Ordering::SeqCst) {
                return Err(StoreError::Failed { reason: "a test made this write fail".into() });
            }
            Ok(())
        })
    }

    /// A write failed, so what the system holds of the file can't be trusted: let go of it, and of all claims.
    pub(super) fn fail(&self, error: StoreError) {
        self.replace(Err(error));
        lock(&self.claims).clear();
        // It may have happened all the same, and nobody has said with which wake times.
        *lock(&self.front) = Front::default();
    }

    pub(super) fn reopen_if_failed(&self) -> Result<(), StoreError> {
        match self.read(|_| Ok(())) {
            Err(StoreError::Failed { .. }) => Disk::open(&self.path).map(|disk| self.replace(Ok(disk))),
            other => other,
        }
    }

    pub(super) fn replace(&self, disk: Result<Disk, StoreError>) {
        *self.disk.write().unwrap_or_else(PoisonError::into_inner) = disk;
    }
}

/// A thread that panicked with the lock leaves nothing half-done behind it: each critical section is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
