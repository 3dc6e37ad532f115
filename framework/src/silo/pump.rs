use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

use crate::CallError;
use crate::entity::{Cause, Entity, Job, Origin, Provenance, Realm, Source, Turn, TurnSeed};
use crate::messaging::{Admission, KeyCheck, Parcel, made_at};
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, Control, Mail, Phase, Proof, Queued};
use crate::silo::batch::Release;
use crate::silo::config::millis;
use crate::silo::finish::Refused;
use crate::silo::host::Host;
use crate::silo::settle::{End, Now, Settling, Work};
use crate::silo::turn::{Context, Owed};
use crate::telemetry::Counter;

/// Every so many turns are timed even when nobody traces and nothing is committed.
const TIMED_TURNS: u64 = 32;

/// A turn that is to start.
pub(crate) struct Start<E: Entity> {
    /// There until it has started.
    pub(crate) call: Option<(Box<dyn Job<E>>, Turn<E>)>,
    pub(crate) context: Context,
}

/// What the head of the queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A turn: it is in the place that was given for it.
    Start,
    /// It is over without a turn: look at the one behind it.
    Over,
    /// Nothing can start now.
    Wait,
}

/// Where a turn that is to start is put: large, made for each call, and so not handed around by value.
pub(crate) type Place<E> = Option<Start<E>>;

impl<E: Entity> Host<E> {
    /// Starts every turn that can start, in the order of the queue, and hands what they did to the store.
    pub(crate) fn pump(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        self.pump_with(activation, None);
    }

    /// The same, with one more in the queue: which it enters only if it has to wait.
    pub(crate) fn pump_with(self: &Rc<Self>, activation: &Rc<Activation<E>>, mut arrived: Option<Queued<E>>) {
        let mut place = None;
        loop {
            match self.next(activation, &mut arrived, &mut place) {
                Next::Start => self.run(activation, &mut place),
                Next::Over => {}
                // A commit that lands at once may be what the next one waited for.
                Next::Wait if E::STATE.is_some() && self.advance(activation) => {}
                Next::Wait => break,
            }
        }
        if let Some(arrived) = arrived {
            // The first turn of the activation was its last.
            return self.pass_on(activation, vec![arrived]);
        }
        self.leave_if_asked(activation);
    }

    fn next(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        arrived: &mut Option<Queued<E>>,
        place: &mut Place<E>,
    ) -> Next {
        let mut control = activation.control.borrow_mut();
        let control = &mut *control;
        let next = self.next_of(activation, control, arrived, place);
        if next == Next::Wait
            && control.phase != Phase::Gone
            && let Some(arrived) = arrived.take()
        {
            control.crowd().queue.push_back(arrived);
        }
        next
    }

    fn next_of(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        arrived: &mut Option<Queued<E>>,
        place: &mut Place<E>,
    ) -> Next {
        // Whoever moves away waits for what runs, and that may wait for a read of its own chain.
        let stays = !control.moving || control.reentrant > 0;
        if control.phase != Phase::Live || !stays || control.held || control.broken || control.writer {
            return Next::Wait;
        }
        if control.renewed {
            if control.readers > 0 {
                return Next::Wait;
            }
            control.renewed = false;
            if let Some(hook) = self.methods.activating() {
                self.hook(activation, control, hook, Owed::OnActivate, place);
                return Next::Start;
            }
        }
        let alone = match control.queued().next().or(arrived.as_ref()) {
            None => return Next::Wait,
            Some(Queued::Call(call)) => call.info().exclusive,
            Some(_) => true,
        };
        let full =
            control.ledger.as_ref().is_some_and(|ledger| ledger.is_full(&self.shared.limits, self.mailbox_calls_max));
        if full || (alone && control.readers > 0) {
            return Next::Wait;
        }
        // They are at the front.
        control.reentrant = control.reentrant.saturating_sub(1);
        match control.pop_front().or_else(|| arrived.take()) {
            None => Next::Wait,
            Some(Queued::Call(call)) => self.next_call(activation, control, call, place),
            Some(Queued::Message(mail)) => self.next_message(activation, control, mail, place),
            Some(Queued::Forget { sender, sequence, life }) => {
                if let (true, Some(ledger)) = (life == self.shared.store.generation(&sender), &mut control.ledger) {
                    ledger.forget(&sender, sequence);
                }
                Next::Over
            }
            Some(Queued::ReplayLetter(number, message)) => {
                if let Some(ledger) = &mut control.ledger {
                    let random = || self.shared.random();
                    ledger.replay_letter(number, &message, &Now { ms: self.shared.clock.wall_ms(), random: &random });
                }
                Next::Over
            }
            Some(Queued::DropLetter(number)) => {
                if let Some(ledger) = &mut control.ledger {
                    ledger.drop_letter(number);
                }
                Next::Over
            }
        }
    }

