//! For tests of grange, of stores made by others, and of what is built on grange.

mod cluster;
mod faulty;
mod simulation;
mod turn;

pub mod conformance;
pub mod wire;

pub use cluster::TestCluster;
pub use faulty::{Fault, FaultyStore, Seen};
pub use simulation::{Event, Failure, Faults, Injected, Point, Report, Simulated, Simulation, Sweep, Timeline};
pub use turn::{Data, Effect, Sent, turn, turn_with};
