//! Virtual actors for Rust.

extern crate self as grange;

mod client;
mod clock;
mod cluster;
mod entity;
mod error;
mod messaging;
mod mutant;
mod silo;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod variables;
pub mod wire;
mod world;

pub use client::{Ask, Call, Client, Connect, Continuation, Message};
pub use entity::{Durable, Entity, Handlers, IntoKey, Key, Reference, Stage, Superseded, Turn, Wire};
pub use error::{CallError, Error, Failed, Never, Outcome, Result};
pub use grange_macros::{entity, main, test};
pub use messaging::{Cause, DeadLetter};
#[cfg(feature = "testing")]
pub use mutant::Mutant;
pub use silo::{Limits, Silo, SiloBuilder};

/// What code with entities needs: `use grange::prelude::*;`. Never a `Result`.
pub mod prelude {
    pub use std::time::Duration;

    pub use grange_macros::entity;
    pub use serde::{Deserialize, Serialize};
    pub use uuid::Uuid;

    pub use crate::{Call, CallError, Client, Failed, Never, Outcome, Reference as _, Silo, Turn};
}

impl Silo {
    /// A client inside this process: what it calls here moves its arguments, without a copy.
    pub fn client(&self) -> Client {
        Client::new(self.realm())
    }
}

/// For generated code only: no promise of stability.
#[doc(hidden)]
pub mod rt {
    pub use crate::client::{call, continuation};
    pub use crate::entity::{
        Args, Fallible, Method, MethodInfo, Methods, NotResult, OutcomeOf, Placement, Probe, RawRef, Settings,
        StateCell, StateCodec, Stored, exclusive, outcome, read,
    };

    /// Runs a program or a test on an actix `System` of its own.
    pub fn block_on<F: Future>(future: F) -> F::Output {
        actix_rt::System::new().block_on(future)
    }
}

/// The README's example is compiled.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../README.md")]
struct Readme;
