use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::entity::{Args, Entity, Job, StateCell, Turn, Typed, Wire, guarded};

/// One handler, as the macro describes it.
#[doc(hidden)]
pub trait Method<E: Entity>: 'static {
    /// The owned arguments; a continuation's last one is its outcome.
    type Args: Args;
    /// What it replies.
    type Ok: Wire;
    /// What it rejects with.
    type Err: Wire;
    /// Its name and manner: a static of its own.
    fn info() -> &'static MethodInfo;
    /// Runs it. The future owns the state's cell and borrows from it.
    fn run(
        state: StateCell<E>,
        arguments: Self::Args,
        turn: Turn<E>,
    ) -> impl Future<Output = (Result<Self::Ok, Self::Err>, Turn<E>)> + 'static;
}

/// What is known of a handler without its types.
#[doc(hidden)]
#[derive(Debug)]
pub struct MethodInfo {
    /// The kind of its entity.
    pub kind: &'static str,
    /// Its name on the wire.
    pub name: &'static str,
    /// `&mut self`.
    pub exclusive: bool,
    /// Its number in this process; 0 until it is registered.
    number: AtomicU32,
}

/// Every handler of this process: its number is its place, plus one. For the watch over blocked arbiters, which can
/// share a number with them without a lock.
static NUMBERED: Mutex<Vec<&'static MethodInfo>> = Mutex::new(Vec::new());

impl MethodInfo {
    /// A handler that no silo knows yet.
    pub const fn new(kind: &'static str, name: &'static str, exclusive: bool) -> Self {
        Self { kind, name, exclusive, number: AtomicU32::new(0) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    pub(crate) fn by_number(number: u32) -> Option<&'static Self> {
        let numbered = NUMBERED.lock().unwrap_or_else(PoisonError::into_inner);
        numbered.get((number as usize).checked_sub(1)?).copied()
    }

    fn register(&'static self) {
        let mut numbered = NUMBERED.lock().unwrap_or_else(PoisonError::into_inner);
        if self.number() == 0 {
            numbered.push(self);
            self.number.store(numbered.len() as u32, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for MethodInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.kind, self.name)
    }
}

type Make<E> = fn() -> Box<dyn Job<E>>;
type Decode<E> = fn(&[u8]) -> Result<Box<dyn Job<E>>, rmp_serde::decode::Error>;

/// The handlers of one kind: filled by generated code, read by the silo.
#[doc(hidden)]
pub struct Methods<E: Entity> {
    by_name: HashMap<&'static str, Decode<E>, RandomState>,
    on_activate: Option<Make<E>>,
    on_deactivate: Option<Make<E>>,
}

impl<E: Entity> fmt::Debug for Methods<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl<E: Entity> Methods<E> {
    pub(crate) fn new() -> Self {
        Self { by_name: HashMap::default(), on_activate: None, on_deactivate: None }
    }

    /// A handler.
    pub fn add<M: Method<E>>(&mut self) {
        M::info().register();
        self.by_name.insert(M::info().name, |bytes| Ok(Box::new(Typed::<E, M>::decode(bytes)?)));
    }

    /// The hook that runs before the first turn of an activation.
    pub fn on_activate<M: Method<E, Args = ()>>(&mut self) {
        M::info().register();
        self.on_activate = Some(|| Box::new(Typed::<E, M>::new(())));
    }

    /// The hook that runs after the last turn of an activation.
    pub fn on_deactivate<M: Method<E, Args = ()>>(&mut self) {
        M::info().register();
        self.on_deactivate = Some(|| Box::new(Typed::<E, M>::new(())));
    }

    /// A call of the handler `name` from bytes; `None`: this version has no such handler.
    pub(crate) fn decode(&self, name: &str, arguments: &[u8]) -> Option<Result<Box<dyn Job<E>>, String>> {
        let decode = self.by_name.get(name)?;
        Some(match guarded(|| decode(arguments)) {
            Ok(decoded) => decoded.map_err(|error| error.to_string()),
            Err(panic) => Err(format!("`Deserialize` of an argument panicked: {panic}")),
        })
    }

    pub(crate) fn activating(&self) -> Option<Box<dyn Job<E>>> {
        self.on_activate.map(|make| make())
    }

    pub(crate) fn deactivating(&self) -> Option<Box<dyn Job<E>>> {
        self.on_deactivate.map(|make| make())
    }
}

/// Runs a read. The future owns the cell and borrows from it: self-referential, written by rustc, without `unsafe`.
/// The activation's queue guarantees that the borrow succeeds.
// No `async fn`: what that is given is moved once more when it is first polled, and its future is larger by as much.
#[doc(hidden)]
#[allow(clippy::await_holding_refcell_ref, clippy::manual_async_fn)]
pub fn read<E: Entity, R>(
    state: StateCell<E>,
    turn: Turn<E>,
    handler: impl AsyncFnOnce(&E, &Turn<E>) -> R,
) -> impl Future<Output = (R, Turn<E>)> {
    async move {
        let result = handler(&state.borrow(), &turn).await;
        (result, turn)
    }
}

/// Runs an exclusive handler; see [`read`].
#[doc(hidden)]
#[allow(clippy::await_holding_refcell_ref, clippy::manual_async_fn)]
pub fn exclusive<E: Entity, R>(
    state: StateCell<E>,
    mut turn: Turn<E>,
    handler: impl AsyncFnOnce(&mut E, &mut Turn<E>) -> R,
) -> impl Future<Output = (R, Turn<E>)> {
    async move {
        let result = handler(&mut state.borrow_mut(), &mut turn).await;
        (result, turn)
    }
}
