//! The end of an activation: by its own wish, because it is idle, because the silo stops; or because it fell.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::CallError;
use crate::cluster::{HOPS_MAX, Route};
use crate::entity::{Act, Effects, Entity, Named, Realm, Traveller, Verdict, guarded};
use crate::messaging::Parcel;
use crate::silo::activation::{Activation, Mail, Phase, Queued, Suspended};
use crate::silo::batch::Release;
use crate::silo::finish::cut_off;
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::settle::End;
use crate::silo::shared::Post;
use crate::silo::sweep::REMINDER_NEAR_MS;
use crate::silo::turn::{Context, Owed};
use crate::store::{Fence, Incarnation, StoreError};
use crate::telemetry::Counter;
use crate::wire::EntityId;

/// Before an owner is told to wake an entity that others were told to.
const WAKE_PAUSE: Duration = Duration::from_millis(100);

/// How often a release is tried again, and after which pause.
const RELEASES: usize = 3;
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

impl<E: Entity> Host<E> {
    /// A turn asked to leave memory, and nothing holds the entity there any more; or it is leaving, and waited for its
    /// last commit.
    pub(crate) fn leave_if_asked(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        let (phase, asked) = {
            let control = activation.control.borrow();
            (control.phase, (control.leaving || control.moving) && control.is_idle())
        };
        match phase {
            Phase::Live if asked => self.close(activation),
            Phase::Closing => self.close_when_clean(activation),
            Phase::Opening | Phase::Live | Phase::Gone => {}
        }
    }

    /// Begins to close an idle activation: its last hook, its last commit, its release.
    pub(crate) fn close(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        let hook = {
            let mut control = activation.control.borrow_mut();
            if control.phase != Phase::Live || !control.is_idle() {
                return;
            }
            control.phase = Phase::Closing;
            // Nothing ran since the instance was made: there is nothing for its hook to undo.
            if control.renewed { None } else { self.methods.deactivating() }
        };
        match hook {
            Some(hook) => self.run_hook(activation, hook, Owed::OnDeactivate),
            None => self.close_when_clean(activation),
        }
    }

    /// After the hook: when the last commit has landed, the activation is over.
    pub(crate) fn close_when_clean(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        self.advance(activation);
        let (fence, unfinished) = {
            let control = activation.control.borrow();
            let clean = control.ledger.as_ref().is_none_or(|ledger| !ledger.has_flight() && !ledger.gathering.dirty);
            if control.phase != Phase::Closing || control.is_running() || !clean {
                return;
            }
            let ledger = control.ledger.as_ref();
            let leaves = control.moving || (self.shared.clustered && self.shared.is_draining());
            let near = self.shared.clock.wall_ms() + REMINDER_NEAR_MS;
            let unfinished = leaves && ledger.is_some_and(|ledger| ledger.has_work(near));
            (ledger.map(|ledger| ledger.fence), unfinished)
        };
        // Out of memory before the release is sent: whatever its answer, nothing of this claim runs any more.
        let waiting = self.bury(activation);
        self.shard().count(Counter::Deactivation);
        if let Some(courier) = self.shared.courier() {
            courier.hints.forget(activation.to.id()); // nothing speaks for this silo any more
        }
        let Some(fence) = fence else { return self.hand_on(activation, waiting) };
        let released = self.give_back(activation.to.id(), fence);
        if self.shared.courier().is_none() {
            self.crew.take(released);
            return self.hand_on(activation, waiting);
        }
        let (host, activation) = (self.clone(), activation.clone());
        self.crew.take(async move {
            released.await;
            let _inside = here::enter();
            if unfinished {
                // Where it lives from now on, it goes on at once.
                host.post(Parcel::Wake { entity: activation.to.id().clone() });
            }
            // Not before: whoever gets it has to claim it.
            host.hand_on(&activation, waiting);
        });
    }

