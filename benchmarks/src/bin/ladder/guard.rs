//! Counts beside those that are stored: what a call allocates, and asks of Redis, must not grow unnoticed.
//!
//! Times say nothing on a machine that is shared; counts are the same on all. What depends on how turns happen to gather
//! (many callers on a store that takes its time) is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use benchmarks::Options;
use benchmarks::callers::Callers;

use crate::counts::{Counter, Counts};
use crate::silos::Silos;
use crate::steps::Step;

/// A count may grow by its step's tolerance and so much more, for what silos do beside: they renew leases, and look into
/// their agendas.
const BESIDE: f64 = 0.1;

/// The least of so many runs counts: what happens beside only adds.
const RUNS: usize = 3;

type Stored = BTreeMap<String, Counts>;

/// What was counted, with how much of each may be ignored.
type Counted = BTreeMap<String, (Counts, f64)>;

/// Compares, or stores where that was asked for.
pub(crate) fn run(options: &Options, silos: &Silos<'_>) -> ExitCode {
    let counted = count(silos);
    if options.store {
        let counted: Stored = counted.into_iter().map(|(name, (counts, _))| (name, counts)).collect();
        let text = serde_json::to_string_pretty(&counted).expect("counts are JSON") + "\n";
        fs::write(path(), text).expect("the counts can be written");
        println!("stored in {}", path().display());
        return ExitCode::SUCCESS;
    }
    let stored = fs::read_to_string(path()).expect("there are stored counts");
    let stored: Stored = serde_json::from_str(&stored).expect("stored counts are JSON");
    let complaints = compare(&stored, &counted);
    if complaints.is_empty() {
        println!("no count has grown");
        return ExitCode::SUCCESS;
    }
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    eprintln!(
        "if that is worth it: `cargo xtask bench ladder --store`, and the reason goes with the change of {}",
        path().display()
    );
    ExitCode::FAILURE
}

fn count(silos: &Silos<'_>) -> Counted {
    println!("{:<52} {:>12} {:>15} {:>9}", "each", "allocations", "Redis commands", "scripts");
    let (mut counted, counter) = (Counted::new(), Counter::new(silos));
    for (shape, callers) in [("one caller", Callers(1)), ("100 callers", Callers(100))] {
        for step in Step::all().into_iter().filter(|step| callers.0 == 1 || step.is_in_memory()) {
            let mut case = step.case(silos, callers);
            let least = (0..RUNS).map(|_| counter.count(&mut case, step.counted())).reduce(Counts::least);
            let Some(Counts { allocations, commands, scripts }) = least else { continue };
            let name = format!("{}, {shape}", step.name());
            println!("{name:<52} {allocations:>12.2} {commands:>15.2} {scripts:>9.2}");
            counted.insert(name, (Counts { allocations, commands, scripts }.rounded(), step.tolerance()));
        }
    }
    counted
}

fn compare(stored: &Stored, counted: &Counted) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, (now, tolerance)) in counted {
        let Some(then) = stored.get(name) else {
            complaints.push(format!("{name}: nothing is stored"));
            continue;
        };
        let figures = [
            ("allocations", then.allocations, now.allocations),
            ("Redis commands", then.commands, now.commands),
            ("scripts", then.scripts, now.scripts),
        ];
        let grown = figures.into_iter().filter(|(_, then, now)| *now > then * tolerance + BESIDE);
        complaints.extend(grown.map(|(what, then, now)| format!("{name}: {what} grew from {then:.2} to {now:.2}")));
    }
    complaints.extend(stored.keys().filter(|name| !counted.contains_key(*name)).map(|name| format!("{name}: is gone")));
    complaints
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ladder.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [String; 0] = [];

    fn counts(allocations: f64, commands: f64) -> Counts {
        Counts { allocations, commands, scripts: 0.0 }
    }

    fn complaints(stored: Counts, counted: Counts) -> Vec<String> {
        let counted = Counted::from([("ask".to_owned(), (counted, 1.05))]);
        compare(&Stored::from([("ask".to_owned(), stored)]), &counted)
    }

    #[test]
    fn a_count_that_grew_is_named() {
        assert_eq!(complaints(counts(2.0, 7.0), counts(3.0, 7.0)), ["ask: allocations grew from 2.00 to 3.00"]);
    }

    #[test]
    fn what_silos_do_beside_is_no_growth() {
        assert_eq!(complaints(counts(2.0, 7.0), counts(2.05, 7.2)), NOTHING);
    }

    #[test]
    fn what_nothing_is_known_of_is_named() {
        let counted = Counted::from([("ask".to_owned(), (counts(1.0, 1.0), 1.05))]);
        assert_eq!(compare(&Stored::new(), &counted), ["ask: nothing is stored"]);
    }
}
