//! A call that may leave the process: without its types, encoded when it is sent, kept until it is answered.

use std::sync::Arc;

use crate::entity::{Caller, Entity, Job, Method, Named, Origin, Port, RefInner, Source, Tick, Typed};
use crate::wire::{Ask, AskHead, Asker, EntityId, Malformed, Manner};
use crate::{CallError, Never};

/// A call on its way to an entity that lives elsewhere. It stays with its sender until it is answered, so that it can be
/// sent again, to whoever turns out to have the entity.
pub(crate) trait Errand: Send {
    /// The entity.
    fn to(&self) -> &EntityId;
    /// When its caller stops waiting, by this process's coarse clock.
    fn deadline(&self) -> Tick;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// What becomes of it when its silo is lost while it may be running there.
    fn manner(&self) -> Manner;
    /// Appends the body of its frame, as it travels.
    fn write(&self, body: &mut Vec<u8>) -> Result<(), CallError>;
    /// Goes to this process's own activation.
    fn deliver_here(self: Box<Self>);
    /// An outcome came, as bytes.
    fn outcome(self: Box<Self>, outcome: &[u8]);
    /// It ends with an error of the framework.
    fn fail(self: Box<Self>, error: CallError);
}

/// What brings errands to other processes.
pub(crate) trait Far: Send + Sync + 'static {
    /// Takes the errand on; its caller hears of everything else.
    fn carry(&self, errand: Box<dyn Errand>);
    /// The same to the silo that the entity's claim names: it is to take it, whatever placement says.
    fn carry_to_owner(&self, errand: Box<dyn Errand>);
    /// Whether this entity is one of this process's own.
    fn is_here(&self, id: &EntityId) -> bool;
}

/// Where the answer to a call from another process goes.
pub(crate) trait FarEnd: Caller {
    /// The outcome as bytes, or an error of the framework. Only the first answer counts.
    fn answer(&self, answer: Result<Vec<u8>, CallError>);
    /// Whether its caller has gone.
    fn is_abandoned(&self) -> bool;
    /// Tells a client where this entity was found, for the next time.
    fn hint(&self, to: &EntityId, owner: uuid::Uuid);
    /// Tells the silo that asked that the entity is not here; `false`: who asked can't look elsewhere.
    fn turn_away(&self, owner: Option<uuid::Uuid>) -> bool;
}

/// A call from this process, as an errand.
pub(crate) struct Traveller<E: Entity> {
    pub(crate) call: Box<dyn Job<E>>,
    /// This process's own door, if it hosts the kind.
    pub(crate) door: Option<Arc<dyn Port<E>>>,
}

impl<E: Entity> Errand for Traveller<E> {
    fn to(&self) -> &EntityId {
        // A call has its head until its turn starts, and this one waits at a door.
        static NOBODY: std::sync::OnceLock<EntityId> = std::sync::OnceLock::new();
        match self.call.head() {
            Some(head) => head.to.id(),
            None => NOBODY.get_or_init(|| EntityId::new("", "")),
        }
    }

    fn deadline(&self) -> Tick {
        self.call.head().map_or(0, |head| head.deadline)
    }

    fn is_abandoned(&self) -> bool {
        self.call.is_abandoned()
    }

    fn manner(&self) -> Manner {
        match self.call.head().map(|head| head.source()) {
            Some(Source::Notify) => Manner::Notify,
            Some(Source::Keyed { key, digest }) => Manner::Keyed { key, digest },
            Some(Source::Ask) | None if self.call.info().exclusive => Manner::Exclusive,
            Some(Source::Ask) | None => Manner::Read,
        }
    }

    fn write(&self, body: &mut Vec<u8>) -> Result<(), CallError> {
        let head = self.call.head();
        let parent = head.and_then(|head| head.parent.as_ref());
        let head = AskHead {
            to: self.to(),
            method: self.call.info().name.as_bytes(),
            manner: self.manner(),
            call: head.map_or(0, |head| head.call),
            cause: parent.map(|parent| (parent.cause.cause, parent.cause.root)),
            chain: parent.map(|parent| parent.chain().filter(|origin| !origin.is_over()).map(asker).collect()),
        };
        head.write(body).map_err(too_long)?;
        self.call.write_arguments(body).map_err(|error| CallError::Invalid {
            reason: format!("the arguments of `{}` can't be encoded: {error}", self.call.info()),
        })
    }