    /// Gives a claim back. An owner that has not got its entity any more would be asked for it by all others: so it is tried
    /// a few times.
    pub(crate) fn give_back(&self, id: &EntityId, fence: Fence) -> impl Future<Output = ()> + 'static {
        let (shared, id) = (self.shared.clone(), id.clone());
        let store = shared.store.clone();
        let mut released = store.release(id.clone(), fence);
        async move {
            for _ in 0..RELEASES {
                match released.await {
                    Ok(()) | Err(StoreError::Closed) => return,
                    Err(_) => tokio::time::sleep(RELEASE_PAUSE).await,
                }
                released = store.release(id.clone(), fence);
            }
            if released.await.is_err() {
                shared.not_given_back.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// An activation that can't go on. Who waits for the commit in flight hears one error, whoever else ran the other;
    /// who waited for a turn is served by the next activation, or refused if this one could not even open.
    pub(crate) fn topple(self: &Rc<Self>, activation: &Rc<Activation<E>>, in_flight: &CallError, rest: &CallError) {
        let opening = activation.control.borrow().phase == Phase::Opening;
        let (held, never_sent) = match &mut activation.control.borrow_mut().ledger {
            Some(ledger) => ledger.sink(),
            None => (Vec::new(), Vec::new()),
        };
        for (release, _) in held.iter().chain(&never_sent) {
            if let Release::Parcel(Parcel::Acknowledge { sender, by, sequence, .. }) = release {
                self.spared.borrow_mut().note(by, sender, *sequence);
            }
        }
        let mut post = |parcel| self.post(parcel);
        held.into_iter().for_each(|(release, _)| release.fail(in_flight, &mut post));
        never_sent.into_iter().for_each(|(release, _)| release.fail(rest, &mut post));
        let suspended = std::mem::take(&mut activation.control.borrow_mut().crowd().suspended);
        for turn in suspended {
            self.drop_turn(turn, rest);
        }
        let fence = activation.control.borrow().ledger.as_ref().map(|ledger| ledger.fence);
        let waiting = self.bury(activation);
        if opening {
            activation.control.borrow_mut().crowd().failure = Some(rest.clone());
        }
        if let Some(fence) = fence {
            // Another version, or another silo, may be able to run it. A commit of unknown fate is refused from here on.
            self.crew.take(self.give_back(activation.to.id(), fence));
        }
        self.pass_on(activation, waiting);
    }

    /// What waits at an activation that is gone goes to the next one. Unless this one could not even open: trying again at
    /// once for everybody who waits would only repeat that.
    pub(crate) fn pass_on(self: &Rc<Self>, activation: &Rc<Activation<E>>, waiting: Vec<Queued<E>>) {
        let failure = activation.control.borrow().failure().cloned();
        match failure {
            Some(failure) => self.turn_away(waiting, &failure),
            None => self.hand_on(activation, waiting),
        }
    }

    fn turn_away(&self, waiting: Vec<Queued<E>>, error: &CallError) {
        for queued in waiting {
            match queued {
                Queued::Call(call) => call.refuse(error.clone()),
                Queued::Message(mail) => self.postpone(&mail.envelope, None),
                Queued::Forget { .. } | Queued::DropLetter(_) | Queued::ReplayLetter(..) => {} // the record stays; a letter is listed again
            }
        }
    }

    fn bury(&self, activation: &Rc<Activation<E>>) -> Vec<Queued<E>> {
        self.catalog.borrow_mut().remove(activation);
        let mut control = activation.control.borrow_mut();
        control.phase = Phase::Gone;
        control.ledger = None;
        let mut waiting: Vec<_> = std::iter::from_fn(|| control.pop_front()).collect();
        for queued in &mut waiting {
            if let Queued::Message(mail) = queued {
                mail.counted = false; // perhaps only here
                // Its place before what its sender tells us later is lost: it is asked again whether it is still there.
                (mail.proof, mail.far) = (None, self.shared.clustered);
            }
        }
        waiting
    }

    /// Who waits goes to the silo that owns the entity.
    pub(crate) fn route_on(self: &Rc<Self>, activation: &Rc<Activation<E>>, owner: Incarnation) {
        if let Some(courier) = self.shared.courier() {
            courier.hints.note(activation.to.id().clone(), owner);
        }
        let waiting = self.bury(activation);
        self.send_away(activation, waiting, Some(owner));
        // It may have been called here by the agenda, for what that silo does not know to be due: it may even have let the
        // entity go, and its release was lost.
        // After a pause: one that takes nothing any more sends it back here.
        let (shared, wake) = (self.shared.clone(), Parcel::Wake { entity: activation.to.id().clone() });
        self.crew.take(async move {
            tokio::time::sleep(WAKE_PAUSE).await;
            shared.post_on(Post::Parcel(wake), HOPS_MAX);
        });
    }

    fn send_away(&self, activation: &Activation<E>, waiting: Vec<Queued<E>>, owner: Option<Incarnation>) {
        let target = activation.to.id();
        for queued in waiting {
            match queued {
                Queued::Call(call) => {
                    if call.far_end().is_some_and(|end| end.turn_away(owner)) {
                        continue;
                    }
                    let Some(far) = self.shared.far() else {
                        call.refuse(CallError::Unavailable { reason: format!("{target} is elsewhere") });
                        continue;
                    };
                    let errand = Box::new(Traveller { call, door: activation.to.port.clone() });
                    if owner.is_some() { far.carry_to_owner(errand) } else { far.carry(errand) }
                }
                Queued::Message(mail) => {
                    let Mail { envelope, again, life, hops, .. } = mail;
                    self.shared.post_on(Post::Parcel(Parcel::Message { envelope, again, life, far: true }), hops + 1);
                }
                Queued::Forget { sender, sequence, life } => {
                    self.shared
                        .post_on(Post::Parcel(Parcel::Forget { sender, target: target.clone(), sequence, life }), 0);
                }
                Queued::ReplayLetter(number, message) => {
                    let entity = target.clone();
                    self.shared.post_on(Post::Parcel(Parcel::ReplayLetter { entity, number, message }), 0);
                }
                Queued::DropLetter(number) => {
                    self.shared.post_on(Post::Parcel(Parcel::DropLetter { entity: target.clone(), number }), 0);
                }
            }
        }
    }

    fn hand_on(self: &Rc<Self>, activation: &Rc<Activation<E>>, waiting: Vec<Queued<E>>) {
        if waiting.is_empty() {
            return;
        }
        if let Some(courier) = self.shared.courier()
            && courier.route(activation.to.id()) != Route::Here
        {
            let owner = courier.owner(activation.to.id());
            return self.send_away(activation, waiting, owner);
        }
        match self.activation(&activation.to) {
            Ok(next) => {
                next.control.borrow_mut().crowd().queue.extend(waiting);
                // There may be asks of turns among them.
                self.catalog.borrow_mut().contended.insert(next.place.get());
                self.pump(&next);
            }
            Err(error) => self.turn_away(waiting, &error),
        }
    }

    /// Ends a suspended turn from outside: its future is dropped, its caller is told.
    pub(crate) fn drop_turn(&self, turn: Suspended, error: &CallError) {
        let Suspended { context, caller, future, task, .. } = turn;
        if let Some(caller) = caller {
            caller.fail(error.clone());
        }
        let future = future.borrow_mut().take();
        // What the handler held is dropped with it, and that is the user's code.
        if let Err(panic) = guarded(|| drop(future)) {
            tracing::error!(target: "grange", panic, "a `Drop` panicked");
        }
        task.abort();
        if let Owed::Message { envelope, counted } = &context.owed {
            if *counted {
                self.spared.borrow_mut().note(&envelope.to, &envelope.from, envelope.sequence);
            }
            self.postpone(envelope, None);
        }
    }

    /// `on_activate` or `on_deactivate` has run.
    pub(crate) fn finish_hook(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        context: &Context,
        verdict: Verdict,
        effects: Effects,
    ) {
        let failure = if verdict == Verdict::Done {
            self.settle_hook(activation, context, effects).err()
        } else {
            let mut control = activation.control.borrow_mut();
            let restored = self.roll_back(activation, &mut control);
            control.renewed = false;
            restored
                .err()
                .map(|error| error.to_string())
                .or_else(|| Some(format!("`{}` failed ({verdict:?}); the log has a panic's message", context.method)))
        };
        if matches!(context.owed, Owed::OnDeactivate) {
            if let Some(failure) = failure {
                tracing::warn!(target: "grange", entity = %activation.to.id(), failure, "an entity left memory all the same");
            }
            return self.close_when_clean(activation);
        }
        let Some(reason) = failure else { return };
        tracing::error!(target: "grange", entity = %activation.to.id(), reason, "an entity can't be activated");
        let error = CallError::Unavailable { reason: format!("{} can't be activated: {reason}", activation.to.id()) };
        activation.control.borrow_mut().phase = Phase::Opening;
        self.topple(activation, &cut_off(), &error);
    }

    fn settle_hook(&self, activation: &Activation<E>, context: &Context, effects: Effects) -> Result<(), String> {
        let mut control = activation.control.borrow_mut();
        let deleted = effects.acts.iter().any(|act| matches!(act, Act::Delete));
        self.image(activation, &control, context, deleted)
            .and_then(|image| self.settle(&mut control, context, End::Done(Bytes::new()), effects.acts, image))
            .map_err(|overrun| CallError::from(overrun).to_string())
    }
}
