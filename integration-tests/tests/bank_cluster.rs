//! The bank in several processes: the same result as in one, whoever is killed; and what it says when it can't be.

#![cfg(unix)]

mod bank_common;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bank_common::process::{Ended, LIMIT, end_or_kill, program, run, start};
use bank_common::verify::{Recording, verify};
use integration_tests::servers::{Process, Redis, RedisSettings, free_port};
use integration_tests::wait::eventually;

/// A directory for what goes in and comes out.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("writing a file");
        self.path(name)
    }

    /// These words, then a file and where to record what comes of it.
    fn words(&self, words: &[&str], file: &Path, run: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
        all.push(file.to_owned());
        all.extend(["--journal".into(), self.path(format!("{run}-journal"))]);
        all.extend(["--balances".into(), self.path(format!("{run}-balances"))]);
        all
    }

    fn recording(&self, file: &str, run: &str) -> Recording {
        let read = |what: &str| fs::read_to_string(self.path(format!("{run}-{what}"))).unwrap_or_default();
        Recording { files: vec![file.to_owned()], journal: read("journal"), balances: read("balances") }
    }
}

/// Transfers whose outcome does not depend on their order: what arrives first decides nothing.
fn transfers(count: u32) -> String {
    let mut file = String::from("id,from,to,amount\n");
    for id in 0..count {
        let amount = if id % 50 == 0 { 1_000_000 } else { 1 + id % 20 };
        let _ = writeln!(file, "t{id},a{},b{},{amount}", id % 60, id % 40);
    }
    file
}

/// The lines that say what was done: without the first, the time, and what runs where.
fn summary(ended: &Ended) -> Vec<&str> {
    let lines = ended
        .out
        .lines()
        .filter(|line| line.starts_with("  ") || line.starts_with("money") || line.contains("adds up"));
    lines.collect()
}

#[tokio::test]
async fn a_cluster_gives_the_same_result_as_one_process() {
    let place = Place::new();
    let text = transfers(600);
    let file = place.write("transfers.csv", &text);
    let data = place.path("data").display().to_string();
    let alone = run(place.words(&["--data", &data], &file, "alone")).await;
    alone.expect(0, &["The money adds up."]);
    let cluster = run(place.words(&["cluster", "--silos", "3"], &file, "cluster")).await;
    cluster.expect(0, &["transfers.csv in 3 silos", "The money adds up.", "3 silos and Redis have stopped."]);
    assert_eq!(summary(&cluster), summary(&alone), "{cluster:#?}");
    let (alone, cluster) = (place.recording(&text, "alone"), place.recording(&text, "cluster"));
    assert_eq!(verify(&cluster).expect("the cluster"), verify(&alone).expect("one process"));
    assert_eq!(cluster.balances, alone.balances);
}

#[tokio::test]
async fn a_silo_that_is_killed_changes_nothing() {
    let place = Place::new();
    let text = transfers(2_000);
    let file = place.write("transfers.csv", &text);
    let ended = run(place.words(&["cluster", "--silos", "3", "--kill"], &file, "killed")).await;
    ended.expect(0, &[" was killed, after ", " is ready in its place", "The money adds up.", "have stopped."]);
    let verified =
        verify(&place.recording(&text, "killed")).unwrap_or_else(|problems| panic!("{problems}\n{ended:#?}"));
    assert_eq!((verified.done, verified.refused), (1_960, 40));
}

#[tokio::test]
async fn a_cluster_that_is_told_to_end_takes_everything_with_it() {
    let place = Place::new();
    let file = place.write("transfers.csv", &transfers(20_000));
    let temporary = place.path("temporary");
    fs::create_dir(&temporary).expect("a directory");
    let mut command = Command::new(program());
    command.args(["cluster", "--silos", "2"]).arg(&file).env("TMPDIR", &temporary);
    command.arg("--journal").arg(place.path("journal"));
    let mut cluster = Process::start("cluster", place.0.path(), &mut command);
    let at_work = || async { fs::metadata(place.path("journal")).map_or(0, |journal| journal.len()) };
    eventually("transfers of a cluster", LIMIT, at_work, |bytes| *bytes > 0).await;
    cluster.terminate();
    let status = cluster.ended(LIMIT).await;
    assert_eq!(status.code(), Some(1), "{}", cluster.said());
    assert!(cluster.said().contains("it was told to end before the last transfer was made"), "{}", cluster.said());
    // The servers' directory is gone, and so are they: they lived in it.
    assert_eq!(fs::read_dir(&temporary).expect("the directory").count(), 0, "{}", cluster.said());
}

