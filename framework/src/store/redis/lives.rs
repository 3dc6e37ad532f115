use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::wire::Partition;

/// Which lives of the store's data were seen: of the single server, or of each partition.
///
/// A life ends when Redis is restarted, fails over or is emptied: then it may have forgotten what it had answered for.
#[derive(Debug)]
pub(super) struct Lives {
    /// The last one seen, by partition; 0: none yet.
    seen: Box<[AtomicU64]>,
    /// All partitions are on one server, and share the life of the first.
    shared: AtomicBool,
    ended: AtomicU64,
}

impl Lives {
    pub(super) fn new(partitions: u16) -> Self {
        let seen = (0..partitions.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { seen, shared: AtomicBool::new(false), ended: AtomicU64::new(0) }
    }

    /// One server holds everything.
    pub(super) fn share(&self) {
        self.shared.store(true, Ordering::SeqCst);
    }

    /// A life was seen. Says whether it took the place of another.
    pub(super) fn see(&self, partition: Partition, life: u64) -> bool {
        let before = self.seen(partition).map_or(0, |seen| seen.swap(life, Ordering::SeqCst));
        before != 0 && before != life
    }

    /// One or more were seen to have ended.
    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn of(&self, partition: Partition) -> u64 {
        self.seen(partition).map_or(0, |seen| seen.load(Ordering::SeqCst))
    }

    fn seen(&self, partition: Partition) -> Option<&AtomicU64> {
        let shared = self.shared.load(Ordering::SeqCst);
        self.seen.get(if shared { 0 } else { usize::from(partition) })
    }

    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }
}
