//! The project's own commands: `cargo xtask help`.

use std::env;
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask test [--long]   everything the tests need, then all tests and documentation examples
cargo xtask help            this

--long: also what takes long; 100 kills of the bank, the programs with optimizations.

GRANGE_SEED=N repeats the random choices of a run; tests print theirs.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["test"] => test(false),
        ["test", "--long"] => test(true),
        ["help" | "--help" | "-h"] => {
            eprintln!("{HELP}");
            return ExitCode::SUCCESS;
        }
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
    let mut steps = vec![
        Step { variable: None, arguments: "build --package samples --bins" },
        // Documentation examples, too. One failure does not hide the next.
        Step { variable: None, arguments: "test --workspace --all-features --no-fail-fast" },
    ];
    if long {
        let arguments = "test --release --package integration-tests --test bank_kill -- --nocapture";
        steps.push(Step { variable: Some(("GRANGE_KILLS", "100")), arguments });
    }
    let failed: Vec<String> = steps.iter().filter_map(|step| step.run().err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed:\n  {}", failed.join("\n  "))) }
}

/// One cargo command, shown before it runs.
struct Step {
    variable: Option<(&'static str, &'static str)>,
    arguments: &'static str,
}

impl Step {
    fn run(&self) -> Result<(), String> {
        let mut shown = format!("cargo {}", self.arguments);
        let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        command.args(self.arguments.split(' '));
        if let Some((name, value)) = self.variable {
            shown = format!("{name}={value} {shown}");
            command.env(name, value);
        }
        eprintln!("xtask: {shown}");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown}: {status}")),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    }
}
