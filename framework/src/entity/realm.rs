use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::SystemTime;

use crate::entity::{Deadlines, Entity, Far, Job, RefInner, Waits};

pub(crate) use crate::clock::Tick;

/// How far the coarse clock may be behind, in ms: a call has that much more, so that it never ends early.
pub(crate) const LAG_MS: Tick = 20;

/// How references reach entities: a silo in this process, or a connection to others.
pub(crate) trait Realm: Send + Sync + 'static {
    /// The [`PortOf`] the kind whose Rust type this is; `None`: nobody hosts it.
    fn port(&self, kind: TypeId) -> Option<&(dyn Any + Send + Sync)>;
    /// The way to other processes; `None`: there are none.
    fn far(&self) -> Option<&Arc<dyn Far>>;
    /// The seed of the hashes that place activations inside a process.
    fn seed(&self) -> u64;
    /// The coarse clock.
    fn tick(&self) -> Tick;
    /// The same clock, read now: for a call that has a time of its own, which must not end early because the thread that
    /// moves the clock was kept from it.
    fn tick_now(&self) -> Tick;
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// How long a call without a timeout of its own may take, in ms.
    fn timeout_default(&self) -> Tick;
    /// Where calls wait.
    fn deadlines(&self) -> &Deadlines;
    /// Whether new work is refused: the silo is shutting down.
    fn is_draining(&self) -> bool;
    /// Counts a notification among those on their way to this arbiter; says whether there is room for it.
    fn admit(&self, arbiter: usize) -> bool;
    /// A notification that counted among those of this arbiter is over.
    fn discharge(&self, arbiter: usize);
    /// Which asks turns wait for.
    fn waits(&self) -> &Waits;
    /// What the silo was given for its handlers.
    fn data(&self, kind: TypeId) -> Option<&Arc<dyn Any + Send + Sync>>;
    /// A number for an ask that a turn makes: greater than that of every such ask before, whatever its thread.
    fn next_ask(&self) -> u64;
    /// A random number that repeats with the seed of a simulation.
    fn random(&self) -> u64;
}

/// The way to the activations of one kind.
pub(crate) trait Port<E: Entity>: Send + Sync + 'static {
    /// The kind's name, as ids share it.
    fn kind(&self) -> &Arc<str>;
    /// Hands over a call that has its head. Its caller hears of a refusal through its slot.
    fn deliver(&self, call: Box<dyn Job<E>>);
    /// Hands it to this process's own activation, or makes one: whoever routes has decided that.
    fn deliver_here(&self, call: Box<dyn Job<E>>);
    /// Runs the call's turn now and on this stack, if its entity lives on this very thread and nothing stands against
    /// it: says the call's number. Gives the call back otherwise.
    fn run_here(&self, call: Box<dyn Job<E>>) -> Result<u64, Box<dyn Job<E>>>;
    /// Whether the entity lives on this very thread.
    fn is_here(&self, to: &RefInner<E>) -> bool;
}

/// A port as [`Realm::port`] keeps it.
pub(crate) struct PortOf<E: Entity>(pub(crate) Arc<dyn Port<E>>);
