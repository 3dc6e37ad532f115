use std::any::Any;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use pin_project_lite::pin_project;
use tracing::Span;
use uuid::Uuid;

use crate::entity::{
    Args, Caller, Carrier, Effects, End, Entity, FarEnd, Guarded, Method, MethodInfo, Origin, Realm, RefInner, Reply,
    Slot, StateCell, Tick, Turn, guarded,
};
use crate::{CallError, Failed, Never, Outcome};

/// What a call carries beside its arguments, from its caller to its turn. Small: it is copied, and passes between threads.
pub(crate) struct Head<E: Entity> {
    pub(crate) to: Arc<RefInner<E>>,
    /// The turn that asks.
    pub(crate) parent: Option<Arc<Origin>>,
    pub(crate) deadline: Tick,
    /// This call, unique in the process; greater is the later.
    pub(crate) call: u64,
    /// Coarse: when it was handed over.
    pub(crate) arrived: Tick,
    /// How often it searched for a cycle while it waited.
    pub(crate) searches: u32,
    /// Of a plain ask that nobody traces there is none.
    pub(crate) special: Option<Box<Special>>,
}

/// What few calls have.
pub(crate) struct Special {
    pub(crate) source: Source,
    pub(crate) span: Span,
    /// Of a notification: nobody waits for it, so nothing else bounds how many there are.
    pub(crate) notice: Option<Notice>,
}

impl Special {
    /// `span`: of a call that is traced.
    pub(crate) fn of(source: Source, span: Option<Span>) -> Option<Box<Self>> {
        if source == Source::Ask && span.is_none() {
            return None;
        }
        Some(Box::new(Self { source, span: span.unwrap_or_else(Span::none), notice: None }))
    }

    /// Counts a notification among those of this arbiter. `false`: there are too many, and it is dropped, best effort; its notice
    /// gives the place back.
    pub(crate) fn admit(&mut self, realm: &Arc<dyn Realm>, arbiter: usize) -> bool {
        if self.source != Source::Notify {
            return true;
        }
        let admitted = realm.admit(arbiter);
        self.notice = Some(Notice { realm: realm.clone(), arbiter });
        admitted
    }
}

impl<E: Entity> Head<E> {
    pub(crate) fn source(&self) -> Source {
        self.special.as_ref().map_or(Source::Ask, |special| special.source)
    }

    pub(crate) fn take_span(&mut self) -> Span {
        self.special.as_mut().map_or_else(Span::none, |special| std::mem::replace(&mut special.span, Span::none()))
    }
}

/// A notification's place among those that may be on their way to an arbiter.
pub(crate) struct Notice {
    pub(crate) realm: Arc<dyn Realm>,
    pub(crate) arbiter: usize,
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.realm.discharge(self.arbiter);
    }
}

/// Where a call came from, and so what it is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A plain ask: at most once.
    Ask,
    /// Best effort, one way.
    Notify,
    /// An ask under an idempotency key: its outcome is recorded.
    Keyed {
        key: Uuid,
        /// Of the method and the arguments: a key stands for one call.
        digest: u64,
    },
}

