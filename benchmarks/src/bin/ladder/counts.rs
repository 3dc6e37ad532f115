use std::time::{Duration, Instant};

use benchmarks::{Case, Table};
use serde::{Deserialize, Serialize};

use crate::allocations;
use crate::silos::Silos;

/// Commands that are ours; and the look into the agendas, a thousand at a time, which belongs to no call.
const BESIDE: [&str; 5] = ["config|resetstat", "info", "ping", "flushall", "zrangebyscore"];

/// So long nobody calls.
const IDLE: Duration = Duration::from_secs(2);

/// What one operation needs, other than time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Heap allocations, of all threads.
    pub(crate) allocations: f64,
    /// Commands that Redis ran, those that scripts call included.
    pub(crate) commands: f64,
    /// Scripts that Redis ran.
    pub(crate) scripts: f64,
}

impl Counts {
    pub(crate) fn show(&self, table: &mut Table, row: &str) {
        table.cell(row, "allocations", self.allocations);
        table.cell(row, "Redis commands", self.commands);
        table.cell(row, "scripts", self.scripts);
    }

    /// The lesser one of each.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            allocations: self.allocations.min(other.allocations),
            commands: self.commands.min(other.commands),
            scripts: self.scripts.min(other.scripts),
        }
    }

    /// Two digits after the point.
    pub(crate) fn rounded(self) -> Self {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        Self {
            allocations: rounded(self.allocations),
            commands: rounded(self.commands),
            scripts: rounded(self.scripts),
        }
    }
}

/// Counts what cases need.
pub(crate) struct Counter<'a> {
    silos: &'a Silos<'a>,
    /// What the silos do in [`IDLE`] while nobody calls: they renew leases, and look into their agendas.
    idle: Counts,
}

impl<'a> Counter<'a> {
    pub(crate) fn new(silos: &'a Silos<'a>) -> Self {
        let (idle, ()) = counted(silos, || std::thread::sleep(IDLE));
        Self { silos, idle }
    }

    /// Counts a case that is warm, without what the silos do beside.
    pub(crate) fn count(&self, case: &mut Case<'_>, operations: u64) -> Counts {
        case.run(operations / 10);
        let (all, (sample, elapsed)) = counted(self.silos, || {
            let started = Instant::now();
            (case.run(operations), started.elapsed())
        });
        let times = elapsed.as_secs_f64() / IDLE.as_secs_f64();
        let each = |count: f64, idle: f64| ((count - idle * times) / sample.operations as f64).max(0.0);
        Counts {
            allocations: each(all.allocations, self.idle.allocations),
            commands: each(all.commands, self.idle.commands),
            scripts: each(all.scripts, self.idle.scripts),
        }
    }
}

fn counted<T>(silos: &Silos<'_>, work: impl FnOnce() -> T) -> (Counts, T) {
    silos.redis.reset_commands();
    let (allocations, done) = allocations::count(work);
    let commands = silos.redis.commands();
    let all: u64 = commands.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str())).map(|(_, count)| count).sum();
    let scripts = commands.get("evalsha").copied().unwrap_or(0);
    (Counts { allocations: allocations as f64, commands: all as f64, scripts: scripts as f64 }, done)
}
