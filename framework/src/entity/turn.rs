use std::any::TypeId;
use std::cell::OnceCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::entity::effects::Act;
use crate::entity::origin::Cause;
use crate::entity::{Anchor, Durable, Effects, Entity, Gate, IntoKey, LAG_MS, Named, Origin, RawRef, Stage, Tick};

/// One handler run to completion: a transaction over one entity.
///
/// An exclusive handler gets `&mut Turn<Self>`, a read gets `&Turn<Self>` and so can't send. Everything that is staged
/// here happens with the turn's commit, or not at all.
pub struct Turn<E: Entity> {
    seed: TurnSeed<E>,
    origin: OnceCell<Arc<Origin>>,
    effects: Effects,
}

/// What the silo knows when it starts a turn.
pub(crate) struct TurnSeed<E: Entity> {
    pub(crate) me: Anchor<E>,
    pub(crate) number: u64,
    pub(crate) exclusive: bool,
    pub(crate) parent: Option<Arc<Origin>>,
    pub(crate) deadline: Tick,
    pub(crate) gate: Option<Arc<Gate>>,
    /// `None` for a plain ask from outside.
    pub(crate) provenance: Option<Box<Provenance>>,
    pub(crate) link: Option<Rc<dyn Link>>,
}

/// Where a turn comes from, beyond its caller.
pub(crate) struct Provenance {
    /// What a repeat of this turn would have in common with it.
    pub(crate) key: Option<Uuid>,
    /// Asks get keys derived from it. Not in a message so old that those keys would not be recognised much longer.
    pub(crate) derive: bool,
    pub(crate) cause: Cause,
}

/// A turn's way to the claim under which it runs.
pub(crate) trait Link {
    fn fence_token(&self) -> u64;
    fn verify(&self) -> Pin<Box<dyn Future<Output = bool>>>;
}

/// Another silo owns the entity now: what this turn does will not be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another activation owns this entity now, or the store did not answer: this turn will not be committed")]
pub struct Superseded;

impl<E: Entity> Turn<E> {
    pub(crate) fn new(seed: TurnSeed<E>) -> Self {
        Self { seed, origin: OnceCell::new(), effects: Effects::default() }
    }

    /// What was staged, and whether an ask of the turn failed by the framework's doing. The turn is over.
    pub(crate) fn finish(&mut self) -> (Effects, bool) {
        let failed = self.origin.get().is_some_and(|origin| origin.saw_failure());
        (std::mem::take(&mut self.effects), failed)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn acts(&self) -> &[Act] {
        &self.effects.acts
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        self.origin.get_or_init(|| {
            let seed = &self.seed;
            Arc::new(Origin::new(
                Arc::clone(&seed.me) as Arc<dyn Named>,
                seed.number,
                seed.exclusive,
                seed.parent.clone(),
                seed.deadline,
                seed.gate.clone(),
                seed.provenance.as_ref().filter(|provenance| provenance.derive).and_then(|provenance| provenance.key),
                seed.provenance.as_ref().map(|provenance| provenance.cause).unwrap_or_default(),
            ))
        })
    }

    /// The key of this entity.
    pub fn key(&self) -> &E::Key {
        &self.seed.me.key
    }

    /// A reference to this entity. Asking oneself is a cycle; sending to oneself is not.
    pub fn me(&self) -> E::Ref {
        RawRef { inner: Arc::clone(&self.seed.me), origin: Some(self.origin().clone()) }.into()
    }

    /// A reference to another entity; owned, so that it can be held while `send` is called.
    ///
    /// An ask through it ends with this turn's time, waits until what this turn has seen is committed, and is outside
    /// of this turn: it stands when the turn is rolled back.
    pub fn entity<K: Entity>(&self, key: impl IntoKey<K::Key>) -> K::Ref {
        RawRef::new(self.seed.me.realm.clone(), key.into_key(), Some(self.origin().clone())).into()
    }

    /// Stages a durable message: it leaves when this turn is committed, arrives at least once, and its effect is
    /// applied once, after those staged before it for the same entity. A turn that is rolled back sent nothing.
    ///
    /// With `.after` or `.every` it is a reminder, kept with this entity until it is due.
    pub fn send<S: Stage>(&mut self, message: S)
    where
        // On the method and not on the impl: so the compiler says what stands in the traits' attributes.
        E: Durable,
        S::Target: Durable,
    {
        self.effects.acts.push(Act::Send(Box::new(message.stage())));
    }

    /// Forgets the reminder of this name, if there is one. What it sent before is on its way.
    pub fn cancel(&mut self, name: &str)
    where
        E: Durable,
    {
        self.effects.acts.push(Act::Cancel(name.to_owned()));
    }

    /// What `Silo::builder().data(…)` was given: a pool, an HTTP client.
    ///
    /// # Panics
    /// When the silo was given no `T`, which fails the turn as [`Panicked`](crate::CallError::Panicked).
    pub fn data<T: Send + Sync + 'static>(&self) -> Arc<T> {
        self.seed.me.realm.data(TypeId::of::<T>()).and_then(|data| data.clone().downcast::<T>().ok()).unwrap_or_else(
            || panic!("no `{0}` here: give it to the silo with `Silo::builder().data(…)`, or to a test's turn with `turn_with`", std::any::type_name::<T>()),
        )
    }

