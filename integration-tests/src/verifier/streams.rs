use std::collections::BTreeMap;

use crate::application::Stream;
use crate::recording::{Operation, Recording};
use crate::verifier::replies::outcomes;
use crate::verifier::{FinalState, Invariant, Verdict};

pub(crate) fn check(recording: &Recording, state: &FinalState, verdict: &mut Verdict) {
    // From clients to sources.
    let mut known: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for (ask, outcome) in outcomes(recording) {
        if let Operation::Emit { source, window, count } = &ask.operation {
            let (least, most) = known.entry((source, window)).or_default();
            *least += if outcome.is_applied() { *count } else { 0 };
            *most += if outcome.is_refused() { 0 } else { *count };
        }
    }
    for ((source, window), (least, most)) in known {
        let sent = state.sources.get(source).and_then(|sent| sent.get(window)).copied().unwrap_or(0);
        if sent < least {
            verdict.figures.lost += 1;
            let what = format!("{source} sent {sent} to {window}, and {least} were acknowledged");
            verdict.add(Invariant::AcknowledgedLost, what);
        }
        if sent > most {
            verdict.figures.duplicated += 1;
            let what = format!("{source} sent {sent} to {window}, and at most {most} were asked for");
            verdict.add(Invariant::ExactlyOnce, what);
        }
    }
    // From sources to windows.
    let none = Stream::default();
    for (source, window, sent, stream) in state.flows() {
        let (flow, stream) = (format!("{source} → {window}"), stream.unwrap_or(&none));
        one_stream(&flow, stream, verdict);
        if stream.highest > sent {
            let what = format!("{flow}: number {} came, and {sent} were sent", stream.highest);
            verdict.add(Invariant::ExactlyOnce, what);
        }
        let missing_at_the_end = sent.saturating_sub(stream.highest);
        if missing_at_the_end > 0 {
            // Not delivered yet, or never: only time could tell, and there was enough of it.
            let what = format!("{flow}: {sent} were sent, and the last that came is {}", stream.highest);
            verdict.add(Invariant::Drained, what);
        }
    }
    for (window, streams) in &state.windows {
        for source in streams.keys() {
            if !state.sources.get(source).is_some_and(|sent| sent.contains_key(window)) {
                verdict.add(Invariant::ExactlyOnce, format!("{source} → {window}: messages came, and none were sent"));
            }
        }
    }
    for due in state.due.iter().flatten() {
        verdict.add(Invariant::Drained, format!("the store's agenda still names {due}"));
    }
}

fn one_stream(flow: &str, stream: &Stream, verdict: &mut Verdict) {
    if !stream.missing.is_empty() {
        verdict.figures.lost += stream.missing.len() as u64;
        verdict.add(Invariant::ExactlyOnce, format!("{flow}: lost {:?}", stream.missing));
    }
    if stream.duplicated > 0 {
        verdict.figures.duplicated += stream.duplicated;
        verdict
            .add(Invariant::ExactlyOnce, format!("{flow}: {} came twice; last {:?}", stream.duplicated, stream.last));
    }
    if stream.corrupted > 0 {
        verdict.add(Invariant::Order, format!("{flow}: {} are not what was sent", stream.corrupted));
    }
    let in_a_row = stream.last.iter().zip(stream.last.iter().skip(1)).all(|(one, next)| *next == one + 1);
    let ends_there = stream.last.back().copied().unwrap_or(0) == stream.highest;
    if stream.reordered > 0 || !in_a_row || !ends_there {
        verdict.figures.reordered += stream.reordered;
        verdict.add(Invariant::Order, format!("{flow}: {} were overtaken; last {:?}", stream.reordered, stream.last));
    }
}
