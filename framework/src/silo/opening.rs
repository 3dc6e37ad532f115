use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::CallError;
use crate::entity::{Entity, Named, RefInner, guarded};
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, ClaimLink, Control, Phase, Queued};
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::ledger::Ledger;
use crate::store::{Claim, Claimed, Incarnation, Record, StoreError};
use crate::telemetry::Counter;

impl<E: Entity> Host<E> {
    /// Begins to bring an entity into memory. Calls may queue at once; turns start when it is open.
    pub(crate) fn activate(self: &Rc<Self>, to: &Arc<RefInner<E>>) -> Result<Rc<Activation<E>>, CallError> {
        let (size, limit) = (to.id().key.len(), self.shared.limits.key_bytes_max);
        if size > limit {
            return Err(CallError::TooLarge { what: "the key".into(), size, limit });
        }
        if self.shared.is_homeless() {
            let reason =
                format!("{} can't be loaded: this silo lost its place in the cluster, and joins again", to.id());
            return Err(CallError::Unavailable { reason });
        }
        let state = guarded(E::fresh).map_err(|panic| CallError::Unavailable {
            reason: format!("{} can't be activated: `Default` of `{}` panicked: {panic}", to.id(), E::KIND),
        })?;
        let phase = if E::STATE.is_some() { Phase::Opening } else { Phase::Live };
        let activation = Rc::new(Activation::new(to.clone(), state, phase, self.now()));
        self.catalog.borrow_mut().insert(&activation);
        self.shard().count(Counter::Activation);
        if phase == Phase::Opening {
            self.claim(&activation, None)?;
        }
        Ok(activation)
    }

    /// # Errors
    /// When a store that answers at once did not let it open.
    fn claim(self: &Rc<Self>, activation: &Rc<Activation<E>>, over: Option<Incarnation>) -> Result<(), CallError> {
        let mut claimed = self.shared.store.claim(Claim {
            id: activation.to.id().clone(),
            owner: self.shared.incarnation(),
            nonce: self.shared.nonce(),
            now: self.shared.clock.wall_ms(),
            over,
        });
        // A store in memory answers at once.
        if let Poll::Ready(answer) = claimed.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return self.open(activation, answer);
        }
        let (host, activation) = (self.clone(), activation.clone());
        self.crew.take(async move {
            let answer = claimed.await;
            let _inside = here::enter();
            if host.open(&activation, answer).is_ok() {
                host.pump(&activation);
            }
        });
        Ok(())
    }

    fn open(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        answer: Result<Claimed, StoreError>,
    ) -> Result<(), CallError> {
        let error = match answer {
            Ok(Claimed::Granted(record)) if self.is_of_the_past(activation, &record) => {
                self.crew.take(self.give_back(activation.to.id(), record.fence));
                CallError::Unavailable {
                    reason: format!("{} was loaded while the cluster changed", activation.to.id()),
                }
            }
            Ok(Claimed::Granted(record)) => {
                let fence = record.fence;
                match self.load(activation, *record) {
                    Ok(()) => {
                        let mut control = activation.control.borrow_mut();
                        control.phase = Phase::Live;
                        self.doubt_what_waited(&mut control);
                        self.set_alarm(activation.place.get(), &mut control, self.shared.clock.wall_ms());
                        drop(control);
                        // Before its hook: one that fails does not keep what is committed from its targets.
                        self.dispatch(activation);
                        return Ok(());
                    }
                    Err(reason) => {
                        // Another version may be able to run it.
                        self.crew.take(self.give_back(activation.to.id(), fence));
                        CallError::Unreadable { reason }
                    }
                }
            }
            Ok(Claimed::Taken { owner }) if self.shared.courier().is_some() => {
                self.look_for_owner(activation, owner);
                return Ok(()); // it is still opening
            }
            Ok(Claimed::Taken { owner }) => {
                CallError::Unavailable { reason: format!("{} is owned by the silo {owner}", activation.to.id()) }
            }
            Err(error) => {
                // Whoever looks after the store says in the log that it is away, once: not each entity.
                tracing::debug!(target: "grange", entity = %activation.to.id(), %error, "an entity can't be loaded");
                let error =
                    CallError::Unavailable { reason: format!("{} can't be loaded: {error}", activation.to.id()) };
                self.topple(activation, &error, &error);
                return Err(error);
            }
        };
        let unreadable = matches!(error, CallError::Unreadable { .. });
        // A decoder's words may tell what is stored: they are for the caller, not for the log.
        let told = if unreadable { "its stored state can't be read by this version".into() } else { error.to_string() };
        tracing::error!(target: "grange", entity = %activation.to.id(), error = told, "an entity can't be activated");
        self.topple(activation, &error, &error);
        Err(error)
    }

    /// While the claim was on its way the entity may have lived elsewhere, and there have applied and forgotten the very
    /// messages that wait here: whether their senders still have them has to be asked now that the claim is granted.
    fn doubt_what_waited(&self, control: &mut Control<E>) {
        if !self.shared.clustered {
            return;
        }
        for queued in control.queued_mut() {
            if let Queued::Message(mail) = queued {
                (mail.proof, mail.far) = (None, true);
            }
        }
    }

    /// Whether the silo or the store began a new life while the claim was on its way.
    fn is_of_the_past(&self, activation: &Activation<E>, record: &Record) -> bool {
        self.shared.is_homeless()
            || record.fence.owner != self.shared.incarnation()
            || record.generation != self.shared.store.generation(activation.to.id())
    }

    /// Another silo owns the entity. It is alive: who waits here goes there. It is not: its claim is taken over. It is not
    /// known: it counts as dead only in a table read after it was named as owner.
    fn look_for_owner(self: &Rc<Self>, activation: &Rc<Activation<E>>, owner: Incarnation) {
        let (host, activation) = (self.clone(), activation.clone());
        self.crew.take(async move {
            let lives = host.shared.lives_somewhere(owner).await;
            let _inside = here::enter();
            if activation.control.borrow().phase != Phase::Opening {
                return;
            }
            match lives {
                Ok(true) if !Mutant::TakesFromTheLiving.is_planted() => host.route_on(&activation, owner),
                Ok(_) => {
                    let id = activation.to.id();
                    tracing::debug!(target: "grange", entity = %id, %owner, "the claim of a silo that is gone is taken over");
                    if host.claim(&activation, Some(owner)).is_ok() && activation.control.borrow().phase == Phase::Live
                    {
                        host.pump(&activation);
                    }
                }
                Err(error) => {
                    let reason =
                        format!("{} is owned by another silo, and who lives isn't known: {error}", activation.to.id());
                    let error = CallError::Unavailable { reason };
                    host.topple(&activation, &error, &error);
                }
            }
        });
    }

    fn load(&self, activation: &Activation<E>, record: Record) -> Result<(), String> {
        let Some(codec) = &E::STATE else { return Ok(()) };
        let id = activation.to.id().clone();
        let link = ClaimLink {
            shared: self.shared.clone(),
            entity: Arc::clone(&activation.to) as Arc<dyn Named>,
            fence: record.fence,
        };
        let mut ledger = Ledger::open(id, record).map_err(|error| format!("its records can't be decoded: {error}"))?;
        if let Some(image) = &ledger.image {
            let (state, foreign) = guarded(|| codec.load(image))
                .map_err(|panic| format!("decoding its state panicked: {panic}"))?
                .map_err(|error| error.to_string())?;
            activation.state.replace(state);
            ledger.foreign = foreign;
        }
        ledger.link = Some(Rc::new(link));
        activation.control.borrow_mut().ledger = Some(Box::new(ledger));
        Ok(())
    }
}
