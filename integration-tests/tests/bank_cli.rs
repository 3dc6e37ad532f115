//! The bank's command line: what it says to bad input, what it exits with, and that a second run continues.

mod bank_common;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bank_common::process::{Ended, LIMIT, end_or_kill, run, start};
use bank_common::verify::{Recording, verify};

struct Bank(tempfile::TempDir);

impl Bank {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).expect("writing a file");
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn arguments(&self, file: &Path) -> Vec<OsString> {
        let mut arguments = vec![file.into()];
        for (option, name) in [("--data", "data"), ("--journal", "journal"), ("--balances", "balances")] {
            arguments.extend([option.into(), self.path(name).into()]);
        }
        arguments
    }

    async fn run(&self, file: &Path) -> Ended {
        run(self.arguments(file)).await
    }

    /// That this file is refused before anything is made.
    async fn refuses(&self, bytes: impl AsRef<[u8]>, said: &[&str]) {
        let file = self.write("bad.csv", bytes);
        let ended = self.run(&file).await;
        ended.expect(2, said);
        ended.expect(2, &["bad.csv", "no transfer was made"]);
        assert!(!self.path("data").exists(), "a bank was made; {ended:#?}");
    }
}

fn transfers(ids: impl Iterator<Item = u32>) -> String {
    let mut file = String::from("id,from,to,amount\n");
    for id in ids {
        let _ = writeln!(file, "t{id},a{},b{},{}", id % 50, id % 40, 1 + id % 400);
    }
    file
}

#[tokio::test]
async fn a_wrong_command_line_is_explained() {
    run(["--help"]).await.expect(0, &["Usage: bank [OPTIONS] [FILE.csv]", "Exit status"]);
    run(["--dta", "x"]).await.expect(2, &["invalid option '--dta'", "bank --help"]);
    run(["--in-flight", "many"]).await.expect(2, &["\"many\": --in-flight must be from 1 to 1000"]);
    run(["a.csv", "b.csv"]).await.expect(2, &["unexpected argument \"b.csv\""]);
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_with_its_lines() {
    let bank = Bank::new();
    let ended = bank.run(&bank.path("missing.csv")).await;
    ended.expect(2, &["missing.csv: can't be read: No such file", "no transfer was made"]);
    bank.refuses("", &["is empty"]).await;
    bank.refuses("id,from,to,amount\n", &["has no transfers"]).await;
    bank.refuses("id,from,to,amount,note\n", &["bad.csv:1: the first line must be `id,from,to,amount`"]).await;
    bank.refuses("1,a,b,5\n", &["bad.csv:1: the first line must be"]).await;
    bank.refuses(b"id,from,to,amount\n1,a,b,5\n2,a,\xff,5\n", &["bad.csv:3: is not UTF-8"]).await;
    bank.refuses("id,from,to,amount\n1,a,b,5\n1,a,b,6\n", &["bad.csv:3: the id `1` is on line 2 already"]).await;
    bank.refuses("id,from,to,amount\n1,a,a,5\n", &["bad.csv:2: `from` and `to` are both `a`"]).await;
    for amount in ["0", "-5", "1.5", "1000000000001", "99999999999999999999", ""] {
        let said = format!("bad.csv:3: `amount` is {amount:?}: it must be a whole number from 1 to");
        bank.refuses(format!("id,from,to,amount\n1,a,b,5\n2,a,b,{amount}\n"), &[&said]).await;
    }
    let many: String = (0..30).map(|id| format!("{id},a,b,0\n")).collect();
    bank.refuses(format!("id,from,to,amount\n{many}"), &["bad.csv:21: `amount`", "… and 10 more"]).await;
}

#[tokio::test]
async fn a_second_run_continues_and_a_second_file_goes_on_from_there() {
    let bank = Bank::new();
    let (first, second) = (transfers(0..300), transfers(300..500));
    let path = bank.write("first.csv", &first);
    bank.run(&path).await.expect(0, &["The money adds up.", "90,000  before, in 90 accounts"]);
    let once = Recording { files: vec![first.clone()], journal: bank.read("journal"), balances: bank.read("balances") };
    let verified = verify(&once).expect("the first run");

    let again = bank.run(&path).await;
    again.expect(
        0,
        &[
            &format!("  done    {:>14}{:>14}", 0, verified.done),
            &format!("  refused {:>14}{:>14}", 0, verified.refused),
            "The money adds up.",
        ],
    );
    assert_eq!(bank.read("balances"), once.balances, "nothing was made twice");

    let path = bank.write("second.csv", &second);
    bank.run(&path).await.expect(0, &["The money adds up."]);
    let both = Recording { files: vec![first, second], journal: bank.read("journal"), balances: bank.read("balances") };
    let both = verify(&both).expect("both files");
    assert_eq!(both.done + both.refused, 500);
}

#[tokio::test]
async fn an_id_that_meant_something_else_stops_the_file_before_its_first_transfer() {
    let bank = Bank::new();
    let path = bank.write("first.csv", "id,from,to,amount\n1,a,b,5\n2,b,a,7\n");
    bank.run(&path).await.expect(0, &["The money adds up."]);
    let balances = bank.read("balances");
    let path = bank.write("other.csv", "id,from,to,amount\n9,a,new,100\n2,b,a,8\n");
    let ended = bank.run(&path).await;
    ended.expect(2, &["other.csv:3: `2`: this id was used before, for 7 from `b` to `a`", "no transfer was made"]);
    let path = bank.write("first.csv", "id,from,to,amount\n1,a,b,5\n2,b,a,7\n");
    bank.run(&path).await.expect(0, &["The money adds up."]);
    assert_eq!(bank.read("balances"), balances);
}

#[tokio::test]
async fn what_is_no_bank_is_left_alone() {
    let bank = Bank::new();
    fs::create_dir(bank.path("data")).expect("a directory");
    let stranger = bank.write("data/thesis.txt", "years of work");
    let path = bank.write("first.csv", "id,from,to,amount\n1,a,b,5\n");
    bank.run(&path).await.expect(1, &["the silo did not start"]);
    assert_eq!(fs::read_to_string(stranger).expect("still there"), "years of work");
    assert_eq!(fs::read_dir(bank.path("data")).expect("still there").count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_process_is_told_and_the_first_goes_on() {
    let bank = Bank::new();
    // More accounts than a pipe holds: the first process stops at the pipe, with the bank open, until it is read.
    let mut file = String::from("id,from,to,amount\n");
    for id in 0..4_000 {
        let _ = writeln!(file, "t{id},account-{id:05}-from,account-{id:05}-to,5");
    }
    let path = bank.write("first.csv", &file);
    let pipe = bank.path("balances");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let first = tokio::spawn(end_or_kill(start(bank.arguments(&path)), LIMIT));
    let opened = tokio::task::spawn_blocking(move || fs::File::open(pipe));
    let pipe = match tokio::time::timeout(LIMIT, opened).await {
        Ok(pipe) => pipe.expect("the task").expect("the pipe"),
        Err(_) => panic!("the first process did not come to its end; it wrote {:?}", bank.read("journal")),
    };

    let mut arguments = bank.arguments(&path);
    arguments.truncate(3);
    run(arguments).await.expect(1, &["is in use, by another process"]);

    let balances = tokio::task::spawn_blocking(move || std::io::read_to_string(pipe));
    let balances = balances.await.expect("the task").expect("the balances");
    first.await.expect("the first process").expect(0, &["The money adds up."]);
    let recording = Recording { files: vec![file], journal: bank.read("journal"), balances };
    assert_eq!(verify(&recording).map(|verified| verified.done), Ok(4_000));
}
