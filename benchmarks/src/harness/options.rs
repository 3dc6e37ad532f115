use std::process::exit;
use std::time::Duration;

const HELP: &str = "\
--quick       short rounds: to see that it runs, or on a busy machine; results are kept as *-quick.*
--rounds N    how many rounds (without it: 7, quick: 5)
--only TEXT   only tables whose title contains this
--check       (ladder) counts only: compares allocations and Redis commands with what is stored
--store       (ladder) counts only: stores them";

/// What a benchmark was told on its command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Short rounds.
    pub quick: bool,
    /// How often each case is measured.
    pub rounds: usize,
    /// Only tables whose title contains this.
    pub only: Option<String>,
    /// Compare counts with those that are stored.
    pub check: bool,
    /// Store counts.
    pub store: bool,
    /// What else was said, for the program itself.
    pub rest: Vec<String>,
}

impl Options {
    /// Reads the command line; explains it and ends where that was asked for.
    pub fn from_arguments() -> Self {
        let mut options = Self { quick: false, rounds: 0, only: None, check: false, store: false, rest: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--check" => options.check = true,
                "--store" => options.store = true,
                "--only" => options.only = Some(value(&argument, arguments.next())),
                "--rounds" => options.rounds = number(&value(&argument, arguments.next())),
                "--help" | "-h" => explain(HELP, 0),
                _ => options.rest.push(argument),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 5 } else { 7 };
        }
        options
    }

    /// How long one case works in one round.
    pub fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 30 } else { 300 })
    }

    /// A long count, or a short one when it has to be quick.
    pub fn scale(&self, long: u64, quick: u64) -> u64 {
        if self.quick { quick } else { long }
    }

    /// Whether a table of this title is wanted.
    pub fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|only| title.contains(only.as_str()))
    }
}

fn value(name: &str, value: Option<String>) -> String {
    value.unwrap_or_else(|| explain(&format!("{name} needs a value\n\n{HELP}"), 2))
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| explain(&format!("`{text}` is not a number\n\n{HELP}"), 2))
}

fn explain(text: &str, code: i32) -> ! {
    eprintln!("{text}");
    exit(code)
}
