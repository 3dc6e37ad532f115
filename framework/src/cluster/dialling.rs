//! A connection that is being made in a runtime that may not run.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::cluster::courier::Courier;
use crate::cluster::lodging::STILL_MS;
use crate::cluster::peer::Peer;

const NEW: u8 = 0;
const BEGUN: u8 = 1;
const OVER: u8 = 2;

/// Between two looks at one, in ms.
const LOOK_MS: u64 = 100;

/// Held by the task that makes the connection. When that is not polled in time, is dropped or panics, the connection is made
/// in this process's own runtime instead.
pub(super) struct Dialling(Arc<Dial>);

struct Dial {
    courier: Weak<Courier>,
    peer: Arc<Peer>,
    /// It is made in the runtime of the callers.
    is_guest: bool,
    stage: AtomicU8,
}

impl Dialling {
    pub(super) fn new(courier: &Courier, peer: &Arc<Peer>) -> Self {
        let is_guest = courier.lodging.guest().is_some();
        let dial = Dial { courier: courier.me.clone(), peer: peer.clone(), is_guest, stage: AtomicU8::new(NEW) };
        let dial = Arc::new(dial);
        if is_guest {
            courier.lodging.own_runtime().spawn(watch(dial.clone()));
        }
        Self(dial)
    }

    /// `false`: another one is at it by now.
    pub(super) fn begin(&self) -> bool {
        self.0.moves(NEW, BEGUN)
    }

    /// The same, when it has come to something.
    pub(super) fn end(&self) -> bool {
        self.0.moves(BEGUN, OVER)
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.redo(NEW);
        self.0.redo(BEGUN);
    }
}

impl Dial {
    fn moves(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_left(&self) -> bool {
        self.courier.upgrade().is_none_or(|courier| courier.lodging.guest().is_none())
    }

    fn redo(&self, from: u8) {
        if self.is_guest
            && self.moves(from, OVER)
            && let Some(courier) = self.courier.upgrade()
        {
            courier.lodging.leave();
            courier.connect(self.peer.clone());
        }
    }
}

/// One that takes so long is begun anew: whether its runtime stands still, or the network is slow, can't be told from here.
async fn watch(dial: Arc<Dial>) {
    for _ in 0..STILL_MS / LOOK_MS {
        if dial.stage.load(Ordering::Acquire) == OVER {
            return;
        }
        if dial.is_left() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    dial.redo(NEW);
    dial.redo(BEGUN);
}
