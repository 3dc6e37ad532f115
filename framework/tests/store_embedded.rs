//! What only the embedded store promises: the directory, and what is in it after every kind of end.

mod store_common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use grange::store::{
    Commit, Committed, Due, EmbeddedStore, Field, Partitions, Refusal, StateWrite, Store, StoreError, Trim,
};
use store_common::{claim, commit, id, snapshot};

const ENTITIES: usize = 8;
const LIMIT: Duration = Duration::from_secs(30);
const CHILD: &str = "GRANGE_TEST_STORE";

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path().join("made/on/the/way")).unwrap();
    let record = claim(&store, &id("a"), 10).await;
    let puts = vec![(Field::Letter(1), "letter".into()), (Field::Sequence, "5".into())];
    let first = Commit { puts, wake: Some(7), ..commit(&record, &id("a"), "state") };
    assert_eq!(store.commit(first.clone()).await.unwrap(), Committed::Done);
    store.close().await.unwrap();

    let store = EmbeddedStore::open(directory.path().join("made/on/the/way")).unwrap();
    assert_eq!(store.due(Partitions::All, 7, 10).await.unwrap(), [Due { wake: 7, id: id("a") }]);
    assert_eq!(store.letters(10).await.unwrap(), [(id("a"), 1, "letter".into())]);
    assert_eq!(store.commit(first.clone()).await.unwrap(), Committed::Done);
    let late = Commit { commit: 1, version: 1, ..first };
    assert_eq!(store.commit(late).await.unwrap(), Committed::Refused(Refusal::Superseded));
    let read = claim(&store, &id("a"), 5).await;
    assert_eq!((read.version, read.state, read.fields.len(), read.wake), (1, Some("state".into()), 2, Some(7)));
    assert_eq!((read.generation, read.fence.epoch), (record.generation, 11));
}

#[tokio::test]
async fn a_dropped_store_lets_go_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let record = claim(&store, &id("a"), 10).await;
    let unheard = store.commit(commit(&record, &id("a"), "state"));
    drop((store, unheard));
    let reopened = async {
        loop {
            match EmbeddedStore::open(directory.path()) {
                Ok(store) => break store,
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let store = tokio::time::timeout(LIMIT, reopened).await.unwrap();
    assert_eq!(claim(&store, &id("a"), 11).await.version, 1);
}

#[tokio::test]
async fn commits_that_wait_share_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let record = claim(&store, &id("a"), 10).await;
    let hand_over = |version| store.commit(Commit { version, ..commit(&record, &id("a"), "state") });
    let answers: Vec<_> = (0..500).map(hand_over).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Committed::Done);
    }
    let stats = store.stats();
    assert!(stats.commits == 500 && stats.syncs < 250, "{stats:?}");
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_written_until_a_claim_has_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let (a, b) = (claim(&store, &id("a"), 10).await, claim(&store, &id("b"), 10).await);
    store.fail_next_write();
    let unknown = commit(&a, &id("a"), "state");
    assert!(matches!(store.commit(unknown.clone()).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.commit(commit(&b, &id("b"), "state")).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.verify(id("b"), b.fence).await, Err(StoreError::Failed { .. })));

    let read = claim(&store, &id("a"), 10).await;
    assert_eq!((read.version, read.fence.epoch), (1, 11));
    assert_eq!(store.commit(unknown).await.unwrap(), Committed::Done);
    let old = store.commit(commit(&b, &id("b"), "state")).await.unwrap();
    assert_eq!(old, Committed::Refused(Refusal::Superseded));
    assert_eq!(store.commit(commit(&read, &id("a"), "next")).await.unwrap(), Committed::Done);
    store.close().await.unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    assert_eq!(claim(&store, &id("a"), 12).await.state, Some("next".into()));
}

