//! Kills silos under load and says what became of the promises: `cargo xtask chaos`.

use std::process::ExitCode;
use std::time::Duration;

use integration_tests::chaos::{Chaos, run};
use integration_tests::random::seed;

const HELP: &str = "\
cargo xtask chaos [--seconds N] [--seed S] [--silos N]

Runs silos on a Redis of their own, kills one with `kill -9` every 2 to 3 seconds while clients work, starts it again,
and verifies at the end, from outside, that no promise was broken. 60 seconds, 3 silos and a random seed unless said
otherwise. Exit status: 0 all is well, 1 a promise was broken, 2 wrong command line.";

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
async fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Some(chaos)) => {
            let report = run(&chaos).await;
            println!("{report}");
            if report.verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("chaos: {mistake}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// `None`: help is wanted.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Chaos>, String> {
    let mut chaos = Chaos { duration: Duration::from_secs(60), silos: 3, seed: seed() };
    while let Some(option) = arguments.next() {
        if ["--help", "-h"].contains(&option.as_str()) {
            return Ok(None);
        }
        let value = arguments.next();
        let number = value.as_deref().and_then(|value| value.parse::<u64>().ok());
        let number = number.ok_or_else(|| format!("{option} {}: a number is missing", value.unwrap_or_default()));
        match option.as_str() {
            "--seconds" => chaos.duration = Duration::from_secs(number?.max(1)),
            "--seed" => chaos.seed = number?,
            "--silos" => chaos.silos = usize::try_from(number?.clamp(1, 20)).unwrap_or(3),
            other => return Err(format!("it does not know `{other}`")),
        }
    }
    Ok(Some(chaos))
}
