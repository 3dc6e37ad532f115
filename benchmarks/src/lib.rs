//! What grange costs, beside the limits of the machine and beside peers, in the same run.
//!
//! The machine is shared and drifts, so a figure is a ratio of things measured in turn. A program here makes a [`Case`] of
//! each thing, lets [`rounds`] measure them in turn, puts what came out into a [`Table`], and gives that to a
//! [`Report`], which prints it and keeps it as JSON and as a plot:
//!
//! ```no_run
//! use benchmarks::{Case, Goal, Options, Report, Sample, Table, Unit, rounds};
//!
//! let mut report = Report::new("example", Options::from_arguments());
//! let measured = rounds(report.options(), vec![
//!     Case::limit("the limit", |operations| Sample::timed(operations, || { /* … */ })),
//!     Case::grange("an ask", |operations| Sample::timed(operations, || { /* … */ })),
//! ]);
//! let mut table = Table::new("one caller", Unit::NanosEach, measured);
//! table.goal("an ask", Goal::RatioAtMost(1.3));
//! report.show(table);
//! report.finish();
//! ```
//!
//! Latencies under a load that does not wait for answers: [`open_loop`]. Allocations: [`allocations`]. A Redis of one's own:
//! [`servers`]. Work on an arbiter of a silo: [`arbiter`]. As many calls as there can be: [`closed_loop`]. More processes:
//! [`processes`].

pub mod allocations;
pub mod arbiter;
pub mod bare;
pub mod callers;
pub mod closed_loop;
pub mod echo;
mod harness;
pub mod local;
pub mod open_loop;
pub mod processes;
pub mod raw;
pub mod servers;
pub mod subjects;

pub use harness::{
    Case, Goal, Latencies, Machine, Measured, Options, Report, Role, Row, Sample, Table, Unit, Watch, rounds,
};