/// A call whose future is not made yet: it travels to the arbiter and becomes a future there, which need not be `Send`.
pub(crate) trait Job<E: Entity>: Send {
    fn info(&self) -> &'static MethodInfo;
    /// There for what is delivered through a port; a message and a hook have none.
    fn head(&self) -> Option<&Head<E>>;
    fn head_mut(&mut self) -> &mut Option<Head<E>>;
    /// Appends the arguments as bytes, for what must survive or travel.
    fn write_arguments(&self, bytes: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error>;
    /// The same in bytes of their own.
    fn arguments(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let mut bytes = Vec::with_capacity(64);
        self.write_arguments(&mut bytes).map(|()| bytes)
    }
    /// Who waits for the answer.
    fn caller(&self) -> Option<Arc<dyn Caller>>;
    /// The caller went away before the call started.
    fn is_abandoned(&self) -> bool;
    /// Its answer goes to another process.
    fn answer_far(&mut self, end: Arc<dyn FarEnd>);
    /// Where that is.
    fn far_end(&self) -> Option<&Arc<dyn FarEnd>>;
    /// Runs the handler.
    fn start(self: Box<Self>, state: StateCell<E>, turn: Turn<E>) -> Pin<Box<dyn Run>>;
    /// Ends the call without running it.
    fn refuse(self: Box<Self>, error: CallError<Never>);
    /// The call as an answer that is still to be given: for an error that must wait for a commit.
    fn into_answer(self: Box<Self>) -> Box<dyn Answer>;
    /// Ends the call with an outcome that was recorded before.
    fn replay(self: Box<Self>, outcome: &[u8]) -> Box<dyn Answer>;
}

/// A [`Job`] whose reply is not attached yet: the same object, so that one allocation serves both.
pub(crate) trait Request<E: Entity, T, X>: Job<E> {
    fn reply_to(&mut self, slot: Arc<Slot<T, X>>);
    fn into_job(self: Box<Self>) -> Box<dyn Job<E>>;
}

/// A handler at work.
pub(crate) trait Run: Future<Output = Ran> {
    /// Who waits for it.
    fn caller(&self) -> Option<Arc<dyn Caller>>;
}

/// A handler has run. Nothing of it is visible yet.
pub(crate) struct Ran {
    /// None after a panic.
    pub(crate) effects: Effects,
    /// An ask of the turn failed by the framework's doing.
    pub(crate) failed: bool,
    pub(crate) verdict: Verdict,
    pub(crate) answer: Box<dyn Answer>,
    /// What a panic said.
    pub(crate) panic: Option<String>,
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// With a value: commit.
    Done,
    /// With `Err`: roll back.
    Rejected,
    /// Not at all: roll back.
    Panicked,
}

/// What a handler answered, kept until it may be seen.
pub(crate) trait Answer {
    /// As an [`Outcome`], for the record and for a continuation.
    fn outcome(&self) -> Result<Vec<u8>, String>;
    /// Gives it to the caller.
    fn release(self: Box<Self>);
    /// Gives the caller an error of the framework in its place.
    fn fail(self: Box<Self>, error: CallError<Never>);
}

/// A call of the handler `M` with its arguments as they are: nothing is encoded inside a process. One allocation from
/// the caller to the answer.
pub(crate) struct Typed<E: Entity, M: Method<E>> {
    head: Option<Head<E>>,
    /// There until the handler has them.
    arguments: Guarded<M::Args>,
    /// There when the handler has run.
    result: Option<Guarded<Answered<E, M>>>,
    reply: Reply<M::Ok, M::Err>,
    /// What is in it was committed before: whatever becomes of the answer, there was an effect.
    replayed: bool,
    handler: PhantomData<fn() -> E>,
}

impl<E: Entity, M: Method<E>> Typed<E, M> {
    pub(crate) fn new(arguments: M::Args) -> Self {
        Self {
            head: None,
            arguments: Guarded::new(arguments),
            result: None,
            reply: Reply::nobody(),
            replayed: false,
            handler: PhantomData,
        }
    }

    pub(crate) fn take_result(&mut self) -> Option<Answered<E, M>> {
        self.result.take().and_then(|mut result| result.take())
    }

    /// The same from bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        Ok(Self::new(M::Args::decode(bytes)?))
    }
}

impl<E: Entity, M: Method<E>> Request<E, M::Ok, M::Err> for Typed<E, M> {
    fn reply_to(&mut self, slot: Arc<Slot<M::Ok, M::Err>>) {
        self.reply = Reply::to(slot);
    }
    fn into_job(self: Box<Self>) -> Box<dyn Job<E>> {
        self
    }
}

impl<E: Entity, M: Method<E>> Job<E> for Typed<E, M> {
    fn info(&self) -> &'static MethodInfo {
        M::info()
    }
    fn head(&self) -> Option<&Head<E>> {
        self.head.as_ref()
    }
    fn head_mut(&mut self) -> &mut Option<Head<E>> {
        &mut self.head
    }
    fn write_arguments(&self, bytes: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        self.arguments.as_ref().map_or(Ok(()), |arguments| arguments.encode(bytes))
    }
    fn caller(&self) -> Option<Arc<dyn Caller>> {
        self.reply.caller()
    }
    fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }
    fn answer_far(&mut self, end: Arc<dyn FarEnd>) {
        self.reply = Reply::far(end);
    }
    fn far_end(&self) -> Option<&Arc<dyn FarEnd>> {
        self.reply.far_end()
    }

    fn start(mut self: Box<Self>, state: StateCell<E>, turn: Turn<E>) -> Pin<Box<dyn Run>> {
        // A job is started once, with its arguments: `start` takes it.
        let arguments = self.arguments.take().expect("a job has its arguments until it starts");
        self.reply.start();
        let future = AssertUnwindSafe(M::run(state, arguments, turn)).catch_unwind();
        Box::pin(Running { future, job: Some(self) })
    }

    fn refuse(self: Box<Self>, error: CallError<Never>) {
        self.fail(error);
    }

    fn into_answer(self: Box<Self>) -> Box<dyn Answer> {
        self
    }

    fn replay(mut self: Box<Self>, outcome: &[u8]) -> Box<dyn Answer> {
        self.replayed = true;
        let decoded = guarded(|| rmp_serde::from_slice::<Outcome<M::Ok, M::Err>>(outcome));
        let decoded = decoded.and_then(|decoded| decoded.map_err(|error| error.to_string()));
        self.result = Some(Guarded::new(match decoded {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failed::Rejected(error))) => Err(CallError::Rejected(error)),
            Ok(Err(Failed::GivenUp)) => Err(CallError::Panicked),
            Err(error) => Err(CallError::Invalid {
                reason: format!("the outcome of the first call under this key can't be decoded: {error}"),
            }),
        }));
        self
    }
}

