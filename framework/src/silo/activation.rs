use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::CallError;
use crate::entity::{Anchor, Caller, Entity, Job, Link, Named, RefInner, Run, StateCell, Tick};
use crate::silo::crew::Task;
use crate::silo::ledger::Ledger;
use crate::silo::shared::Shared;
use crate::silo::turn::Context;
use crate::wire::{EntityId, Envelope};

/// An entity in memory: its state, who waits for it, and what of it is durable.
pub(crate) struct Activation<E: Entity> {
    pub(crate) to: Anchor<E>,
    /// Its place in the catalog.
    pub(crate) place: Cell<usize>,
    pub(crate) state: StateCell<E>,
    pub(crate) control: RefCell<Control<E>>,
}

/// What decides who runs next.
pub(crate) struct Control<E: Entity> {
    pub(crate) phase: Phase,
    crowd: Option<Box<Crowd<E>>>,
    pub(crate) readers: u32,
    pub(crate) writer: bool,
    /// `on_activate` is to run before the next turn: the instance is new.
    pub(crate) renewed: bool,
    /// Nothing starts until the commit in flight has landed: it counts an attempt.
    pub(crate) held: bool,
    /// What is acknowledged is about to be forgotten.
    pub(crate) trim_planned: bool,
    /// A turn asked to leave memory.
    pub(crate) leaving: bool,
    /// It belongs to another silo: what runs is finished and committed, what waits goes there.
    pub(crate) moving: bool,
    /// How many calls at the front of the queue are reads of a chain that waits for them.
    pub(crate) reentrant: usize,
    /// Its state is lost: nothing runs any more.
    pub(crate) broken: bool,
    pub(crate) used: Tick,
    /// When to look at its outbox and its reminders.
    pub(crate) alarm: Option<NonZeroU64>,
    /// `None`: volatile, or not open yet.
    pub(crate) ledger: Option<Box<Ledger>>,
}

/// Who waits at an activation. Most have nobody, and so no room for it: there may be a million of them.
pub(crate) struct Crowd<E: Entity> {
    pub(crate) queue: VecDeque<Queued<E>>,
    pub(crate) suspended: Vec<Suspended>,
    /// Why it could not even open: for who comes too late to have been told.
    pub(crate) failure: Option<CallError>,
}

impl<E: Entity> Default for Crowd<E> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), suspended: Vec::new(), failure: None }
    }
}

/// An activation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Claimed and loaded; calls wait.
    Opening,
    /// Turns run.
    Live,
    /// Its last hook and commit; calls wait, and go to the next activation.
    Closing,
    /// Out of the catalog: what still returns to it is dropped.
    Gone,
}

/// Who waits for a turn.
pub(crate) enum Queued<E: Entity> {
    Call(Box<dyn Job<E>>),
    /// Decoded when its turn has come.
    Message(Mail),
    /// A sender has nothing left up to this number.
    Forget {
        sender: EntityId,
        sequence: u64,
        life: u64,
    },
    /// An operator has seen to a dead letter.
    DropLetter(u64),
    /// An operator wants a dead letter tried again: its content, as it was listed.
    ReplayLetter(u64, Arc<Envelope>),
}

/// A durable message that has arrived.
pub(crate) struct Mail {
    pub(crate) envelope: Arc<Envelope>,
    /// It may have been tried before.
    pub(crate) again: bool,
    /// This attempt has been counted, durably.
    pub(crate) counted: bool,
    /// It came from another silo.
    pub(crate) far: bool,
    /// The life of the sender's store in which the message was there.
    pub(crate) life: u64,
    /// How often it came to the wrong silo.
    pub(crate) hops: u8,
    /// Of one that came from another silo and opens a conversation: whether its sender still has it.
    pub(crate) proof: Option<Rc<Cell<Proof>>>,
    pub(crate) arrived: Tick,
}

/// Whether a message's sender still has it in its outbox. Where the target remembers nothing of the sender, an opening may
/// be a late copy of one that was applied, acknowledged and forgotten on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The store was asked when it arrived: what the sender forgets from then on, it tells us after this message.
    Awaited,
    /// It does.
    Holds,
    /// It does not: there is nobody to tell.
    Void,
    /// The store did not answer.
    Unknown,
}

/// A turn whose handler is waiting for something.
pub(crate) struct Suspended {
    pub(crate) context: Context,
    pub(crate) caller: Option<Arc<dyn Caller>>,
    pub(crate) future: FutureSlot,
    pub(crate) task: Task,
}

