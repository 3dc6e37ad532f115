use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

pub(crate) const HELP: &str = "\
Makes the transfers of a CSV file between the accounts of a bank that is kept in a directory.

Usage: bank [OPTIONS] [FILE.csv]

FILE.csv has the columns id,from,to,amount; without it, 10,000 transfers between 1,000 accounts are
made that come with the sample. Each account is opened with 1,000. A transfer happens once, whatever
happens meanwhile: run the same file again and what was done stays done, the rest is finished.

Options:
  --data DIR         where the bank is kept [default: ./bank-data]
  --in-flight N      transfers under way at a time [default: 256]
  --journal FILE     append `id,outcome` for each transfer that has ended, synced before it is counted
  --balances FILE    write `account,balance` for every account at the end
  -h, --help         print this

Exit status: 0 done; 1 failed, run it again to continue; 2 the options or the file are wrong, nothing
was done; 3 the money does not add up";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Run(Options),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) file: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) in_flight: usize,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) balances: Option<PathBuf>,
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut file = None;
    let mut options =
        Options { file: shipped(), data: "bank-data".into(), in_flight: 256, journal: None, balances: None };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("data") => options.data = parser.value()?.into(),
            Long("in-flight") => options.in_flight = parser.value()?.parse_with(in_flight)?,
            Long("journal") => options.journal = Some(parser.value()?.into()),
            Long("balances") => options.balances = Some(parser.value()?.into()),
            Value(value) if file.is_none() => file = Some(PathBuf::from(value)),
            other => return Err(other.unexpected()),
        }
    }
    options.file = file.unwrap_or(options.file);
    Ok(Command::Run(options))
}

/// The file that comes with the sample; by a short path, if this is the directory of the project.
fn shipped() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/transfers.csv");
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).map(Path::to_owned).unwrap_or(file)
}

fn in_flight(text: &str) -> Result<usize, &'static str> {
    // More would pass the default limit of calls that wait for one entity.
    text.parse().ok().filter(|number| (1..=1_000).contains(number)).ok_or("--in-flight must be from 1 to 1000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_read() {
        let Ok(Command::Run(found)) = options(&["--in-flight=7", "a.csv", "--data", "d"]) else { panic!() };
        assert_eq!((found.in_flight, found.file, found.data), (7, "a.csv".into(), "d".into()));
        assert_eq!(options(&["a.csv", "-h"]), Ok(Command::Help));
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        for (arguments, expected) in [
            (vec!["--dat", "x"], "invalid option '--dat'"),
            (vec!["--data"], "missing argument for option '--data'"),
            (vec!["a.csv", "b.csv"], "unexpected argument \"b.csv\""),
            (vec!["--in-flight", "0"], "cannot parse argument \"0\": --in-flight must be from 1 to 1000"),
        ] {
            assert_eq!(options(&arguments), Err(expected.into()));
        }
    }
}
