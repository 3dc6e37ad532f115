//! The project's own commands: `cargo xtask help`.

mod bench;
mod machine;
mod step;

use std::env;
use std::process::ExitCode;

use step::Step;

const HELP: &str = "\
cargo xtask test [--long]   everything the tests need, then all tests and documentation examples
cargo xtask chaos [--seconds N] [--seed S] [--silos N]
                            kills silos under load, and verifies from outside that no promise was broken
cargo xtask simulate [--seeds N] [--from SEED] | --sweep [NAME] | --story NAME [POINT:FAULT ...] | --mutants
                            a cluster in one thread under virtual time, with every kind of fault, from each of N seeds
cargo xtask bench [NAME] [--quick] [--rounds N] [--only TEXT]
                            measures grange beside the limits of the machine, and keeps what it finds in benchmarks/results;
                            ladder, limits, peers, market-spread, storage, memory, failover, orleans; all without a name
cargo xtask bench ladder --check
                            compares what calls allocate and ask of Redis with benchmarks/ladder.json; --store changes that
cargo xtask help            this

--long: also what takes long; 100 kills of the bank and 50 of silos, the programs with optimizations.

Tests run real Redis servers: `redis-server` has to be on the PATH. Where it isn't, and this is root on a Debian or
Ubuntu, it is installed.

GRANGE_SEED=N repeats the random choices of a run; tests print theirs.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            eprintln!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["test"] => test(false),
        ["test", "--long"] => test(true),
        ["chaos", ref options @ ..] => chaos(options),
        ["simulate", ref options @ ..] => simulate(options),
        ["bench", ref options @ ..] => machine::prepare().and_then(|()| bench::run(options)),
        _ => {
            eprintln!("xtask: it does not know `{}`\n\n{HELP}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => {
            eprintln!("xtask: all is well");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("xtask: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn test(long: bool) -> Result<(), String> {
    machine::prepare()?;
    let mut steps = vec![
        Step::of("cargo build --package samples --bins"),
        // Documentation examples, too. One failure does not hide the next.
        Step::of("cargo test --workspace --all-features --no-fail-fast"),
        bench::guard(),
    ];
    if long {
        steps.push(
            Step::of("cargo test --release --package integration-tests --test bank_kill -- --nocapture")
                .with("GRANGE_KILLS", "100"),
        );
        let silos = "cargo test --release --package integration-tests \
                     --test kills --test failover -- --nocapture";
        steps.push(Step::of(silos).with("GRANGE_LONG", "1"));
    }
    let failed: Vec<String> = steps.iter().filter_map(|step| step.run().err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed:\n  {}", failed.join("\n  "))) }
}

fn simulate(options: &[&str]) -> Result<(), String> {
    Step::of("cargo run --quiet --release --package integration-tests --bin simulate --").and(options).run()
}

fn chaos(options: &[&str]) -> Result<(), String> {
    machine::prepare()?;
    // All of the programs: it starts the silo's.
    Step::of("cargo build --quiet --package integration-tests --bins").run()?;
    Step::of("cargo run --quiet --package integration-tests --bin chaos --").and(options).run()
}
