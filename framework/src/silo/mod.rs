//! Where entities live: a process with its arbiters, the activations on them, and the way of a call through a turn to
//! its commit.
//!
//! In reading order: [`builder`] makes a [`process`] of a [`shared`] part, its [`threads`] and a [`watch`]; a [`door`] hands calls
//! to the [`host`] of their kind on their arbiter; the host keeps each [`activation`], [`opening`] claims and loads it,
//! [`pump`] starts turns ([`here`]: at once, when the caller is on the same arbiter), [`run`] polls them, [`finish`] ends them, [`settle`] makes their effects part of the [`ledger`]'s next commit,
//! [`commit`] writes it and lets go what it held, [`closing`] ends the activation; [`sweep`] and [`cycle`] look after
//! what takes too long.
//!
//! Two laws, each an absence: no effect leaves a turn before its commit; nothing leaves the outbox that is not committed.

mod activation;
mod agenda;
mod batch;
mod builder;
mod closing;
mod commit;
mod config;
mod correspondence;
mod crew;
mod cycle;
mod delivery;
mod door;
mod environment;
mod finish;
mod gateway;
mod here;
mod host;
mod inbox;
mod ledger;
mod moving;
mod network;
mod opening;
mod process;
mod pump;
mod run;
mod settle;
mod shared;
mod signals;
mod sweep;
#[cfg(test)]
mod tests;
mod threads;
mod turn;
mod unanswered;
mod watch;

// Under this name, so that a test can put other atomics in its place.
use std::sync;

pub use builder::SiloBuilder;
pub use config::Limits;
pub use process::Silo;
#[cfg(feature = "testing")]
pub(crate) use shared::describe_post;
