//! Runs a cluster in one thread, under virtual time, from many seeds: `cargo xtask simulate`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use grange::Mutant;
use grange::testing::{Faults, Injected};
use integration_tests::simulation::chance;
use integration_tests::simulation::mutants::{Killed, SEEDS, kill};
use integration_tests::simulation::stories::STORIES;

const HELP: &str = "\
cargo xtask simulate [--seeds N] [--from SEED]
cargo xtask simulate --mutants
cargo xtask simulate --sweep [NAME]
cargo xtask simulate --story NAME [POINT:FAULT ...]

Runs N simulations, 100 unless said otherwise, from this seed on or from 0: three silos, a client, the network and the store in one
thread under virtual time, with a load and every kind of fault. Each is judged from outside, by the verifier of the real processes.
With --sweep: tells small stories, or those whose name begins so, each again with every single fault, and with some pairs of them.
With --story: tells the one whose name begins so, with these faults at these points, as a sweep names them, and prints what happened:
`--story reminder 74:Crash 360:Pause`.
With --mutants: plants each known mistake in the protocol, and prints which seed found it, as a table (docs/mutants.md).
Exit status: 0 all is well, 1 a promise was broken, 2 wrong command line.";

#[derive(Default)]
struct Sum {
    injected: BTreeMap<Injected, u64>,
    points: u64,
    writes: u64,
    events: u64,
    operations: u64,
    messages: u64,
    unknown: u64,
    failures: Vec<(u64, String)>,
}

/// So many pairs of faults are tried for each story.
const PAIRS: usize = 300;

/// So many failures are shown.
const SHOWN: usize = 3;

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
#[allow(clippy::disallowed_methods, reason = "how long the program takes")]
fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--mutants"]) {
        return mutants();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, name @ ..] = &arguments[..]
        && option == "--sweep"
    {
        return sweep(PAIRS, name.first().map_or("", String::as_str));
    }
    if let [option, name, faults @ ..] = &arguments[..]
        && option == "--story"
    {
        return tell(name, faults);
    }
    let (seeds, from) = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("simulate: {mistake}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let report = chance::run(seed, Faults::all(), None);
                    let mut sum = sum.lock().expect("whole");
                    report.injected.iter().for_each(|(fault, count)| *sum.injected.entry(*fault).or_default() += count);
                    sum.points += report.points;
                    sum.writes += report.writes;
                    sum.events += report.timeline.len();
                    match &report.outcome {
                        Ok(verdict) => {
                            sum.operations += verdict.figures.operations;
                            sum.messages += verdict.figures.messages;
                            sum.unknown += verdict.figures.unknown;
                        }
                        Err(why) => {
                            let text = if sum.failures.len() < SHOWN { report.told(why) } else { String::new() };
                            sum.failures.push((seed, text));
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().expect("whole");
    for (seed, text) in sum.failures.iter().take(SHOWN) {
        println!("seed {seed}:\n{text}\n");
    }
    println!("seeds         {seeds}, from {from}");
    println!("took          {:.1} s", started.elapsed().as_secs_f64());
    println!("events        {}, {} of them points where something could go wrong", sum.events, sum.points);
    println!(
        "operations    {}, {} of unknown outcome; {} numbered messages",
        sum.operations, sum.unknown, sum.messages
    );
    println!("faults        {}", sum.injected.values().sum::<u64>());
    for (fault, count) in &sum.injected {
        println!("  {:<18} {count}", format!("{fault:?}"));
    }
    println!(
        "checked       I2 conservation, I3 nothing acknowledged is lost, I4 exactly once, I5 order, I6 same reply,"
    );
    println!(
        "              I7 in time, I8 drained, I10 linearizable; one writer at a time, at {} claims and",
        sum.writes
    );
    println!("              commits; no run that does not end");
    let failed: Vec<u64> = sum.failures.iter().map(|(seed, _)| *seed).collect();
    println!(
        "violations    {}{}",
        failed.len(),
        if failed.is_empty() { String::new() } else { format!(": seeds {failed:?}") }
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plants each mutant, and prints what found it, as a table.
#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn mutants() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(0);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let killed = kill(*mutant);
                    found.lock().expect("whole").insert(*mutant, killed);
                }
            });
        }
    });
    println!("| mutant | what it does | found by | what was noticed |\n|---|---|---|---|");
    let found = found.into_inner().expect("whole");
    for (mutant, killed) in &found {
        let (by, why) = match killed {
            Some(Killed { by, why }) => (by.clone(), why.replace('|', "/")),
            None => ("**none**".into(), format!("it survives {SEEDS} seeds")),
        };
        println!("| `{mutant:?}` | {} | {by} | {why} |", mutant.what());
    }
    if found.values().all(Option::is_some) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `None`: help is wanted.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<(u64, u64)>, String> {
    let (mut seeds, mut from) = (100, 0);
    while let Some(option) = arguments.next() {
        if ["--help", "-h"].contains(&option.as_str()) {
            return Ok(None);
        }
        let value = arguments.next();
        let number = value.as_deref().and_then(|value| value.parse::<u64>().ok());
        let number = number.ok_or_else(|| format!("{option} {}: a number is missing", value.unwrap_or_default()));
        match option.as_str() {
            "--seeds" => seeds = number?,
            "--from" => from = number?,
            other => return Err(format!("it does not know `{other}`")),
        }
    }
    Ok(Some((seeds, from)))
}

