//! Where a process's connections run: in the runtime of its callers while that runs, and else in its own.
//!
//! A connection in its callers' runtime wakes no other thread to send a call, and none to hand back the answer. But that
//! runtime is not ours: it may stand still between two `block_on`, or end while others call on.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use crate::world::Spawner;

/// A connection that was not polled for so long, in ms, lives in a runtime that does not run. It must be less than what makes
/// the peer give up, which hears nothing: three pings, a second each.
pub(super) const STILL_MS: u64 = 2_000;

/// So often it must have been looked at meanwhile, …
pub(super) const STILL_LOOKS: u32 = 10;
/// … never so far apart, in ms: a process that stood still as a whole proves nothing.
pub(super) const LOOKS_APART_MS: u64 = 500;

pub(crate) struct Lodging {
    own: Spawner,
    callers: Option<Handle>,
    /// The callers' runtime was left for good.
    left: AtomicBool,
}

impl Lodging {
    /// In this process's own runtime.
    pub(crate) fn own(own: Spawner) -> Self {
        Self { own, callers: None, left: AtomicBool::new(false) }
    }

    /// In the runtime of its callers, for as long as that runs.
    pub(crate) fn with(own: Spawner, callers: Option<Handle>) -> Self {
        Self { callers, ..Self::own(own) }
    }

    /// Where the next connection is to run.
    pub(super) fn runtime(&self) -> Spawner {
        self.guest().map_or_else(|| self.own.clone(), |guest| Spawner::Runtime(guest.clone()))
    }

    /// This process's own.
    pub(super) fn own_runtime(&self) -> &Spawner {
        &self.own
    }

    /// The runtime of the callers, if connections run there.
    pub(super) fn guest(&self) -> Option<&Handle> {
        self.callers.as_ref().filter(|_| !self.left.load(Ordering::Acquire))
    }

    /// The callers' runtime does not run, or is gone.
    pub(super) fn leave(&self) {
        if self.callers.is_some() && !self.left.swap(true, Ordering::AcqRel) {
            tracing::debug!(target: "grange", "connections leave the callers' runtime, which does not run");
        }
    }
}
