use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use samples::bank::{Refusal, Status};
use samples::figures::thousands;
use tokio::time::Instant;

use crate::input::Entry;

/// How many transfers ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    pub(crate) refused: usize,
    pub(crate) given_up: usize,
}

impl Tally {
    /// Together with these.
    pub(crate) fn and(mut self, ended: &[(&Entry, Status)]) -> Self {
        for (_, status) in ended {
            match status {
                Status::New | Status::Underway => {}
                Status::Done => self.done += 1,
                Status::Refused(Refusal::Insufficient) => self.refused += 1,
                Status::Refused(Refusal::GivenUp) => self.given_up += 1,
            }
        }
        self
    }

    pub(crate) fn sum(self) -> usize {
        self.done + self.refused + self.given_up
    }
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: PathBuf,
    /// Where the bank is.
    pub(crate) place: String,
    /// What earlier runs had settled.
    pub(crate) earlier: Tally,
    /// What this run has settled.
    pub(crate) now: Tally,
    pub(crate) took: Duration,
    pub(crate) accounts: usize,
    pub(crate) money_paid_in: u64,
    pub(crate) money_before: u64,
    pub(crate) money_after: u64,
}

impl Report {
    pub(crate) fn adds_up(&self) -> bool {
        self.money_before == self.money_paid_in && self.money_after == self.money_paid_in
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, now: usize, earlier: usize| {
            writeln!(f, "{name:<10}{:>14}{:>14}", thousands(now as u64), thousands(earlier as u64))
        };
        writeln!(f, "{} in {}", self.file.display(), self.place)?;
        writeln!(f, "{:<10}{:>14}{:>14}", "transfers", "this run", "earlier runs")?;
        row(f, "  done", self.now.done, self.earlier.done)?;
        row(f, "  refused", self.now.refused, self.earlier.refused)?;
        if self.now.given_up + self.earlier.given_up > 0 {
            row(f, "  given up", self.now.given_up, self.earlier.given_up)?;
        }
        if self.now.sum() > 0 {
            let a_second = self.now.sum() as f64 / self.took.as_secs_f64();
            let (seconds, a_second) = (self.took.as_secs_f64(), thousands(a_second as u64));
            writeln!(f, "{:<10}{seconds:>12.2} s  {a_second} transfers a second", "time")?;
        }
        writeln!(
            f,
            "{:<10}{:>14}  before, in {} accounts",
            "money",
            thousands(self.money_before),
            thousands(self.accounts as u64)
        )?;
        writeln!(f, "{:<10}{:>14}  after", "", thousands(self.money_after))?;
        match self.adds_up() {
            true => write!(f, "The money adds up."),
            false => write!(f, "THE MONEY DOES NOT ADD UP: {} was paid in.", thousands(self.money_paid_in)),
        }
    }
}

/// A line that counts, where somebody sees it.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, drawn: None, shown: std::io::stderr().is_terminal() }
    }

    pub(crate) fn show(&mut self, done: usize) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() > Duration::from_millis(100));
        if self.shown && (due || done == self.total) {
            self.drawn = Some(Instant::now());
            eprint!("\r{} of {} transfers", thousands(done as u64), thousands(self.total as u64));
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            eprintln!();
        }
    }
}
