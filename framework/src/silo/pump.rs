use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

use crate::CallError;
use crate::entity::{
    Cause, Entity, Job, MethodInfo, Named, Origin, Provenance, Ran, Realm, Run, Source, Turn, TurnSeed,
};
use crate::messaging::{Admission, KeyCheck, Parcel, made_at};
use crate::silo::activation::{Activation, Control, FutureSlot, Mail, Phase, Queued, Suspended};
use crate::silo::batch::Release;
use crate::silo::config::millis;
use crate::silo::finish::Refused;
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::settle::{End, Now, Settling, Work};
use crate::silo::turn::{Context, Owed};
use crate::telemetry::Counter;

/// Every so many turns are timed even when nobody traces and nothing is committed.
const TIMED_TURNS: u64 = 32;

/// A turn that is to start.
struct Start<E: Entity> {
    job: Box<dyn Job<E>>,
    turn: Turn<E>,
    context: Context,
}

/// What the head of the queue came to.
#[allow(clippy::large_enum_variant)] // made for each call, and taken apart at once: a box would cost more
enum Next<E: Entity> {
    Start(Start<E>),
    /// It is over without a turn: look at the one behind it.
    Over,
    /// Nothing can start now.
    Wait,
}

impl<E: Entity> Host<E> {
    /// Starts every turn that can start, in the order of the queue, and hands what they did to the store.
    pub(crate) fn pump(self: &Rc<Self>, activation: &Rc<Activation<E>>) {
        self.pump_with(activation, None);
    }

    /// The same, with one more in the queue: which it enters only if it has to wait.
    pub(crate) fn pump_with(self: &Rc<Self>, activation: &Rc<Activation<E>>, mut arrived: Option<Queued<E>>) {
        loop {
            match self.next(activation, &mut arrived) {
                Next::Start(start) => self.run(activation, start),
                Next::Over => {}
                // A commit that lands at once may be what the next one waited for.
                Next::Wait if E::STATE.is_some() && self.advance(activation) => {}
                Next::Wait => break,
            }
        }
        self.leave_if_asked(activation);
    }

    fn next(self: &Rc<Self>, activation: &Rc<Activation<E>>, arrived: &mut Option<Queued<E>>) -> Next<E> {
        let mut control = activation.control.borrow_mut();
        let control = &mut *control;
        let next = self.next_of(activation, control, arrived);
        if let Next::Wait = next {
            control.queue.extend(arrived.take());
        }
        next
    }

    fn next_of(
        self: &Rc<Self>,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        arrived: &mut Option<Queued<E>>,
    ) -> Next<E> {
        if control.phase != Phase::Live || control.held || control.broken || control.writer {
            return Next::Wait;
        }
        if control.renewed {
            if control.readers > 0 {
                return Next::Wait;
            }
            control.renewed = false;
            if let Some(hook) = self.methods.activating() {
                return Next::Start(self.hook(activation, control, hook, Owed::OnActivate));
            }
        }
        let alone = match control.queue.front().or(arrived.as_ref()) {
            None => return Next::Wait,
            Some(Queued::Call(call)) => call.info().exclusive,
            Some(Queued::Message(_) | Queued::DropLetter(_)) => true,
        };
        let full =
            control.ledger.as_ref().is_some_and(|ledger| ledger.is_full(&self.shared.limits, self.mailbox_calls_max));
        if full || (alone && control.readers > 0) {
            return Next::Wait;
        }
        match control.queue.pop_front().or_else(|| arrived.take()) {
            None => Next::Wait,
            Some(Queued::Call(call)) => self.next_call(activation, control, call),
            Some(Queued::Message(mail)) => self.next_message(activation, control, mail),
            Some(Queued::DropLetter(number)) => {
                if let Some(ledger) = &mut control.ledger {
                    ledger.drop_letter(number);
                }
                Next::Over
            }
        }
    }

    fn next_call(&self, activation: &Rc<Activation<E>>, control: &mut Control<E>, mut job: Box<dyn Job<E>>) -> Next<E> {
        if job.is_abandoned() {
            self.shard().count(Counter::CallAbandoned);
            return Next::Over;
        }
        if job.head().is_some_and(|head| head.deadline <= self.now()) {
            job.refuse(CallError::Timeout);
            return Next::Over;
        }
        let Some(head) = job.head_mut() else { return Next::Over };
        let (source, deadline, number, arrived) = (head.source, head.deadline, head.call, head.arrived);
        let (parent, span) = (head.parent.take(), std::mem::replace(&mut head.span, Span::none()));
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
        Next::Start(self.begin(activation, control, job, context, parent, key))
    }

