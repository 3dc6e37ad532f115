use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use lexopt::Arg::{Long, Short};
use lexopt::ValueExt;

pub(crate) const HELP: &str = "\
Hands quotes and orders in to the markets of 350 symbols, an entity each, and refuses orders while a market is too
uncertain.

Usage: market-spread [OPTIONS]

  --data DIR     keep the markets in a directory; each change is synced before it is answered
  --redis URL    keep them in a Redis: redis://127.0.0.1:6379
                 without either they are in memory only, as the original's
  --inputs N     quotes and orders together [default: 2000000 in memory, 200000 kept]
  --seed N       other inputs [default: 1]
  -h, --help     print this

Exit status: 0 done; 1 failed; 2 the options are wrong; 3 other orders were refused than should have been";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Run(Job),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) kept: Kept,
    pub(crate) inputs: usize,
    pub(crate) seed: u64,
}

/// Where the markets are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    OnDisk(PathBuf),
    InRedis(String),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InMemory => f.write_str("in memory"),
            Self::OnDisk(directory) => write!(f, "kept in {}", directory.display()),
            Self::InRedis(url) => write!(f, "kept in {url}"),
        }
    }
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let (mut kept, mut inputs, mut seed) = (Kept::InMemory, None, 1);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("data") => kept = Kept::OnDisk(parser.value()?.into()),
            Long("redis") => kept = Kept::InRedis(parser.value()?.string()?),
            Long("inputs") => inputs = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    let default = if kept == Kept::InMemory { 2_000_000 } else { 200_000 };
    Ok(Command::Run(Job { kept, inputs: inputs.unwrap_or(default), seed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_read() {
        let in_memory = Job { kept: Kept::InMemory, inputs: 2_000_000, seed: 1 };
        assert_eq!(options(&[]), Ok(Command::Run(in_memory)));
        let on_disk = Job { kept: Kept::OnDisk("d".into()), inputs: 200_000, seed: 7 };
        assert_eq!(options(&["--data", "d", "--seed=7"]), Ok(Command::Run(on_disk)));
        let in_redis = Job { kept: Kept::InRedis("redis://r".into()), inputs: 5, seed: 1 };
        assert_eq!(options(&["--redis=redis://r", "--inputs", "5"]), Ok(Command::Run(in_redis)));
        assert_eq!(options(&["--seed", "1", "-h"]), Ok(Command::Help));
        assert_eq!(options(&["--dat"]), Err("invalid option '--dat'".into()));
    }
}