impl<E: Entity, M: Method<E>> Answer for Typed<E, M> {
    fn outcome(&self) -> Result<Vec<u8>, String> {
        // By reference, so that the value itself still goes to the caller: the same bytes as `Outcome<T, X>`.
        let outcome: Result<&M::Ok, Failed<&M::Err>> = match self.result.as_ref().and_then(Guarded::as_ref) {
            Some(Ok(value)) => Ok(value),
            Some(Err(CallError::Rejected(error))) => Err(Failed::Rejected(error)),
            Some(Err(_)) | None => Err(Failed::GivenUp),
        };
        rmp_serde::to_vec_named(&outcome).map_err(|error| format!("the reply can't be encoded: {error}"))
    }
    fn release(mut self: Box<Self>) {
        match self.reply.take() {
            End::Nobody => {}
            End::Here(slot) => slot.carry(self),
            End::Far(end) => end.answer(self.far_answer()),
        }
    }
    fn fail(mut self: Box<Self>, error: CallError<Never>) {
        let error = match self.replayed && !error.may_have_applied() {
            true => CallError::Unknown { reason: format!("the call was applied before; of its answer: {error}") },
            false => error,
        };
        self.reply.fail(error);
    }
}

impl<E: Entity, M: Method<E>> Carrier<M::Ok, M::Err> for Typed<E, M> {
    fn open(mut self: Box<Self>) -> Result<M::Ok, CallError<M::Err>> {
        self.take_result().unwrap_or_else(|| Err(CallError::Invalid { reason: "the call has no answer in it".into() }))
    }
}

pin_project! {
    /// A handler's future and the call that it answers.
    struct Running<E: Entity, M: Method<E>, F> {
        #[pin]
        future: F,
        job: Option<Box<Typed<E, M>>>,
    }
}

type Answered<E, M> = Result<<M as Method<E>>::Ok, CallError<<M as Method<E>>::Err>>;
type Caught<E, M> = std::thread::Result<(Result<<M as Method<E>>::Ok, <M as Method<E>>::Err>, Turn<E>)>;

impl<E: Entity, M: Method<E>, F: Future<Output = Caught<E, M>>> Future for Running<E, M, F> {
    type Output = Ran;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ran> {
        let this = self.project();
        let ended = ready!(this.future.poll(context));
        let mut job = this.job.take().expect("a future is not polled after it is ready");
        match ended {
            Ok((result, mut turn)) => {
                let verdict = if result.is_ok() { Verdict::Done } else { Verdict::Rejected };
                job.result = Some(Guarded::new(result.map_err(CallError::Rejected)));
                let (effects, failed) = turn.finish();
                Poll::Ready(Ran { effects, failed, verdict, answer: job, panic: None })
            }
            Err(panic) => {
                job.result = Some(Guarded::new(Err(CallError::Panicked)));
                let panic = Some(panic_text(&*panic).to_owned());
                let (effects, failed) = Default::default();
                Poll::Ready(Ran { effects, failed, verdict: Verdict::Panicked, answer: job, panic })
            }
        }
    }
}

impl<E: Entity, M: Method<E>, F: Future<Output = Caught<E, M>>> Run for Running<E, M, F> {
    fn caller(&self) -> Option<Arc<dyn Caller>> {
        self.job.as_ref().and_then(|job| job.reply.caller())
    }
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
