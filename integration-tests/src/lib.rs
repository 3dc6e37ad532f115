//! Promises kept by real processes on real stores, checked from outside.
//!
//! What is under test runs as processes of its own, silos and Redis servers ([`servers`]), joined by TCP
//! connections that can be cut, held and slowed ([`proxy`]). A client asks the entities of [`application`] for work and
//! writes down what it asked and what it was answered ([`recording`]). At the end a verifier ([`verifier`]) that knows
//! only the recording and the final state says which promise was broken, by name. `bench` puts these
//! together, and `chaos` kills silos meanwhile.
//!
//! Seeds repeat the choices of a run, not its timing: real processes have that of their own. In [`simulation`] the same entities, load
//! and verifier meet a cluster in one thread, where a seed repeats everything.

pub mod application;
pub mod bench;
pub mod chaos;
pub mod load;
pub mod model;
pub mod proxy;
pub mod random;
pub mod recording;
pub mod servers;
pub mod simulation;
pub mod verifier;
pub mod wait;