/// Where a suspended turn's future is, so that it can be dropped at its limit while its task is not looking.
pub(crate) type FutureSlot = Rc<RefCell<Option<Pin<Box<dyn Run>>>>>;

impl<E: Entity> Activation<E> {
    pub(crate) fn new(to: Arc<RefInner<E>>, state: E, phase: Phase, now: Tick) -> Self {
        Self {
            to: Rc::new(to),
            place: Cell::new(usize::MAX),
            state: StateCell::new(state),
            control: RefCell::new(Control {
                phase,
                crowd: None,
                readers: 0,
                writer: false,
                renewed: true,
                held: false,
                trim_planned: false,
                leaving: false,
                moving: false,
                reentrant: 0,
                broken: false,
                used: now,
                alarm: None,
                ledger: None,
            }),
        }
    }
}

impl<E: Entity> Control<E> {
    /// Who waits; for somebody more there is room.
    pub(crate) fn crowd(&mut self) -> &mut Crowd<E> {
        self.crowd.get_or_insert_default()
    }

    /// Whoever is in the queue, first things first.
    pub(crate) fn queued(&self) -> impl Iterator<Item = &Queued<E>> {
        self.crowd.iter().flat_map(|crowd| &crowd.queue)
    }

    pub(crate) fn queued_mut(&mut self) -> impl Iterator<Item = &mut Queued<E>> {
        self.crowd.iter_mut().flat_map(|crowd| &mut crowd.queue)
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| !crowd.queue.is_empty())
    }

    pub(crate) fn pop_front(&mut self) -> Option<Queued<E>> {
        self.crowd.as_mut()?.queue.pop_front()
    }

    pub(crate) fn push_front(&mut self, queued: Queued<E>) {
        self.crowd().queue.push_front(queued);
    }

    /// Turns whose handlers wait for something.
    pub(crate) fn suspended(&self) -> &[Suspended] {
        self.crowd.as_ref().map_or(&[], |crowd| &crowd.suspended)
    }

    /// Takes the first of them that is meant.
    pub(crate) fn take_suspended(&mut self, is_it: impl Fn(&Suspended) -> bool) -> Option<Suspended> {
        let suspended = &mut self.crowd.as_mut()?.suspended;
        let index = suspended.iter().position(is_it)?;
        Some(suspended.swap_remove(index))
    }

    pub(crate) fn failure(&self) -> Option<&CallError> {
        self.crowd.as_ref()?.failure.as_ref()
    }

    /// Gives the room of a busy time back.
    pub(crate) fn shrink(&mut self) {
        if !self.has_queued() && self.suspended().is_empty() && self.failure().is_none() {
            self.crowd = None;
        }
    }

    /// Whether nobody more may wait. Callers who went away do not count.
    pub(crate) fn is_full(&mut self, limit: usize) -> bool {
        let Some(crowd) = &mut self.crowd else { return limit == 0 };
        if crowd.queue.len() >= limit {
            crowd.queue.retain(|queued| match queued {
                Queued::Call(call) => !call.is_abandoned(),
                Queued::Message(_) | Queued::Forget { .. } | Queued::DropLetter(_) | Queued::ReplayLetter(..) => true,
            });
        }
        crowd.queue.len() >= limit
    }

    pub(crate) fn is_running(&self) -> bool {
        self.writer || self.readers > 0
    }

    /// Nothing waits, nothing runs, and the store has everything.
    pub(crate) fn is_idle(&self) -> bool {
        (!self.has_queued() || self.moving) && self.is_still()
    }

    /// Nothing runs, and the store has everything.
    fn is_still(&self) -> bool {
        !self.is_running() && self.ledger.as_ref().is_none_or(|ledger| ledger.is_clean())
    }
}

/// A turn's way to the claim under which it runs.
pub(crate) struct ClaimLink {
    pub(crate) shared: Arc<Shared>,
    pub(crate) entity: Arc<dyn Named>,
    pub(crate) fence: crate::store::Fence,
}

impl Link for ClaimLink {
    fn fence_token(&self) -> u64 {
        self.fence.epoch
    }
    fn verify(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        let verified = self.shared.store.verify(self.entity.id().clone(), self.fence);
        Box::pin(async move { verified.await.unwrap_or(false) })
    }
}
