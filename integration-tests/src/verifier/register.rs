//! A register is linearizable if each operation can be given a moment between its ask and its end such that every read
//! finds what was written last.
//!
//! Each value is written once, so this can be decided in the time of a sort (Gibbons and Korach, *Testing Shared
//! Memories*, 1997). Take a write and the reads of its value together. If one of them ended before another began, the
//! register must have had the value all the time between the first end and the last beginning: a *forward zone*. Else all
//! of them overlap, and any moment from the last beginning to the first end will do: a *backward zone*. The history is
//! linearizable exactly if no two forward zones overlap and no backward zone lies in a forward one.

use std::collections::BTreeMap;

use crate::recording::{Operation, Recording};
use crate::verifier::{FinalState, Invariant, Verdict};

/// Later than every line of a journal.
const NEVER: u64 = u64::MAX;

/// An operation on one register: from when to when, and the value that it wrote or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Whether it wrote.
    pub is_write: bool,
    /// The value.
    pub value: u64,
    /// When it was asked; a place in an order, no two the same.
    pub from: u64,
    /// When it ended; `None`: it may take effect at any time from its ask on, or never.
    pub to: Option<u64>,
}

pub(crate) fn check(recording: &Recording, state: &FinalState, verdict: &mut Verdict) {
    let mut histories: BTreeMap<&str, Vec<Interval>> = BTreeMap::new();
    for ask in &recording.asks {
        let to = ask.answer().and(ask.ended.as_ref()).map(|(moment, _, _)| moment.line);
        let (register, is_write, value) = match &ask.operation {
            // Without an effect, for certain.
            Operation::Write { .. } if ask.is_refused() => continue,
            Operation::Write { register, value } => (register, true, *value),
            Operation::Read { register } => match ask.answer() {
                Some(value) => (register, false, value),
                None => continue,
            },
            _ => continue,
        };
        histories.entry(register).or_default().push(Interval { is_write, value, from: ask.asked.line, to });
    }
    for (register, history) in &mut histories {
        // A write that was asked for again under its key is one write, from its first ask to its first answer.
        join_repeats(history);
        if let Some(value) = state.registers.get(*register) {
            // Read when everything was over.
            history.push(Interval { is_write: false, value: *value, from: NEVER - 1, to: Some(NEVER) });
        }
        if let Err(what) = is_linearizable(history) {
            verdict.add(Invariant::Linearizable, format!("{register}: {what}"));
        }
    }
}

fn join_repeats(history: &mut Vec<Interval>) {
    let mut writes: BTreeMap<u64, Interval> = BTreeMap::new();
    history.retain(|interval| {
        if !interval.is_write {
            return true;
        }
        let first = writes.entry(interval.value).or_insert(*interval);
        first.from = first.from.min(interval.from);
        first.to = first.to.into_iter().chain(interval.to).min();
        false
    });
    history.extend(writes.into_values());
}

/// A write and the reads of its value.
struct Cluster {
    value: u64,
    write: Option<Interval>,
    first_end: u64,
    last_start: u64,
}

/// Whether this history of one register, 0 at first, in which each value is written once, is linearizable.
///
/// # Errors
/// Says which values show that it is not.
pub fn is_linearizable(history: &[Interval]) -> Result<(), String> {
    let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
    // What it is at first, as a write before everything: moments are moved by one to make room.
    let initial = Interval { is_write: true, value: 0, from: 0, to: Some(0) };
    let moved = |moment: u64| moment.saturating_add(1);
    let later =
        history.iter().map(|interval| Interval { from: moved(interval.from), to: interval.to.map(moved), ..*interval });
    for interval in std::iter::once(initial).chain(later) {
        let value = interval.value;
        let cluster = clusters.entry(value).or_insert(Cluster { value, write: None, first_end: NEVER, last_start: 0 });
        if interval.is_write && cluster.write.replace(interval).is_some() {
            return Err(format!("{value} is written twice: the history can't be judged"));
        }
        cluster.first_end = cluster.first_end.min(interval.to.unwrap_or(NEVER));
        cluster.last_start = cluster.last_start.max(interval.from);
    }
    let mut forward: Vec<Cluster> = Vec::new();
    let mut backward = Vec::new();
    for cluster in clusters.into_values() {
        let Some(write) = cluster.write else {
            return Err(format!("{} was read, and nobody wrote it", cluster.value));
        };
        if cluster.first_end < write.from {
            return Err(format!("{} was read before it was written", cluster.value));
        }
        if cluster.first_end < cluster.last_start {
            forward.push(cluster);
        } else if cluster.first_end != NEVER {
            // One that never ended and was never read may as well not have happened.
            backward.push(cluster);
        }
    }
    forward.sort_by_key(|cluster| cluster.first_end);
    for pair in forward.windows(2) {
        let [one, next] = pair else { continue };
        if next.first_end < one.last_start {
            return Err(format!("{} and {} were the value at the same time", one.value, next.value));
        }
    }
    for cluster in backward {
        // The last forward zone that begins before this one does: they don't overlap, so only it can contain it.
        let before = forward.partition_point(|zone| zone.first_end < cluster.last_start);
        let around = before.checked_sub(1).and_then(|index| forward.get(index));
        if let Some(around) = around.filter(|zone| cluster.first_end < zone.last_start) {
            return Err(format!("{} was the value in the midst of {}", cluster.value, around.value));
        }
    }
    Ok(())
}