    fn next_call(
        &self,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        mut job: Box<dyn Job<E>>,
        place: &mut Place<E>,
    ) -> Next {
        if job.is_abandoned() {
            self.shard().count(Counter::CallAbandoned);
            return Next::Over;
        }
        if job.head().is_some_and(|head| head.deadline <= self.now()) {
            job.refuse(CallError::Timeout);
            return Next::Over;
        }
        let Some(head) = job.head_mut() else { return Next::Over };
        let (source, deadline, number, arrived) = (head.source(), head.deadline, head.call, head.arrived);
        let (parent, span) = (head.parent.take(), head.take_span());
        let owed = match source {
            Source::Ask | Source::Notify => Owed::Ask,
            Source::Keyed { key, digest } => {
                let Some(ledger) = &mut control.ledger else { return Next::Over };
                let refusal = match ledger.check_key(key, digest, self.shared.clock.wall_ms(), &self.shared.limits) {
                    KeyCheck::Fresh => None,
                    KeyCheck::Repeat(outcome) => {
                        self.shard().count(Counter::CallRepeated);
                        if let Some(release) = ledger.hold(Release::Answer(job.replay(&outcome)), &span) {
                            self.release(release);
                        }
                        return Next::Over;
                    }
                    KeyCheck::Reused => Some(CallError::KeyReused),
                    KeyCheck::TooOld(reason) => Some(CallError::TooOld { reason }),
                    KeyCheck::Full => Some(CallError::Overloaded {
                        what: format!("the memory of {} idempotency keys", self.shared.limits.keys_max),
                        retry_after: Duration::from_secs(1),
                    }),
                };
                if let Some(error) = refusal {
                    // It may rest on a key that is not committed yet.
                    let refused = Box::new(Refused { answer: job.into_answer(), error });
                    if let Some(release) = ledger.hold(Release::Answer(refused), &span) {
                        self.release(release);
                    }
                    return Next::Over;
                }
                Owed::Keyed { key, digest }
            }
        };
        let key = if let Owed::Keyed { key, .. } = &owed { Some(*key) } else { None };
        let cause = parent.as_ref().map(|parent| parent.cause).or(key.map(|key| Cause { cause: key, root: key }));
        let context = Context {
            alone: job.info().exclusive,
            method: job.info(),
            owed,
            cause: cause.unwrap_or_default(),
            deadline,
            number,
            arrived,
            started: None,
            span,
        };
        self.begin(activation, control, job, context, parent, key, place);
        Next::Start
    }

    fn next_message(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        mail: Mail,
        place: &mut Place<E>,
    ) -> Next {
        let Some(ledger) = &mut control.ledger else { return Next::Over };
        let envelope = &mail.envelope;
        if mail.life != self.shared.store.generation(&envelope.from) {
            return Next::Over; // it stays in its sender's outbox, if it is there
        }
        let generation = ledger.generation;
        let proof = mail.proof.as_ref().map(|proof| proof.get());
        match ledger.mail.activities.admit(envelope) {
            Admission::Fresh if ledger.mail.activities.knows(&envelope.from) => {}
            Admission::Fresh if Mutant::FirstsUnproven.is_planted() => {}
            Admission::Fresh => match proof {
                Some(Proof::Holds) => {}
                None if !mail.far => {}
                None => {
                    // What was remembered of the sender has been forgotten since it arrived.
                    let proof = Some(self.prove(&activation.to, envelope));
                    control.push_front(Queued::Message(Mail { proof, ..mail }));
                    return Next::Wait;
                }
                Some(Proof::Awaited) => {
                    control.push_front(Queued::Message(mail));
                    return Next::Wait;
                }
                Some(Proof::Void) => return Next::Over,
                Some(Proof::Unknown) => {
                    self.postpone(envelope, None);
                    return Next::Over;
                }
            },
            Admission::Gap if Mutant::GapsAcknowledged.is_planted() => {
                self.post(acknowledgement(envelope, generation));
                return Next::Over;
            }
            Admission::Gap => return Next::Over,
            Admission::Duplicate => {
                self.shard().count(Counter::MessageRepeated);
                if let Some(release) =
                    ledger.hold(Release::Parcel(acknowledgement(envelope, generation)), &Span::none())
                {
                    self.release(release);
                }
                return Next::Over;
            }
        }
        let job = match self.methods.decode(&envelope.method, &envelope.arguments) {
            Some(Ok(job)) => job,
            Some(Err(reason)) => {
                let cause = crate::messaging::Cause::Undecodable(reason);
                self.give_up(control, envelope, cause);
                return Next::Over;
            }
            None => {
                // Perhaps a newer silo's: never a dead letter because of a rolling upgrade.
                tracing::warn!(
                    target: "grange", entity = %envelope.to, method = envelope.method, from = %envelope.from,
                    "a message waits for a handler that this version of the kind does not have"
                );
                self.postpone(envelope, None);
                return Next::Over;
            }
        };
        let counted = mail.counted || (mail.again && self.spared.borrow_mut().take(envelope));
        if mail.again && !counted {
            let attempts_max = if Mutant::GivesUpAtOnce.is_planted() { 0 } else { self.shared.limits.attempts_max };
            if ledger.mail.activities.attempts(envelope) >= attempts_max {
                let attempts = ledger.mail.activities.attempts(envelope);
                self.give_up(control, envelope, crate::messaging::Cause::GivenUp(attempts));
                return Next::Over;
            }
            ledger.count_attempt(envelope);
            control.held = true;
            control.push_front(Queued::Message(Mail { counted: true, ..mail }));
            return Next::Wait;
        }
        let now = self.now();
        let span = if tracing::enabled!(target: "grange", tracing::Level::DEBUG) {
            tracing::debug_span!(
                target: "grange", "message", kind = E::KIND, entity = %envelope.to, method = envelope.method,
                from = %envelope.from, message = %envelope.id, root = %envelope.root,
                outcome = Empty, queue_us = Empty, run_us = Empty, commit_us = Empty
            )
        } else {
            Span::none()
        };
        let (id, root) = (envelope.id, envelope.root);
        let context = Context {
            alone: true,
            method: job.info(),
            owed: Owed::Message { envelope: mail.envelope, counted },
            cause: Cause { cause: id, root },
            // A message has no deadline; its turn has a limit.
            deadline: now.saturating_add(millis(self.shared.limits.timeout_default)),
            number: self.shared.deadlines.next_number(),
            arrived: mail.arrived,
            started: None,
            span,
        };
        self.begin(activation, control, job, context, None, Some(id), place);
        Next::Start
    }