    fn next_message(self: &Rc<Self>, activation: &Rc<Activation<E>>, control: &mut Control<E>, mail: Mail) -> Next<E> {
        let Some(ledger) = &mut control.ledger else { return Next::Over };
        let envelope = &mail.envelope;
        match ledger.activities.admit(envelope) {
            Admission::Fresh => {}
            Admission::Gap => return Next::Over,
            Admission::Duplicate => {
                self.shard().count(Counter::MessageRepeated);
                if let Some(release) = ledger.hold(Release::Parcel(acknowledgement(envelope)), &Span::none()) {
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
        if mail.again && !mail.counted {
            if ledger.activities.attempts(envelope) >= self.shared.limits.attempts_max {
                let attempts = ledger.activities.attempts(envelope);
                self.give_up(control, envelope, crate::messaging::Cause::GivenUp(attempts));
                return Next::Over;
            }
            ledger.count_attempt(envelope);
            control.held = true;
            control.queue.push_front(Queued::Message(Mail { counted: true, ..mail }));
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
            owed: Owed::Message { envelope: mail.envelope, counted: mail.counted },
            cause: Cause { cause: id, root },
            // A message has no deadline; its turn has a limit.
            deadline: now + millis(self.shared.limits.timeout_default),
            number: self.shared.deadlines.next_number(),
            arrived: mail.arrived,
            started: None,
            span,
        };
        Next::Start(self.begin(activation, control, job, context, None, Some(id)))
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
                if let Some(release) = ledger.hold(Release::Parcel(acknowledgement(envelope)), &Span::none()) {
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
    ) -> Start<E> {
        let now = self.now();
        let context = Context {
            alone: true,
            method: job.info(),
            owed,
            cause: Cause::default(),
            deadline: now + millis(self.shared.limits.timeout_default),
            number: self.shared.deadlines.next_number(),
            arrived: now,
            started: None,
            span: Span::none(),
        };
        self.begin(activation, control, job, context, None, None)
    }

    fn begin(
        &self,
        activation: &Rc<Activation<E>>,
        control: &mut Control<E>,
        job: Box<dyn Job<E>>,
        mut context: Context,
        parent: Option<Arc<Origin>>,
        key: Option<Uuid>,
    ) -> Start<E> {
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
            link: control.link.clone(),
        });
        Start { job, turn, context }
    }

    /// Whether keys derived from this one will be recognised for a while.
    fn is_young(&self, key: Option<Uuid>) -> bool {
        let half = millis(self.shared.limits.key_window) / 2;
        key.and_then(made_at).is_some_and(|made| self.shared.clock.wall_ms().saturating_sub(made) < half)
    }

    /// Runs a hook.
    pub(crate) fn run_hook(self: &Rc<Self>, activation: &Rc<Activation<E>>, job: Box<dyn Job<E>>, owed: Owed) {
        let start = self.hook(activation, &mut activation.control.borrow_mut(), job, owed);
        self.run(activation, start);
    }

    fn run(self: &Rc<Self>, activation: &Rc<Activation<E>>, start: Start<E>) {
        let Start { job, turn, context } = start;
        let mut future = job.start(activation.state.clone(), turn);
        // The waker that does nothing loses nothing: a pending future is polled again by its task at once.
        let polled = {
            let _entered = context.span.enter();
            self.poll(&mut future, context.method, &mut TaskContext::from_waker(Waker::noop()))
        };
        match polled {
            Poll::Ready(ran) => {
                drop(future);
                self.finish(activation, &context, ran);
            }
            Poll::Pending => self.suspend(activation, context, future),
        }
    }

    /// A handler's turn to run: whoever watches knows which it is, and it may ask entities on this thread.
    fn poll(
        &self,
        future: &mut Pin<Box<dyn Run<E>>>,
        method: &'static MethodInfo,
        task: &mut TaskContext<'_>,
    ) -> Poll<Ran<E>> {
        let _outside = here::leave();
        let before = self.pulse().before();
        self.pulse().enter(method, self.now());
        let polled = future.as_mut().poll(task);
        self.pulse().leave(before);
        polled
    }

    fn suspend(self: &Rc<Self>, activation: &Rc<Activation<E>>, context: Context, future: Pin<Box<dyn Run<E>>>) {
        let (turn, caller) = (context.number, future.caller());
        let future: FutureSlot<E> = Rc::new(RefCell::new(Some(future)));
        let (host, owner, slot, span, method) =
            (self.clone(), activation.clone(), future.clone(), context.span.clone(), context.method);
        let task = actix_rt::spawn(async move {
            let ran: Option<Ran<E>> = std::future::poll_fn(|task| {
                let mut slot = slot.borrow_mut();
                let Some(future) = slot.as_mut() else { return Poll::Ready(None) };
                let _entered = span.enter();
                host.poll(future, method, task).map(Some)
            })
            .await;
            let _inside = here::enter();
            let future = slot.borrow_mut().take();
            drop(future);
            if let Some(ran) = ran {
                host.resume(&owner, turn, ran);
            }
        });
        let task = task.abort_handle();
        activation.control.borrow_mut().suspended.push(Suspended { context, caller, future, task });
        self.catalog.borrow_mut().suspended.insert(activation.place.get());
    }

    fn resume(self: &Rc<Self>, activation: &Rc<Activation<E>>, turn: u64, ran: Ran<E>) {
        let suspended = {
            let mut control = activation.control.borrow_mut();
            let index = control.suspended.iter().position(|suspended| suspended.context.number == turn);
            index.map(|index| control.suspended.swap_remove(index))
        };
        match suspended {
            Some(suspended) => {
                self.finish(activation, &suspended.context, ran);
                self.pump(activation);
            }
            // The activation fell while the handler was at work, and its caller has been told.
            None => ran.answer.fail(CallError::NotApplied { reason: format!("{} was dropped", activation.to.id()) }),
        }
    }
}

pub(crate) fn acknowledgement(envelope: &crate::wire::Envelope) -> Parcel {
    Parcel::Acknowledge { sender: envelope.from.clone(), by: envelope.to.clone(), sequence: envelope.sequence }
}
