//! What an entity is: its kind, key and id, its reference, its handlers as data, and the turn that a handler is given.
//!
//! The room does no I/O, spawns nothing and reads no clock. What a handler asks of its turn becomes [`Effects`]: data that
//! the silo commits, or drops.

mod arguments;
mod effects;
mod errand;
mod expiry;
mod gate;
mod guarded;
#[cfg(test)]
mod interleavings;
mod job;
mod key;
mod kind;
mod method;
mod origin;
mod realm;
mod reference;
mod reply;
mod slot;
mod state;
mod turn;
mod waits;

// Under this name, so that a test can put other locks in its place.
use std::sync;

pub use arguments::Args;
pub use effects::Stage;
pub use key::{IntoKey, Key};
pub use kind::{Durable, Entity, Handlers, Placement, Settings};
pub use method::{Method, MethodInfo, Methods, exclusive, read};
pub use reference::{RawRef, Reference};
pub use reply::{Fallible, NotResult, OutcomeOf, Probe, Wire, outcome};
pub(crate) use state::Foreign;
pub use state::{StateCell, StateCodec, Stored};
pub use turn::{Superseded, Turn};

pub(crate) use arguments::push_element;
pub(crate) use effects::{Act, Effects, Schedule, Staged};
pub(crate) use errand::{Errand, Far, FarEnd, FarPort, Traveller, chain_from, lost_reply, too_long, unhosted};
pub(crate) use expiry::{Deadlines, Expire, NoEntry, Ticket};
pub(crate) use gate::Gate;
pub(crate) use guarded::{Guarded, guarded};
pub(crate) use job::{Answer, Head, Job, Ran, Request, Run, Source, Special, Typed, Verdict, panic_text};
pub(crate) use origin::{Cause, Named, Origin};
pub(crate) use realm::{LAG_MS, Port, PortOf, Realm, Tick};
pub(crate) use reference::{Anchor, RefInner};
pub(crate) use slot::{Caller, Carrier, End, Reply, Slot, Waking};
pub(crate) use turn::{Link, Provenance, TurnSeed};
pub(crate) use waits::{Wait, Waits};
