use std::collections::{HashMap, HashSet};
use std::fs;

use serde::Serialize;

use crate::harness::handover::handover;

/// Above this share of the machine's time others disturb what is measured.
const BUSY: f64 = 0.05;

/// Who else used the machine while something was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Usage {
    /// The load average over a minute, at the end.
    pub(crate) load_average: String,
    /// The share of all cores' time that processes other than this one and its children used.
    pub(crate) others: f64,
    /// The share that the host of a virtual machine gave to somebody else.
    pub(crate) stolen: f64,
    /// What it took until one core saw what another one wrote, in ns: before and after.
    pub(crate) handover_ns: Vec<f64>,
}

/// Watches, from here on, who else uses the machine: for a table whose figures [`rounds`](crate::rounds) does not measure.
#[derive(Debug)]
pub struct Watch {
    // The clocks of the kernel when it began, in ticks.
    machine: Ticks,
    ours: u64,
    handover_ns: Option<f64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Ticks {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl Usage {
    /// What a reader has to be told.
    pub(crate) fn line(&self) -> String {
        let shares = format!("others used {:.0} % of the cores", self.others * 100.0);
        let stolen = if self.stolen < 0.005 { String::new() } else { format!(", stolen {:.0} %", self.stolen * 100.0) };
        let warning = if self.is_disturbed() { "  — BUSY: believe ratios at most" } else { "" };
        let handover = match self.handover_ns[..] {
            [before, after] => format!("; from core to core {before:.0} ns before it, {after:.0} ns after"),
            _ => String::new(),
        };
        format!("load average {}; {shares}{stolen}{handover}{warning}", self.load_average)
    }

    pub(crate) fn is_disturbed(&self) -> bool {
        self.others + self.stolen > BUSY
    }
}

impl Watch {
    /// Begins.
    pub fn begin() -> Self {
        let handover_ns = handover();
        Self { machine: Ticks::read(), ours: ours(), handover_ns }
    }

    pub(crate) fn end(&self) -> Usage {
        let (machine, ours) = (Ticks::read(), ours().saturating_sub(self.ours));
        let all = machine.all.saturating_sub(self.machine.all).max(1) as f64;
        let others = machine.busy.saturating_sub(self.machine.busy).saturating_sub(ours);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Usage {
            load_average: load.split(' ').next().unwrap_or_default().to_owned(),
            others: others as f64 / all,
            stolen: machine.stolen.saturating_sub(self.machine.stolen) as f64 / all,
            handover_ns: self.handover_ns.into_iter().chain(handover()).collect(),
        }
    }
}

impl Ticks {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|tick| tick.parse().ok()).collect();
        let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
        // user, nice, system, idle, iowait, irq, softirq, steal
        let (idle, stolen) = (at(3) + at(4), at(7));
        let all = (0..8).map(at).sum();
        Self { all, busy: all - idle - stolen, stolen }
    }
}

/// The ticks that this process and its descendants have used.
fn ours() -> u64 {
    let processes: HashMap<u32, (u32, u64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_and_ticks(pid)?)))
        .collect();
    let mut family = HashSet::from([std::process::id()]);
    loop {
        let before = family.len();
        family.extend(
            processes
                .iter()
                .filter(|(_, (parent, _))| family.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            return family.iter().filter_map(|pid| processes.get(pid)).map(|(_, ticks)| ticks).sum();
        }
    }
}

/// Reads `/proc/<pid>/stat`: the ticks in it are those of its threads, and of its children that have ended.
fn parent_and_ticks(pid: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|tick| tick.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}
