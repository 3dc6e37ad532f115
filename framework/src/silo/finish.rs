//! The end of a turn: its effects are settled, or everything is as it was before.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::Span;

use crate::CallError;
use crate::entity::{Act, Answer, Effects, Entity, Named, Ran, Realm, Verdict, guarded};
use crate::messaging;
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, Control, Phase};
use crate::silo::batch::Release;
use crate::silo::host::Host;
use crate::silo::pump::acknowledgement;
use crate::silo::settle::{End, Now, Overrun, Settling};
use crate::silo::turn::{Context, Owed};
use crate::telemetry::Counter;
use crate::wire::Envelope;

impl<E: Entity> Host<E> {
    /// A handler has run.
    pub(crate) fn finish(self: &Rc<Self>, activation: &Rc<Activation<E>>, context: &Context, ran: Ran) {
        let Ran { effects, failed, verdict, answer, panic } = ran;
        if let Some(panic) = panic {
            tracing::error!(
                target: "grange", handler = %context.method, entity = %activation.to.id(), panic,
                of_message = matches!(context.owed, Owed::Message { .. }), "a handler panicked, and its turn was rolled back"
            );
        }
        // It blocked its arbiter past its limit, so nobody could end it: it ends like any other that is late.
        let late = context.alone && context.deadline < self.now() && verdict != Verdict::Panicked;
        if late {
            self.account_as(context, Counter::TurnExpired, "expired");
        } else {
            self.account(context, verdict);
        }
        let mut control = activation.control.borrow_mut();
        if context.alone {
            control.writer = false;
        } else {
            control.readers = control.readers.saturating_sub(1);
        }
        control.used = self.now();
        if control.phase == Phase::Gone {
            drop(control);
            return answer.fail(CallError::NotApplied { reason: format!("{} was dropped", activation.to.id()) });
        }
        control.leaving |= effects.deactivate;
        if context.owed.is_hook() {
            drop(control);
            return self.finish_hook(activation, context, verdict, effects);
        }
        if control.ledger.is_none() {
            self.finish_volatile(
                activation,
                &mut control,
                context.alone && verdict == Verdict::Panicked,
                &effects,
                answer,
            );
        } else if late {
            self.finish_late(activation, &mut control, context, answer);
        } else if context.alone {
            self.finish_exclusive(activation, &mut control, context, verdict, effects, failed, answer);
        } else {
            self.hold_answer(&mut control, context, answer);
        }
        let broken = control.broken;
        drop(control);
        if broken {
            self.fall(activation);
        }
    }

    /// An activation whose state is lost: what is in the store is not, and the next activation has it.
    pub(crate) fn fall(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        let rest = CallError::NotApplied { reason: format!("{} had to be loaded anew", activation.to.id()) };
        self.topple(activation, &cut_off(), &rest);
    }

    fn account(&self, context: &Context, verdict: Verdict) {
        let (counter, outcome) = match verdict {
            Verdict::Done => (Counter::TurnDone, "done"),
            Verdict::Rejected => (Counter::TurnRejected, "rejected"),
            Verdict::Panicked => (Counter::TurnPanicked, "panicked"),
        };
        self.account_as(context, counter, outcome);
    }

    pub(crate) fn account_as(&self, context: &Context, counter: Counter, outcome: &'static str) {
        self.shard().count_own(counter);
        let Some(started) = context.started else { return };
        let ran = started.elapsed();
        let since = Duration::from_millis(self.now().saturating_sub(context.arrived));
        let queued = since.saturating_sub(ran);
        self.shard().turn_took(queued, ran);
        if !context.span.is_disabled() {
            context.span.record("outcome", outcome);
            context.span.record("queue_us", queued.as_micros() as u64);
            context.span.record("run_us", ran.as_micros() as u64);
        }
    }