#[tokio::test]
async fn a_cluster_without_a_redis_server_says_what_to_install() {
    let place = Place::new();
    let file = place.write("transfers.csv", &transfers(1));
    let missing = place.path("redis-server").display().to_string();
    let ended = run(place.words(&["cluster", "--redis-server", &missing], &file, "none")).await;
    ended.expect(1, &["redis-server is not there: install it", "apt-get install redis-server"]);
    let ended = run(place.words(&["cluster", "--redis-server", "/bin/false"], &file, "none")).await;
    ended.expect(1, &["redis-server did not start"]);
}

/// A silo of the bank, by hand.
struct Silo {
    address: String,
    process: Process,
}

impl Silo {
    async fn start(place: &Place, redis: &Redis, more: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program());
        command.args(["silo", "--listen", &address, "--redis", &redis.url()]).args(more);
        let mut process = Process::start(&format!("silo-{address}"), place.0.path(), &mut command);
        let ready = format!("silo {address} is ready\n");
        let cell = std::cell::RefCell::new(&mut process);
        let look = || async {
            let mut process = cell.borrow_mut();
            (process.said(), process.has_ended())
        };
        let is_ready = |(said, ended): &(String, Option<_>)| said.contains(&ready) || ended.is_some();
        let (said, ended) = eventually("a silo ready", LIMIT, look, is_ready).await;
        assert!(ended.is_none(), "the silo ended: {ended:?}; {said}");
        Self { address, process }
    }
}

#[tokio::test]
async fn silos_and_a_client_by_hand() {
    let place = Place::new();
    let text = transfers(300);
    let (file, secret) = (place.write("transfers.csv", &text), place.write("secret", "correct horse battery\n"));
    let wrong = place.write("wrong", "a donkey and an acid\n");
    let (secret, wrong) = (secret.display().to_string(), wrong.display().to_string());
    let redis = Redis::start(RedisSettings::default()).await;
    let secured = ["--cluster", "by-hand", "--secret-file", &secret];
    let mut silos = [Silo::start(&place, &redis, &secured).await, Silo::start(&place, &redis, &secured).await];
    let gateways = format!("{},{}", silos[0].address, silos[1].address);

    let client = ["client", "--gateways", &gateways, "--cluster", "by-hand", "--secret-file", &secret];
    let ended = run(place.words(&client, &file, "client")).await;
    ended.expect(0, &["transfers.csv in cluster by-hand", "The money adds up."]);
    verify(&place.recording(&text, "client")).expect("a client's run");
    let again = run(place.words(&client, &file, "client")).await;
    again.expect(0, &[&format!("  done    {:>14}{:>14}", 0, 294), "The money adds up."]);

    let stranger = ["client", "--gateways", &gateways, "--cluster", "other", "--secret-file", &secret];
    let ended = run(place.words(&stranger, &file, "stranger")).await;
    ended.expect(1, &["could not connect to the cluster `other`"]);
    assert!(!ended.err.contains("the silo did not start"), "{ended:#?}");
    let stranger = ["client", "--gateways", &gateways, "--cluster", "by-hand", "--secret-file", &wrong];
    let ended = run(place.words(&stranger, &file, "stranger")).await;
    ended.expect(
        1,
        &["could not connect to the cluster `by-hand`", "most likely the cluster's secret is another one there"],
    );

    // Its address is taken, by another process that listens there.
    let taken = ["silo", "--listen", &silos[0].address, "--redis", &redis.url(), "--cluster", "by-hand"];
    run(taken).await.expect(1, &["can't listen on", &silos[0].address]);

    for silo in &mut silos {
        silo.process.terminate();
        let status = silo.process.ended(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{}", silo.process.said());
    }
}

#[tokio::test]
async fn a_silo_that_lacks_something_says_what() {
    run(["silo"]).await.expect(1, &["a silo was not told where to listen", "--listen 127.0.0.1:7100", "GRANGE_LISTEN"]);
    let listening = ["silo", "--listen", "127.0.0.1:0"];
    run(listening).await.expect(1, &["a silo was not told where Redis is", "--redis redis://127.0.0.1:6379"]);
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    run(listening.iter().copied().chain(["--redis", &nowhere]))
        .await
        .expect(1, &["Redis at 127.0.0.1:", "can't be reached"]);
    let missing = ["--redis", &nowhere, "--secret-file", "/nowhere/secret"];
    run(listening.iter().copied().chain(missing)).await.expect(1, &["the secret can't be read from /nowhere/secret"]);
    run(["silo", "--data", "x"]).await.expect(2, &["invalid option '--data'", "bank --help"]);
    run(["client", "--gateways", "here"]).await.expect(2, &["--gateways must be HOST:PORT"]);
    run(["cluster", "--silos", "none"]).await.expect(2, &["--silos must be from 1 to 100"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    let client = start(["client", "--gateways", &nobody]);
    end_or_kill(client, Duration::from_secs(60)).await.expect(1, &["nobody listens at 127.0.0.1:"]);
}
