use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop;
use tracing::field::Empty;
use uuid::Uuid;

use crate::client::alarm::Alarm;
use crate::client::{Ask, Continuation, Message};
use crate::cluster::way_to;
use crate::entity::{
    Durable, Entity, Gate, Head, Job, LAG_MS, Method, Named, NoEntry, Origin, RawRef, Realm, Request, Slot, Source,
    Special, Tick, Ticket, Typed, Wait,
};
use crate::{CallError, Never};

/// A call of a handler of the entity `E`, which replies `T` or rejects with `X`. Does nothing until it is used.
///
/// `.await` asks, at most once, for 30 s or what is left of the time of the turn that asks. It is itself the future, so
/// that `tokio::spawn`, `join_all`, `JoinSet` and `select!` take it as it is.
///
/// # Cancellation
/// Dropped before it started, the call is not run. Once started, the turn goes on to its limit.
#[must_use = "a call does nothing until it is awaited, sent or notified"]
pub struct Call<E: Entity, T, X = Never> {
    to: RawRef<E>,
    /// In a `Mutex` only to be `Sync` without arguments that are; never contended.
    request: Option<Mutex<BoxedRequest<E, T, X>>>,
    rebuild: Rebuild<E, T, X>,
    timeout: Option<Duration>,
    key: Option<Uuid>,
    /// It has been polled when its task had had its share of the loop.
    put_off: bool,
    asked: Option<Asked<E, T, X>>,
}

type BoxedRequest<E, T, X> = Box<dyn Request<E, T, X>>;
type Rebuild<E, T, X> = fn(&[u8]) -> Result<BoxedRequest<E, T, X>, rmp_serde::decode::Error>;

/// A call that kills the process it runs in must not walk through all of them.
const LOST_MAX: u32 = 2;

/// A call behind the gate of the turn that makes it.
type Held<E> = (Arc<Gate>, Mutex<Box<dyn Job<E>>>);

/// A call that is on its way.
struct Asked<E: Entity, T, X> {
    slot: Arc<Slot<T, X>>,
    ticket: Option<Ticket>,
    deadline: Tick,
    call: u64,
    /// Not handed over yet: the asking turn's predecessors are not committed.
    held: Option<Held<E>>,
    origin: Option<Arc<Origin>>,
    again: Option<Box<Again>>,
}

/// What an ask under a key needs to be sent again.
struct Again {
    /// A key and what it stands for; a read has no use for them.
    source: Source,
    arguments: Vec<u8>,
    failures: u32,
    /// How often it was lost where it may have been running.
    lost: u32,
    pause: Option<(Arc<Alarm>, Ticket)>,
}

/// Generated references call this.
#[doc(hidden)]
pub fn call<E: Entity, M: Method<E>>(to: &RawRef<E>, arguments: M::Args) -> Call<E, M::Ok, M::Err> {
    Call {
        to: to.clone(),
        request: Some(Mutex::new(Box::new(Typed::<E, M>::new(arguments)))),
        rebuild: |bytes| Ok(Box::new(Typed::<E, M>::decode(bytes)?)),
        timeout: None,
        key: None,
        put_off: false,
        asked: None,
    }
}

impl<E: Entity, T, X> fmt::Debug for Call<E, T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a call of {:?}", self.to)
    }
}

impl<E: Entity, T, X> Unpin for Call<E, T, X> {}

impl<E: Entity, T, X> Call<E, T, X> {
    /// Ask with this much time.
    pub fn timeout(mut self, timeout: Duration) -> Ask<E, T, X> {
        self.timeout = Some(timeout);
        Ask(self)
    }

    /// Ask, and retry safely across failures: the effect under this key is applied once, and every retry gets the same
    /// outcome, `Err` included. The key's age shows in it, so it must be a `Uuid::now_v7()`, made once for the operation
    /// and kept by whoever may retry it. On a read it is a plain retry.
    ///
    /// A key stands for one call: the arguments are compared as encoded. A `HashMap` is encoded in a different order each
    /// time; where one is an argument, take a `BTreeMap`.
    pub fn idempotent(mut self, key: Uuid) -> Ask<E, T, X>
    where
        E: Durable,
    {
        self.key = Some(key);
        Ask(self)
    }

    /// What to do with the outcome: the message, once sent by a turn, is followed by this continuation.
    pub fn then<C: Durable>(self, continuation: Continuation<C, T, X>) -> Message<E, T, X> {
        Message::from(self).then(continuation)
    }

    /// A reminder: the message goes this long after the turn that sends it.
    pub fn after(self, delay: Duration) -> Message<E, T, X> {
        Message::from(self).after(delay)
    }

    /// A reminder that repeats. Periods that were missed are made up for by one message.
    pub fn every(self, period: Duration) -> Message<E, T, X> {
        Message::from(self).every(period)
    }