    fn finish_volatile(
        &self,
        activation: &Activation<E>,
        control: &mut Control<E>,
        broken: bool,
        effects: &Effects,
        answer: Box<dyn Answer>,
    ) {
        if broken {
            // Half-changed, and nothing to roll back to: a new instance.
            if let Ok(fresh) = guarded(E::fresh) {
                activation.state.replace(fresh);
                control.renewed = true;
            }
        }
        if effects.retry {
            answer.fail(CallError::NotApplied { reason: "the handler asked to be called again later".into() });
        } else {
            self.release(Release::Answer(answer));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn finish_exclusive(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        context: &Context,
        verdict: Verdict,
        effects: Effects,
        failed: bool,
        answer: Box<dyn Answer>,
    ) {
        let undo = match verdict {
            Verdict::Panicked => true,
            // Bytes that are the same need no new instance, with what only it has: `#[serde(skip)]`, caches.
            Verdict::Rejected => self.image(activation, control, context, false) != Ok(None),
            Verdict::Done => effects.retry && self.image(activation, control, context, false) != Ok(None),
        };
        let undo = undo && !Mutant::RollbackSkipped.is_planted();
        if undo && let Err(error) = self.roll_back(activation, control) {
            return self.refuse(control, context, answer, &error);
        }
        match verdict {
            Verdict::Done if effects.retry => self.retry_later(control, context, answer),
            Verdict::Done => self.settle_done(activation, control, context, effects, answer),
            // The handler only passed on that something was unavailable: that is no definite answer.
            Verdict::Rejected if failed && !matches!(context.owed, Owed::Ask) => {
                self.retry_later(control, context, answer);
            }
            Verdict::Rejected => self.settle_rejected(control, context, answer),
            Verdict::Panicked => match &context.owed {
                Owed::Message { envelope, counted } => self.try_again(control, &envelope.clone(), *counted),
                _ => self.hold_answer(control, context, answer),
            },
        }
    }

    fn finish_late(
        &self,
        activation: &Activation<E>,
        control: &mut Control<E>,
        context: &Context,
        answer: Box<dyn Answer>,
    ) {
        tracing::warn!(
            target: "grange", handler = %context.method, entity = %activation.to.id(),
            "a turn ended after its limit and was rolled back"
        );
        let error = self.roll_back(activation, control).err().unwrap_or(CallError::Timeout);
        match &context.owed {
            Owed::Message { envelope, counted } => self.try_again(control, &envelope.clone(), *counted),
            _ => self.refuse(control, context, answer, &error),
        }
    }

    fn settle_done(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        context: &Context,
        effects: Effects,
        answer: Box<dyn Answer>,
    ) {
        let deleted = effects.acts.iter().any(|act| matches!(act, Act::Delete));
        let settled = self.image(activation, control, context, deleted).and_then(|image| {
            let outcome = self.outcome(context, &*answer, false)?;
            self.settle(control, context, End::Done(outcome), effects.acts, image)
        });
        match settled {
            Ok(()) => {
                if deleted {
                    // A new instance; one that can't be made ends the activation, and the deletion stands.
                    let _ = self.roll_back(activation, control);
                }
                self.hold_end(control, context, answer);
            }
            Err(overrun) => match self.roll_back(activation, control) {
                Ok(()) => self.overrun(control, context, answer, overrun),
                Err(error) => self.refuse(control, context, answer, &error),
            },
        }
    }

    fn settle_rejected(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>) {
        if matches!(context.owed, Owed::Ask) {
            return self.hold_answer(control, context, answer);
        }
        let settled = self
            .outcome(context, &*answer, true)
            .and_then(|outcome| self.settle(control, context, End::Rejected(outcome), Vec::new(), None));
        match settled {
            Ok(()) => {
                if let Owed::Message { envelope, .. } = &context.owed
                    && envelope.then.is_none()
                {
                    self.shard().count(Counter::DeadLetter);
                    tracing::warn!(
                        target: "grange", entity = %envelope.to, method = envelope.method, from = %envelope.from,
                        message = %envelope.id,
                        "a message was rejected and has no continuation: it is a dead letter"
                    );
                }
                self.hold_end(control, context, answer);
            }
            Err(overrun) => self.overrun(control, context, answer, overrun),
        }
    }

    /// The state's new bytes; `None`: they are the same, and there is nothing to write.
    pub(crate) fn image(
        &self,
        activation: &Activation<E>,
        control: &Control<E>,
        context: &Context,
        deleted: bool,
    ) -> Result<Option<Bytes>, Overrun> {
        let (Some(codec), Some(ledger)) = (&E::STATE, &control.ledger) else { return Ok(None) };
        if deleted || !context.method.exclusive {
            return Ok(None);
        }
        let mut scratch = self.scratch.borrow_mut();
        let encode = |state: &E, bytes: &mut Vec<u8>| {
            guarded(|| codec.save(state, &ledger.foreign, bytes))
                .map_err(|panic| Overrun::Invalid(format!("`Serialize` of the state panicked: {panic}")))?
                .map_err(|error| Overrun::Invalid(error.to_string()))
        };
        encode(&activation.state.borrow(), &mut scratch)?;
        let same = match &ledger.image {
            Some(image) => **image == **scratch,
            // An entity that was never stored is not stored for having been looked at.
            None => {
                let mut blank = Vec::new();
                let fresh = guarded(E::fresh).map_err(Overrun::Invalid)?;
                encode(&fresh, &mut blank)?;
                blank == *scratch
            }
        };
        Ok((!same).then(|| Bytes::copy_from_slice(&scratch)))
    }

    fn outcome(&self, context: &Context, answer: &dyn Answer, rejected: bool) -> Result<Bytes, Overrun> {
        if !context.owed.wants_outcome(rejected) {
            return Ok(Bytes::new());
        }
        guarded(|| answer.outcome())
            .map_err(|panic| Overrun::Invalid(format!("`Serialize` of the reply panicked: {panic}")))?
            .map(Bytes::from)
            .map_err(Overrun::Invalid)
    }

    pub(crate) fn settle(
        &self,
        control: &mut Control<E>,
        context: &Context,
        end: End,
        acts: Vec<Act>,
        image: Option<Bytes>,
    ) -> Result<(), Overrun> {
        let Some(ledger) = &mut control.ledger else { return Ok(()) };
        let random = || self.shared.random();
        let now = Now { ms: self.shared.clock.wall_ms(), random: &random };
        let settling = Settling { work: context.owed.work(), end, acts, image, cause: context.cause };
        ledger.settle(settling, &now, &self.shared.limits)
    }

    /// What the caller or the sender is to hear, as soon as the turn is committed.
    fn hold_end(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>) {
        let generation = control.ledger.as_ref().map_or(0, |ledger| ledger.generation);
        let release = match &context.owed {
            Owed::Message { envelope, .. } => {
                self.shard().count(Counter::MessageApplied);
                if self.shared.has(Mutant::AcknowledgesBeforeCommit) {
                    return self.let_go(Release::Parcel(acknowledgement(envelope, generation)));
                }
                Release::Parcel(acknowledgement(envelope, generation))
            }
            _ => Release::Answer(answer),
        };
        if let Some(release) = control.ledger.as_mut().and_then(|ledger| ledger.hold(release, &context.span)) {
            self.release(release);
        }
    }

    fn hold_answer(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>) {
        if let Some(release) =
            control.ledger.as_mut().and_then(|ledger| ledger.hold(Release::Answer(answer), &context.span))
        {
            self.release(release);
        }
    }

    /// A limit of the framework never becomes a definite `Err`: a message waits at its sender, or counts an attempt.
    fn overrun(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>, overrun: Overrun) {
        self.shard().count(Counter::TurnTooLarge);
        let entity = control.ledger.as_ref().map(|ledger| ledger.id.to_string());
        tracing::warn!(
            target: "grange", handler = %context.method, entity, ?overrun, "a turn passed a limit and was rolled back"
        );
        match (&context.owed, &overrun) {
            (Owed::Message { envelope, counted }, Overrun::Full { .. }) => self.run_later(control, envelope, *counted),
            (Owed::Message { envelope, counted }, _) => self.try_again(control, &envelope.clone(), *counted),
            _ => self.refuse(control, context, answer, &overrun.into()),
        }
    }

    fn retry_later(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>) {
        match &context.owed {
            Owed::Message { envelope, counted } => self.run_later(control, envelope, *counted),
            _ => {
                let reason = "the turn met something that is unavailable, or asked to be run again later".into();
                self.refuse(control, context, answer, &CallError::NotApplied { reason });
            }
        }
    }

    /// A message waits at its sender; that is no failure of its handler.
    fn run_later(&self, control: &mut Control<E>, envelope: &Envelope, counted: bool) {
        if let (true, Some(ledger)) = (counted, &mut control.ledger) {
            ledger.uncount_attempt(envelope);
        }
        self.postpone(envelope, None);
    }

    /// The turn had no effect, for certain; but what it saw may not be committed yet.
    fn refuse(&self, control: &mut Control<E>, context: &Context, answer: Box<dyn Answer>, error: &CallError) {
        if let Owed::Message { envelope, .. } = &context.owed {
            return self.postpone(envelope, None);
        }
        let refused: Box<dyn Answer> = Box::new(Refused { answer, error: error.clone() });
        self.hold_answer(control, context, refused);
    }

    /// A message's handler failed: again later, or never again.
    pub(crate) fn try_again(&self, control: &mut Control<E>, envelope: &Arc<Envelope>, counted: bool) {
        let Some(ledger) = &mut control.ledger else { return };
        let attempts = if counted { ledger.mail.activities.attempts(envelope) } else { ledger.count_attempt(envelope) };
        if attempts >= self.shared.limits.attempts_max {
            return self.give_up(control, envelope, messaging::Cause::GivenUp(attempts));
        }
        self.shard().count(Counter::MessagePostponed);
        let later = crate::messaging::Parcel::Later {
            sender: envelope.from.clone(),
            by: envelope.to.clone(),
            sequence: envelope.sequence,
            after: Some(messaging::backoff(attempts, self.shared.random())),
        };
        if let Some(Release::Parcel(parcel)) = ledger.hold(Release::Parcel(later), &Span::none()) {
            self.post(parcel);
        }
    }

    /// The state as it was before the turn.
    ///
    /// # Errors
    /// When that can't be made. The activation is broken then, and falls as soon as nothing of it is borrowed.
    pub(crate) fn roll_back(&self, activation: &Activation<E>, control: &mut Control<E>) -> Result<(), CallError> {
        let (Some(codec), Some(ledger)) = (&E::STATE, &control.ledger) else { return Ok(()) };
        let before = match &ledger.image {
            None => guarded(E::fresh),
            Some(image) => guarded(|| codec.load(image)).and_then(|loaded| match loaded {
                Ok((state, _)) => Ok(state),
                Err(error) => Err(error.to_string()),
            }),
        };
        match before {
            Ok(state) => {
                activation.state.replace(state);
                control.renewed = true;
                Ok(())
            }
            Err(reason) => {
                let reason = format!("the state before the turn can't be restored: {reason}");
                control.broken = true;
                Err(CallError::Unreadable { reason })
            }
        }
    }

    /// Nothing of it waits for a commit: it leaves while the lease says that nobody else can have the entity, and is held
    /// otherwise. Looked at now, after the last look at the state.
    pub(crate) fn release(&self, release: Release) {
        if !self.shared.lease.holds() {
            return self.held.borrow_mut().push(release);
        }
        self.let_go(release);
    }

    pub(crate) fn let_go(&self, release: Release) {
        match release {
            Release::Answer(answer) => answer.release(),
            Release::Parcel(parcel) => self.post(parcel),
        }
    }
}

/// An error of the framework in the place of an answer.
pub(crate) struct Refused {
    pub(crate) answer: Box<dyn Answer>,
    pub(crate) error: CallError,
}

impl Answer for Refused {
    fn outcome(&self) -> Result<Vec<u8>, String> {
        Err(self.error.to_string())
    }
    fn release(self: Box<Self>) {
        self.answer.fail(self.error);
    }
    fn fail(self: Box<Self>, error: CallError) {
        self.answer.fail(error);
    }
}

/// For what is in a commit whose answer nobody will wait for.
pub(crate) fn cut_off() -> CallError {
    CallError::Unknown { reason: "the activation ended while its commit was on its way".into() }
}