#[tokio::test]
async fn a_name_too_long_to_be_stored_harms_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let record = claim(&store, &id("a"), 10).await;
    let puts = vec![(Field::Reminder("long".repeat(20_000)), "".into())];
    let long = Commit { puts, ..commit(&record, &id("a"), "long") };
    assert!(matches!(store.commit(long).await, Err(StoreError::Failed { .. })));
    let long = store_common::try_claim(&store, &id(&"long".repeat(20_000)), 10).await;
    if let Ok(long) = long {
        let commit = commit(&long, &id(&"long".repeat(20_000)), "long");
        assert!(matches!(store.commit(commit).await, Err(StoreError::Failed { .. })));
    }
    assert_eq!(store.commit(commit(&record, &id("a"), "short")).await.unwrap(), Committed::Done);
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::write(&path, "a file").unwrap();
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::Failed { .. })));
    assert!(matches!(EmbeddedStore::open(path.join("below")), Err(StoreError::Failed { .. })));
    let before = snapshot(directory.path());
    match EmbeddedStore::open(directory.path()) {
        Err(error @ StoreError::Corrupt { .. }) => assert!(error.to_string().contains("no header"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(snapshot(directory.path()), before);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    store.close().await.unwrap();
    let header = fs::read_to_string(directory.path().join("header")).unwrap();
    fs::write(directory.path().join("header"), header.replace("format 1", "format 2")).unwrap();
    let before = snapshot(directory.path());
    match EmbeddedStore::open(directory.path()) {
        Err(StoreError::Newer { found: 2, supported: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(snapshot(directory.path()), before);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_directory_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, lines) = start_child(directory.path());
    lines.recv_timeout(LIMIT).unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()), Err(StoreError::Locked { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    EmbeddedStore::open(directory.path()).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = [0; ENTITIES];
    for round in 0..6 {
        let (mut child, lines) = start_child(directory.path());
        for _ in 0..1 + round * 97 {
            take_line(&mut acknowledged, &lines.recv_timeout(LIMIT).unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.iter().for_each(|line| take_line(&mut acknowledged, &line));

        let store = EmbeddedStore::open(directory.path()).unwrap();
        let mut due = store.due(Partitions::All, u64::MAX, 100).await.unwrap();
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let id = id(&number.to_string());
            let record = claim(&store, &id, 10).await;
            assert!(record.version >= *acknowledged, "{id}: {} < {acknowledged}", record.version);
            if record.version > 0 {
                assert_eq!(record.state, Some(format!("{number}:{}", record.version).into()));
                assert!(record.fields.contains_key(&Field::Outbox(record.version)));
                let listed = due.iter().position(|due| due.id == id).unwrap();
                assert_eq!(Some(due.swap_remove(listed).wake), record.wake);
            }
        }
        assert_eq!(due, []);
        store.close().await.unwrap();
    }
}

fn take_line(acknowledged: &mut [u64; ENTITIES], line: &str) {
    let (number, version) = line.split_once(' ').unwrap();
    acknowledged[number.parse::<usize>().unwrap()] = version.parse().unwrap();
}

/// This test binary again, as a process that commits until it is killed, and what it says it committed.
fn start_child(directory: &std::path::Path) -> (Child, Receiver<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(said) = line.strip_prefix("committed ") {
                let _ = sender.send(said.to_owned());
            }
        }
    });
    (child, lines)
}

#[tokio::test]
async fn child_process() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = EmbeddedStore::open(directory).unwrap();
    let mut records = Vec::new();
    for number in 0..ENTITIES {
        let id = id(&number.to_string());
        records.push((claim(&store, &id, 10).await, id));
    }
    loop {
        let mut answers = Vec::new();
        for (number, (record, id)) in records.iter_mut().enumerate() {
            let next = record.version + 1;
            let state = StateWrite::Put(format!("{number}:{next}").into());
            let puts = vec![(Field::Outbox(next), vec![0; 300].into())];
            answers.push(store.commit(Commit { state, puts, wake: Some(next), ..commit(record, id, "") }));
            if next % 3 == 0 {
                let removes = vec![Field::Outbox(next - 1)];
                let (fence, generation) = (record.fence, record.generation);
                drop(store.trim(Trim { id: id.clone(), fence, generation, version: next, removes, wake: Some(next) }));
            }
            record.version = next;
        }
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), Committed::Done);
            // By the standard output itself: the test harness keeps what is printed, a dying process loses it.
            use std::io::Write;
            let mut output = std::io::stdout().lock();
            writeln!(output, "\ncommitted {number} {}", records[number].0.version).unwrap();
            output.flush().unwrap();
        }
    }
}