/// Tells one story with these faults, and prints all that happened.
#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn tell(name: &str, faults: &[String]) -> ExitCode {
    let Some(story) = STORIES.iter().find(|story| story.name.starts_with(name)) else {
        let names: Vec<_> = STORIES.iter().map(|story| story.name).collect();
        eprintln!("simulate: there is no story {name:?}; there are:\n  {}", names.join("\n  "));
        return ExitCode::from(2);
    };
    let faults: Result<Vec<_>, String> = faults.iter().map(|fault| point(fault)).collect();
    std::panic::set_hook(Box::new(|_| {}));
    let report = match faults {
        Ok(faults) => story.run_exactly(faults),
        Err(mistake) => {
            eprintln!("simulate: {mistake}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    print!("{}", report.timeline);
    match &report.outcome {
        Ok(()) => {
            println!("it ended well");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("it failed: {why}");
            ExitCode::FAILURE
        }
    }
}

/// `74:Crash`.
fn point(text: &str) -> Result<(u64, Injected), String> {
    let wanted = || format!("{text:?} is no fault at a point, as `74:Crash`");
    let (number, name) = text.split_once(':').ok_or_else(wanted)?;
    let named = |fault: &Injected| format!("{fault:?}") == name;
    let fault = Injected::ALL.into_iter().chain([Injected::StoreForgets]).find(named).ok_or_else(wanted)?;
    Ok((number.parse().map_err(|_| wanted())?, fault))
}

/// Tells each story whose name begins so once, and again with each single fault, and with some pairs.
#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn sweep(pairs: usize, name: &str) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let stories: Vec<_> = STORIES.iter().filter(|story| story.name.starts_with(name)).collect();
    let (next, sum) = (AtomicU64::new(0), Mutex::new((0, 0, 0)));
    println!("{:<42} {:>7} {:>8} {:>7} {:>9}", "story", "points", "singles", "pairs", "failures");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(story) = stories.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let sweep = story.sweep(pairs);
                    let mut sum = sum.lock().expect("whole");
                    println!(
                        "{:<42} {:>7} {:>8} {:>7} {:>9}",
                        story.name,
                        sweep.points,
                        sweep.singles,
                        sweep.pairs,
                        sweep.failures.len()
                    );
                    for failure in sweep.failures.iter().take(2) {
                        println!("\n{failure}\n");
                    }
                    sum.0 += sweep.singles;
                    sum.1 += sweep.pairs;
                    sum.2 += sweep.failures.len();
                }
            });
        }
    });
    let (singles, pairs, failures) = sum.into_inner().expect("whole");
    println!("{} stories, {singles} single faults, {pairs} pairs, {failures} failures", stories.len());
    if failures == 0 && !stories.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
