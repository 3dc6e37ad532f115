use super::sync::atomic::{AtomicUsize, Ordering};

/// What came on one connection and is not answered: past either limit, no more is read from it.
pub(crate) struct Unanswered {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    calls_max: usize,
    bytes_max: usize,
}

impl Unanswered {
    pub(crate) fn new(calls_max: usize, bytes_max: usize) -> Self {
        Self { calls: AtomicUsize::new(0), bytes: AtomicUsize::new(0), calls_max, bytes_max }
    }

    /// A call with so many bytes of arguments came.
    pub(crate) fn begin(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A call was answered. Says whether there is room where there was none: then reading has to go on.
    pub(crate) fn end(&self, bytes: usize) -> bool {
        // What there was right before: a look before that can be overtaken by the call that takes the last room, and then nobody
        // would say that there is some again.
        let calls = self.calls.fetch_sub(1, Ordering::AcqRel);
        let size = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        (calls >= self.calls_max || size >= self.bytes_max) && self.has_room()
    }

    /// Whether one more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.calls.load(Ordering::Acquire) < self.calls_max && self.bytes.load(Ordering::Acquire) < self.bytes_max
    }

    /// Whether every one is answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.load(Ordering::Acquire) == 0
    }
}
