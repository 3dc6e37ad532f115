//! The bank is killed with `kill -9` at random moments, and loses nothing.
//!
//! `GRANGE_KILLS=100` kills it 100 times; `GRANGE_SEED=…` repeats the moments and the transfers of a run.

#![cfg(unix)]

mod bank_common;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bank_common::process::{LIMIT, end_or_kill, program, run, start};
use bank_common::verify::{Recording, verify};
use integration_tests::random::{Random, number, seed};
use tokio::time::Instant;

const KILLS: u64 = 15;
const ACCOUNTS: u64 = 300;
const TRANSFERS: u64 = 4_000;

/// Files under way at a time: a run may find the transfers of another file half done.
const FILES: usize = 2;

/// A directory with a bank in it, and what goes in and comes out.
struct Bank {
    directory: tempfile::TempDir,
    random: Random,
    files: Vec<String>,
}

impl Bank {
    fn new(seed: u64) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), random: Random::new(seed), files: Vec::new() }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// New transfers between the same accounts.
    fn new_file(&mut self) -> usize {
        let number = self.files.len();
        let mut file = String::from("id,from,to,amount\n");
        for id in 0..TRANSFERS {
            let from = self.random.below(ACCOUNTS);
            let to = (from + 1 + self.random.below(ACCOUNTS - 1)) % ACCOUNTS;
            let amount = if id % 100 == 0 { 10_000_000 } else { 1 + self.random.below(400) };
            let _ = writeln!(file, "f{number}-{id},a{from},a{to},{amount}");
        }
        fs::write(self.path(format!("{number}.csv")), &file).expect("writing a file of transfers");
        self.files.push(file);
        number
    }

    fn arguments(&self, file: usize) -> Vec<PathBuf> {
        vec![
            self.path(format!("{file}.csv")),
            "--data".into(),
            self.path("data"),
            "--journal".into(),
            self.path("journal"),
            "--balances".into(),
            self.path("balances"),
        ]
    }

    /// How many transfers were acknowledged so far.
    fn acknowledged(&self) -> usize {
        let journal = self.recording().journal;
        journal.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect::<HashSet<_>>().len()
    }

    fn recording(&self) -> Recording {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        Recording { files: self.files.clone(), journal: read("journal"), balances: read("balances") }
    }
}

/// How long a run takes here and now, with transfers to make; it grows with what the bank remembers.
struct Expected(Duration);

impl Expected {
    async fn measure(seed: u64) -> Self {
        let mut bank = Bank::new(seed);
        let file = bank.new_file();
        program();
        let start = Instant::now();
        run(bank.arguments(file)).await.expect(0, &["The money adds up."]);
        let took = start.elapsed();
        verify(&bank.recording()).unwrap_or_else(|problems| panic!("a run without a kill:\n{problems}"));
        Self(took)
    }

    /// Over the whole run and a little more; and every fourth time in its first fifth: opening, recovering, reading.
    fn moment(&self, random: &mut Random) -> Duration {
        let span = if random.below(4) == 0 { self.0 / 5 } else { self.0 * 5 / 4 };
        Duration::from_micros(random.below(u64::try_from(span.as_micros()).expect("a short time") + 1))
    }

    /// A run was killed at this moment, or ended by itself.
    fn learn(&mut self, moment: Duration, ended_after: Option<Duration>) {
        match ended_after {
            Some(took) => self.0 = took,
            None if moment > self.0 => self.0 = moment * 5 / 4,
            None => {}
        }
    }
}

#[tokio::test]
async fn a_bank_that_is_killed_again_and_again_loses_nothing() {
    let (seed, kills) = (seed(), number("GRANGE_KILLS").unwrap_or(KILLS));
    eprintln!("GRANGE_SEED={seed} GRANGE_KILLS={kills} cargo test -p integration-tests --test bank_kill");
    let mut expected = Expected::measure(seed).await;
    let mut bank = Bank::new(seed);
    let mut open: Vec<usize> = (0..FILES).map(|_| bank.new_file()).collect();
    let (mut killed, mut at_work) = (0, 0);
    let mut runs = Vec::new();
    // A kill while the bank starts proves less than one while it works: some must be of that kind.
    while killed < kills || (at_work < kills / 5 && killed < 4 * kills) {
        let chosen = usize::try_from(bank.random.below(open.len() as u64)).expect("a small number");
        let moment = expected.moment(&mut bank.random);
        let (before, began) = (bank.acknowledged(), Instant::now());
        let ended = end_or_kill(start(bank.arguments(open[chosen])), moment).await;
        expected.learn(moment, ended.code.map(|_| began.elapsed()));
        let after = bank.acknowledged();
        runs.push(format!("file {} until {moment:?}: exit {:?}, {before} to {after}", open[chosen], ended.code));
        match ended.code {
            None => {
                killed += 1;
                at_work += u64::from(after > before);
                // Some files are left half done until the end, while others go on.
                if after > before && bank.random.below(2) == 0 {
                    open[chosen] = bank.new_file();
                }
            }
            Some(0) => open[chosen] = bank.new_file(),
            Some(_) => panic!("a run failed by itself: {ended:#?}\n{}", runs.join("\n")),
        }
    }
    for file in 0..bank.files.len() {
        let ended = end_or_kill(start(bank.arguments(file)), LIMIT).await;
        assert_eq!(ended.code, Some(0), "finishing file {file}: {ended:#?}\n{}", runs.join("\n"));
    }
    match verify(&bank.recording()) {
        Ok(verified) => eprintln!(
            "killed {killed} times in {} runs, {at_work} times while it acknowledged transfers: {verified:?}",
            runs.len()
        ),
        Err(problems) => {
            let kept = bank.directory.keep();
            panic!("after {killed} kills:\n{problems}\n{}\nit is kept in {}", runs.join("\n"), kept.display());
        }
    }
    assert!(at_work >= kills / 5, "hardly a kill came while it worked:\n{}", runs.join("\n"));
}