    /// The target ends a message that it can't apply, in one commit that moves its record past it.
    pub(crate) fn give_up(
        &self,
        control: &mut Control<E>,
        envelope: &crate::wire::Envelope,
        cause: crate::messaging::Cause,
    ) {
        let Some(ledger) = &mut control.ledger else { return };
        tracing::error!(
            target: "grange", entity = %envelope.to, method = envelope.method, from = %envelope.from,
            message = %envelope.id, cause = cause.name(), continued = envelope.then.is_some(), "a message is given up"
        );
        let settling = Settling {
            work: Work::Message(envelope),
            end: End::GivenUp(cause),
            acts: Vec::new(),
            image: None,
            cause: Cause::default(),
        };
        let random = || self.shared.random();
        let now = Now { ms: self.shared.clock.wall_ms(), random: &random };
        match ledger.settle(settling, &now, &self.shared.limits) {
            Ok(()) => {
                if envelope.then.is_none() {
                    self.shard().count(Counter::DeadLetter);
                }
                let parcel = acknowledgement(envelope, ledger.generation);
                if let Some(release) = ledger.hold(Release::Parcel(parcel), &Span::none()) {
                    self.release(release);
                }
            }
            Err(full) => {
                tracing::error!(target: "grange", entity = %envelope.to, ?full, "a message waits: it can't be given up");
                self.postpone(envelope, None);
            }
        }
    }

    fn hook(
        &self,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        job: Box<dyn Job<E>>,
        owed: Owed,
        place: &mut Place<E>,
    ) {
        let now = self.now();
        let context = Context {
            alone: true,
            method: job.info(),
            owed,
            cause: Cause::default(),
            deadline: now.saturating_add(millis(self.shared.limits.timeout_default)),
            number: self.shared.deadlines.next_number(),
            arrived: now,
            started: None,
            span: Span::none(),
        };
        self.begin(activation, control, job, context, None, None, place);
    }

    #[allow(clippy::too_many_arguments)]
    fn begin(
        &self,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        job: Box<dyn Job<E>>,
        mut context: Context,
        parent: Option<Arc<Origin>>,
        key: Option<Uuid>,
        place: &mut Place<E>,
    ) {
        if context.alone {
            control.writer = true;
        } else {
            control.readers += 1;
        }
        let durable = control.ledger.is_some();
        if (durable && context.alone) || context.number.is_multiple_of(TIMED_TURNS) || !context.span.is_disabled() {
            context.started = Some(Instant::now());
        }
        let turn = Turn::new(TurnSeed {
            me: activation.to.clone(),
            number: context.number,
            exclusive: context.alone,
            parent,
            deadline: context.deadline,
            gate: control.ledger.as_mut().and_then(|ledger| ledger.gate()),
            provenance: (key.is_some() || context.cause != Cause::default())
                .then(|| Box::new(Provenance { key, derive: self.is_young(key), cause: context.cause })),
            link: control.ledger.as_ref().and_then(|ledger| ledger.link.clone()),
        });
        *place = Some(Start { call: Some((job, turn)), context });
    }

    /// Whether keys derived from this one will be recognised for a while.
    fn is_young(&self, key: Option<Uuid>) -> bool {
        let half = millis(self.shared.limits.key_window) / 2;
        key.and_then(made_at).is_some_and(|made| self.shared.clock.wall_ms().saturating_sub(made) < half)
    }

    /// Runs a hook.
    pub(crate) fn run_hook(self: &Rc<Self>, activation: &Rc<Activation<E>>, job: Box<dyn Job<E>>, owed: Owed) {
        let mut place = None;
        self.hook(activation, &mut activation.control.borrow_mut(), job, owed, &mut place);
        self.run(activation, &mut place);
    }
}

pub(crate) fn acknowledgement(envelope: &crate::wire::Envelope, life: u64) -> Parcel {
    Parcel::Acknowledge { sender: envelope.from.clone(), by: envelope.to.clone(), sequence: envelope.sequence, life }
}