    /// A reminder with a name: it replaces the entity's reminder of that name, and `turn.cancel` finds it.
    pub fn named(self, name: impl Into<String>) -> Message<E, T, X> {
        Message::from(self).named(name)
    }

    pub(crate) fn take(&mut self) -> Option<BoxedRequest<E, T, X>> {
        Some(self.request.take()?.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn target(&self) -> &RawRef<E> {
        &self.to
    }

    /// Tells, one way and best effort: nobody hears whether it was run.
    pub fn notify(mut self) {
        let (Some(port), Some(request)) = (self.to.inner.port.clone(), self.take()) else { return };
        let gate = self.to.origin.as_ref().and_then(|origin| origin.gate.clone());
        let number = self.to.inner.realm.deadlines().next_number();
        let call = self.address(request.into_job(), Source::Notify, self.deadline(None), None, number);
        match gate {
            None => port.deliver(call),
            Some(gate) => gate.run_when_open(Box::new(move || port.deliver(call))),
        }
    }

    fn deadline(&self, origin: Option<&Origin>) -> Tick {
        let realm = &self.to.inner.realm;
        let deadline = match self.timeout {
            None => realm.tick().saturating_add(realm.timeout_default()),
            Some(timeout) => realm.tick_now().saturating_add(Tick::try_from(timeout.as_millis()).unwrap_or(Tick::MAX)),
        };
        let deadline = deadline.saturating_add(LAG_MS);
        origin.map_or(deadline, |origin| deadline.min(origin.deadline))
    }

    /// Gives the call its head.
    fn address(
        &self,
        mut job: Box<dyn Job<E>>,
        source: Source,
        deadline: Tick,
        parent: Option<Arc<Origin>>,
        call: u64,
    ) -> Box<dyn Job<E>> {
        let realm = &self.to.inner.realm;
        let span = tracing::enabled!(target: "grange", tracing::Level::DEBUG).then(|| {
            tracing::debug_span!(
                target: "grange", "call", kind = E::KIND, entity = ?self.to, method = job.info().name,
                outcome = Empty, queue_us = Empty, run_us = Empty, commit_us = Empty
            )
        });
        let (to, arrived, special) = (self.to.inner.clone(), realm.tick(), Special::of(source, span));
        *job.head_mut() = Some(Head { to, parent, deadline, call, arrived, searches: 0, special });
        job
    }
}

impl<E: Entity, T: Send + 'static, X: Send + 'static> Call<E, T, X> {
    /// The first poll: hands the call over, and makes it known to everything that may end it.
    fn ask(&mut self, mut request: BoxedRequest<E, T, X>, context: &mut Context<'_>) -> Poll<Result<T, CallError<X>>> {
        let Some(port) = &self.to.inner.port else {
            return Poll::Ready(Err(CallError::Unavailable {
                reason: format!("no silo hosts the kind `{0}`: add `.entity::<{0}>()` to a silo's builder", E::KIND),
            }));
        };
        let realm = &self.to.inner.realm;
        let origin = self.to.origin.clone().filter(|origin| !origin.is_over());
        // Also of a turn that is over: what its reference was made from may not be committed yet.
        let gate = self.to.origin.as_ref().and_then(|origin| origin.gate.clone());
        let deadline = self.deadline(origin.as_deref());
        let again = match self.again(&*request, origin.as_deref()) {
            Ok(again) => again,
            Err(error) => return Poll::Ready(Err(error)),
        };
        // On the entity's own thread the turn can run right here.
        let share = (again.is_none() && gate.is_none()).then(|| coop::poll_proceed(context));
        if matches!(share, Some(Poll::Pending)) && !self.put_off && port.is_here(&self.to.inner) {
            // The task has had its share of the loop, and is polled again after the others. Once: then it waits in its host.
            self.put_off = true;
            self.request = Some(Mutex::new(request));
            return Poll::Pending;
        }
        let source = again.as_ref().map_or(Source::Ask, |again| again.source);
        let slot = Arc::new(Slot::new());
        request.reply_to(slot.clone());
        let mut job = self.address(request.into_job(), source, deadline, origin.clone(), 0);
        if let Some(Poll::Ready(progress)) = share {
            match port.run_here(job) {
                Err(back) => job = back,
                Ok(call) => {
                    progress.made_progress();
                    if let Poll::Ready(answer) = slot.poll(context, way_to) {
                        note_failure(origin.as_deref(), &answer);
                        return Poll::Ready(answer);
                    }
                    let ticket = realm.deadlines().enter_started(deadline, slot.clone()).ok();
                    self.wait(Asked { slot, ticket, deadline, call, held: None, origin, again });
                    return Poll::Pending;
                }
            }
        }
        let ticket = match realm.deadlines().enter(deadline, slot.clone()) {
            Ok(ticket) => ticket,
            Err(no_entry) => return Poll::Ready(Err(refusal(no_entry, &**realm))),
        };
        let call = if origin.is_some() { realm.next_ask() } else { ticket.number };
        if let Some(head) = job.head_mut() {
            head.call = call;
        }
        let (port, ticket) = (port.clone(), Some(ticket));
        match gate {
            Some(gate) => {
                let held = Some((gate, Mutex::new(job)));
                self.wait(Asked { slot, ticket, deadline, call, held, origin, again });
            }
            None => {
                // The waker is there before anybody can answer: from here on the slot is another thread's.
                let _pending = slot.poll(context, way_to);
                self.wait(Asked { slot, ticket, deadline, call, held: None, origin, again });
                port.deliver(job);
                return Poll::Pending;
            }
        }
        self.poll_answer(context)
    }

    fn wait(&mut self, asked: Asked<E, T, X>) {
        if let Some(origin) = &asked.origin {
            let wait = Wait { call: asked.call, to: self.to.inner.id().clone() };
            self.to.inner.realm.waits().begin(origin.turn, wait);
        }
        self.asked = Some(asked);
    }

    /// A keyed ask: the caller's key, or one derived from the durable turn that asks, so that the turn's re-run asks
    /// under the same one.
    fn again(
        &self,
        request: &dyn Request<E, T, X>,
        origin: Option<&Origin>,
    ) -> Result<Option<Box<Again>>, CallError<X>> {
        let exclusive = request.info().exclusive;
        let derived = || origin.filter(|_| exclusive && E::STATE.is_some()).and_then(Origin::next_derived_key);
        let Some(key) = self.key.or_else(derived) else { return Ok(None) };
        let arguments = request.arguments().map_err(|error| CallError::Invalid {
            reason: format!("the arguments of `{}` can't be encoded: {error}", request.info()),
        })?;
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(request.info().name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&arguments);
        let source = if exclusive { Source::Keyed { key, digest: hasher.digest() } } else { Source::Ask };
        Ok(Some(Box::new(Again { source, arguments, failures: 0, lost: 0, pause: None })))
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<T, CallError<X>>> {
        loop {
            let Some(asked) = &mut self.asked else {
                return Poll::Ready(Err(CallError::Invalid {
                    reason: "the call was polled after it had ended".into(),
                }));
            };
            if let Some((gate, job)) = asked.held.take() {
                match gate.poll(context) {
                    // Shut; or never to open: the asking turn is being dropped with its activation.
                    Poll::Pending | Poll::Ready(false) => asked.held = Some((gate, job)),
                    Poll::Ready(true) => self.let_go(job.into_inner().unwrap_or_else(PoisonError::into_inner)),
                }
            }
            let Some(asked) = &mut self.asked else { continue };
            if let Some(again) = &mut asked.again
                && let Some((alarm, _)) = &again.pause
            {
                if alarm.poll(context).is_pending() {
                    return Poll::Pending;
                }
                again.pause = None;
                if let Err(error) = self.send_again() {
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            let answer = match asked.slot.poll(context, way_to) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => answer,
            };
            if let Err(error) = &answer
                && self.pauses_before_retry(error)
            {
                continue;
            }
            note_failure(self.asked.as_ref().and_then(|asked| asked.origin.as_deref()), &answer);
            let lost = self.asked.as_ref().and_then(|asked| asked.again.as_ref()).is_some_and(|again| again.lost > 0);
            self.end(true);
            return Poll::Ready(if lost { doubted(answer) } else { answer });
        }
    }

    /// Whether a keyed ask that failed like this is to be sent again: then its pause has begun.
    fn pauses_before_retry(&mut self, error: &CallError<X>) -> bool {
        let realm = self.to.inner.realm.clone();
        let Some(asked) = self.asked.as_mut() else { return false };
        let (Some(again), false) = (&mut asked.again, matches!(error, CallError::Timeout)) else { return false };
        // Full jitter below a ceiling that doubles (Brooker, "Exponential Backoff And Jitter").
        let ceiling = 20_u64 << again.failures.min(6);
        let resume = realm.tick() + 1 + realm.random() % ceiling;
        again.lost += u32::from(matches!(error, CallError::Unknown { .. }));
        if !error.is_retryable() || again.lost > LOST_MAX || resume >= asked.deadline {
            return false;
        }
        again.failures += 1;
        let alarm = Arc::new(Alarm::default());
        let Ok(ticket) = realm.deadlines().enter(resume, alarm.clone()) else { return false };
        again.pause = Some((alarm, ticket));
        true
    }

    /// What waited for a commit is on its way only now: its number is that of now.
    fn let_go(&mut self, mut job: Box<dyn Job<E>>) {
        let (Some(asked), Some(port)) = (self.asked.as_mut(), self.to.inner.port.clone()) else { return };
        let number = renumber(&self.to, asked, asked.call);
        if let Some(head) = job.head_mut() {
            head.call = number;
        }
        port.deliver(job);
    }

    fn send_again(&mut self) -> Result<(), CallError<X>> {
        let (Some(asked), Some(port)) = (self.asked.as_mut(), self.to.inner.port.clone()) else { return Ok(()) };
        let Some(again) = &asked.again else { return Ok(()) };
        let source = again.source;
        let mut request = (self.rebuild)(&again.arguments)
            .map_err(|error| CallError::Invalid { reason: format!("the arguments can't be decoded again: {error}") })?;
        let deadlines = self.to.inner.realm.deadlines();
        if let Some(ticket) = asked.ticket {
            deadlines.leave(ticket, Arc::as_ptr(&asked.slot).cast());
        }
        asked.slot = Arc::new(Slot::new());
        let ticket = deadlines
            .enter(asked.deadline, asked.slot.clone())
            .map_err(|no_entry| refusal(no_entry, &*self.to.inner.realm))?;
        asked.ticket = Some(ticket);
        let number = renumber(&self.to, asked, ticket.number);
        request.reply_to(asked.slot.clone());
        let (deadline, origin) = (asked.deadline, asked.origin.clone());
        port.deliver(self.address(request.into_job(), source, deadline, origin, number));
        Ok(())
    }
}

impl<E: Entity, T, X> Call<E, T, X> {
    /// Leaves everything that knows of the call.
    fn end(&mut self, answered: bool) {
        let Some(asked) = self.asked.take() else { return };
        let deadlines = self.to.inner.realm.deadlines();
        if let Some(ticket) = asked.ticket {
            deadlines.leave(ticket, Arc::as_ptr(&asked.slot).cast());
        }
        if let Some((alarm, ticket)) = asked.again.as_ref().and_then(|again| again.pause.as_ref()) {
            deadlines.leave(*ticket, Arc::as_ptr(alarm).cast());
        }
        if let Some(origin) = &asked.origin {
            self.to.inner.realm.waits().end(origin.turn, asked.call);
        }
        if !answered {
            asked.slot.abandon();
        }
    }
}

impl<E: Entity, T: Send + 'static, X: Send + 'static> Future for Call<E, T, X> {
    type Output = Result<T, CallError<X>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(request) = self.take() {
            return self.ask(request, context);
        }
        self.poll_answer(context)
    }
}

impl<E: Entity, T, X> Drop for Call<E, T, X> {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// A number for the next sending of an ask; one that a turn makes is waited for under it.
fn renumber<E: Entity, T, X>(to: &RawRef<E>, asked: &mut Asked<E, T, X>, otherwise: u64) -> u64 {
    let realm = &to.inner.realm;
    asked.call = match &asked.origin {
        None => otherwise,
        Some(origin) => {
            let number = realm.next_ask();
            realm.waits().end(origin.turn, asked.call);
            realm.waits().begin(origin.turn, Wait { call: number, to: to.inner.id().clone() });
            number
        }
    };
    asked.call
}

/// An earlier try was lost where it may have been running: that the last one had no effect says nothing of that one.
fn doubted<T, X>(answer: Result<T, CallError<X>>) -> Result<T, CallError<X>> {
    match answer.map_err(CallError::split::<X>) {
        Ok(value) => Ok(value),
        Err(Err(rejected)) => Err(CallError::Rejected(rejected)),
        Err(Ok(error)) if error.may_have_applied() => Err(error),
        Err(Ok(error)) => {
            let last = error.split::<crate::Never>().map_or_else(|_| String::new(), |error| error.to_string());
            Err(CallError::Unknown { reason: format!("an earlier try may have been applied; of the last one: {last}") })
        }
    }
}

/// What is unavailable now is no definite answer for the turn that asks: see `Origin::note_failure`. What will be so again
/// (a cycle, a panic, something too large) is one.
fn note_failure<T, X>(origin: Option<&Origin>, answer: &Result<T, CallError<X>>) {
    if let (Some(origin), Err(error)) = (origin, answer)
        && error.is_retryable()
    {
        origin.note_failure();
    }
}

fn refusal<X>(no_entry: NoEntry, realm: &dyn Realm) -> CallError<X> {
    match no_entry {
        NoEntry::Full => CallError::Overloaded {
            what: format!("the process, with {} calls of this thread waiting,", realm.deadlines().shard_waits_max()),
            retry_after: Duration::from_millis(100),
        },
        NoEntry::Closed => CallError::Unavailable { reason: "the silo has stopped".into() },
    }
}