    /// The wall clock.
    pub fn now(&self) -> SystemTime {
        self.seed.me.realm.now()
    }

    /// How much of the turn's time is left; it is ended and rolled back when none is.
    pub fn remaining(&self) -> Duration {
        let deadline = self.seed.deadline.saturating_sub(LAG_MS);
        Duration::from_millis(deadline.saturating_sub(self.seed.me.realm.tick()))
    }

    /// What every run of this turn has in common, for services outside that recognise repeats: the id of the durable
    /// message, or the key of the idempotent ask. A plain ask has none.
    pub fn idempotency_key(&self) -> Option<Uuid> {
        self.seed.provenance.as_ref()?.key
    }

    /// Rises with every activation of this entity, for services outside that refuse an older writer. 0 for a volatile
    /// entity.
    pub fn fence_token(&self) -> u64 {
        self.seed.link.as_ref().map_or(0, |link| link.fence_token())
    }

    /// Waits until everything that this turn has seen is committed: before work on a service outside.
    ///
    /// # Cancellation
    /// A turn whose predecessors can't be committed is dropped here.
    pub async fn settled(&self) {
        let Some(gate) = self.seed.gate.clone() else { return };
        if !std::future::poll_fn(|context| gate.poll(context)).await {
            // The activation is being dropped, and this turn with it.
            std::future::pending::<()>().await;
        }
    }

    /// Asks the store whether this activation still owns its entity: before work on a service outside that can't
    /// refuse an older [`fence_token`](Self::fence_token).
    ///
    /// # Errors
    /// [`Superseded`] when it does not, or when the store did not answer.
    pub async fn verify(&self) -> Result<(), Superseded> {
        match &self.seed.link {
            None => Ok(()),
            Some(link) if link.verify().await => Ok(()),
            Some(_) => Err(Superseded),
        }
    }

    /// Rolls this turn back, whatever the handler returns, and runs it again later: for a durable message that can't
    /// be handled yet. An ask ends as [`NotApplied`](crate::CallError::NotApplied).
    pub fn retry(&mut self) {
        self.effects.retry = true;
    }

    /// Leaves memory after this turn, as soon as nothing is waiting. The entity comes back with the next call.
    pub fn deactivate(&mut self) {
        self.effects.deactivate = true;
    }

    /// Deletes the state and the reminders with this turn's commit: the next turn finds the entity as if never seen.
    /// What is needed to recognise repeats stays, and messages that were sent are delivered.
    pub fn delete(&mut self)
    where
        E: Durable,
    {
        self.effects.acts.push(Act::Delete);
    }
}

/// Ended or dropped: references that outlive the turn are ordinary ones.
impl<E: Entity> Drop for Turn<E> {
    fn drop(&mut self) {
        if let Some(origin) = self.origin.get() {
            origin.end();
        }
    }
}

impl<E: Entity> fmt::Debug for Turn<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {} of {}", self.seed.number, self.seed.me.id())
    }
}
