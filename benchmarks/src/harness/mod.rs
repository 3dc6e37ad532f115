//! Cases are measured in turn, round after round, and become the rows of a table, which a report prints and keeps.

mod case;
mod chart;
mod handover;
mod latencies;
mod machine;
mod options;
mod report;
mod rounds;
mod table;
mod text;
mod usage;

pub use case::{Case, Role, Sample};
pub use latencies::Latencies;
pub use machine::Machine;
pub use options::Options;
pub use report::Report;
pub use rounds::{Measured, rounds};
pub use table::{Goal, Row, Table, Unit};
pub use usage::Watch;
