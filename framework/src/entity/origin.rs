use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use uuid::Uuid;

use crate::entity::{Gate, Tick};
use crate::wire::EntityId;

/// What has an [`EntityId`].
pub(crate) trait Named: Send + Sync {
    /// The id, made once.
    fn id(&self) -> &EntityId;
    /// Whether it is another process that speaks of it.
    fn is_distant(&self) -> bool {
        false
    }
}

/// The turn from which a reference, and so a call, came. Linked to the turn that asked for it: the call chain.
pub(crate) struct Origin {
    pub(crate) entity: Arc<dyn Named>,
    /// The turn, unique in this process.
    pub(crate) turn: u64,
    pub(crate) exclusive: bool,
    pub(crate) parent: Option<Arc<Origin>>,
    /// Asks of the turn end with it.
    pub(crate) deadline: Tick,
    /// The commit that the turn's view rests on; its asks wait for it.
    pub(crate) gate: Option<Arc<Gate>>,
    /// The message or keyed ask that the turn runs: its asks get keys derived from it, so that a re-run repeats them.
    pub(crate) derive: Option<Uuid>,
    pub(crate) cause: Cause,
    asks: AtomicU32,
    over: AtomicBool,
    /// A call of the turn failed by the framework's doing: an `Err` of the handler may only pass that on.
    failed: AtomicBool,
}

/// Where a turn's messages say that they come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) cause: Uuid,
    pub(crate) root: Uuid,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "turn {} of {}", self.turn, self.entity.id())
    }
}

impl Origin {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        entity: Arc<dyn Named>,
        turn: u64,
        exclusive: bool,
        parent: Option<Arc<Origin>>,
        deadline: Tick,
        gate: Option<Arc<Gate>>,
        derive: Option<Uuid>,
        cause: Cause,
    ) -> Self {
        Self {
            entity,
            turn,
            exclusive,
            parent,
            deadline,
            gate,
            derive,
            cause,
            asks: AtomicU32::new(0),
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// The turns from this one up to the first.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Origin> {
        std::iter::successors(Some(self), |origin| origin.parent.as_deref())
    }

    /// The turn has ended: a reference that outlives it is an ordinary one.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn note_failure(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn saw_failure(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The key of the turn's next ask, the same one in every run of the turn.
    pub(crate) fn next_derived_key(&self) -> Option<Uuid> {
        let base = self.derive?;
        let ordinal = self.asks.fetch_add(1, Ordering::Relaxed);
        let mut named = [0; 20];
        named[..16].copy_from_slice(base.as_bytes());
        named[16..].copy_from_slice(&ordinal.to_be_bytes());
        let hash = xxhash_rust::xxh3::xxh3_128(&named).to_be_bytes();
        let mut key = hash;
        // The time of the base: the key's age is the message's age.
        key[..6].copy_from_slice(&base.as_bytes()[..6]);
        key[6] = 0x70 | (key[6] & 0x0f);
        key[8] = 0x80 | (key[8] & 0x3f);
        Some(Uuid::from_bytes(key))
    }
}