    fn deliver_here(self: Box<Self>) {
        match self.door {
            Some(door) => door.deliver_here(self.call),
            None => self.call.refuse(unhosted(E::KIND)),
        }
    }

    fn outcome(self: Box<Self>, outcome: &[u8]) {
        self.call.replay(outcome).release();
    }

    fn fail(self: Box<Self>, error: CallError) {
        self.call.refuse(error);
    }
}

/// The receiver would refuse what was begun.
pub(crate) fn too_long(_: Malformed) -> CallError {
    CallError::Invalid { reason: "the entity's key or the method's name is longer than 64 KiB".into() }
}

pub(crate) fn unhosted(kind: &str) -> CallError {
    CallError::Unavailable {
        reason: format!("no silo hosts the kind `{kind}`: add `.entity::<{kind}>()` to a silo's builder"),
    }
}

fn asker(origin: &Origin) -> Asker {
    Asker { entity: origin.entity.id().clone(), turn: origin.turn, exclusive: origin.exclusive }
}

/// An entity of another process, by its name.
struct Distant(EntityId);

impl Named for Distant {
    fn id(&self) -> &EntityId {
        &self.0
    }
    fn is_distant(&self) -> bool {
        true
    }
}

/// The chain of turns that asks, as another process told it.
pub(crate) fn chain_from(ask: &Ask, deadline: Tick) -> Option<Arc<Origin>> {
    let cause = ask.cause.map(|(cause, root)| crate::entity::Cause { cause, root }).unwrap_or_default();
    ask.chain.iter().flatten().rev().fold(None, |parent, asker| {
        let entity = Arc::new(Distant(asker.entity.clone()));
        Some(Arc::new(Origin::new(entity, asker.turn, asker.exclusive, parent, deadline, None, None, cause)))
    })
}

/// The way to a kind of which this process hosts none.
pub(crate) struct FarPort {
    far: Arc<dyn Far>,
    kind: Arc<str>,
}

impl FarPort {
    pub(crate) fn new(far: Arc<dyn Far>, kind: &'static str) -> Self {
        Self { far, kind: kind.into() }
    }
}

impl<E: Entity> Port<E> for FarPort {
    fn kind(&self) -> &Arc<str> {
        &self.kind
    }
    fn deliver(&self, call: Box<dyn Job<E>>) {
        self.far.carry(Box::new(Traveller { call, door: None }));
    }
    fn deliver_here(&self, call: Box<dyn Job<E>>) {
        call.refuse(unhosted(&self.kind));
    }
    fn run_here(&self, call: Box<dyn Job<E>>) -> Result<u64, Box<dyn Job<E>>> {
        Err(call)
    }
    fn is_here(&self, _: &RefInner<E>) -> bool {
        false
    }
}

impl<E: Entity, M: Method<E>> Typed<E, M> {
    /// The answer as another process gets it.
    pub(crate) fn far_answer(&mut self) -> Result<Vec<u8>, CallError> {
        let outcome = crate::entity::guarded(|| crate::entity::Answer::outcome(self));
        match self.take_result() {
            // Neither the value nor the handler's own error: the framework's.
            Some(Err(error)) => match error.split() {
                Ok(framework) => Err(framework),
                Err(_rejected) => encoded(outcome, M::info().exclusive),
            },
            Some(Ok(_)) => encoded(outcome, M::info().exclusive),
            None => Err(CallError::Invalid { reason: "the call has no answer in it".into() }),
        }
    }
}

fn encoded(outcome: Result<Result<Vec<u8>, String>, String>, exclusive: bool) -> Result<Vec<u8>, CallError> {
    outcome.unwrap_or_else(Err).map_err(|reason| lost_reply(reason, exclusive))
}

/// There is an answer, and it can't travel.
pub(crate) fn lost_reply(reason: String, exclusive: bool) -> CallError<Never> {
    if exclusive { CallError::Unknown { reason } } else { CallError::Invalid { reason } }
}
