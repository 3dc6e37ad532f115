//! A silo that is asked to stop finishes what it has, and no client notices; asked twice, it stops at once.

use std::time::Duration;

use integration_tests::application::Spot;
use integration_tests::bench::{Bench, Plan};
use integration_tests::random::seed;
use integration_tests::recording::Ended;
use integration_tests::verifier::History;
use integration_tests::wait::LIMIT;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    let mut bench = Bench::start("rolling", seed(), Plan::default()).await;
    let work = bench.work().await;
    for number in 0..bench.silos.len() {
        bench.pass(Duration::from_secs(1)).await;
        let start = Instant::now();
        let status = bench.silos[number].silo.drain(LIMIT).await;
        assert_eq!(status.code(), Some(0), "silo {number} ended with {status}");
        eprintln!("silo {number} drained in {:?}", start.elapsed());
        bench.silos[number].silo.restart().await;
    }
    bench.pass(Duration::from_secs(1)).await;
    let recording = work.journal().to_owned();
    let verdict = bench.judge_good(work, History::Kept).await;
    let recording = integration_tests::recording::Recording::read(&recording).expect("the journal");
    let failed: Vec<_> = recording
        .asks
        .iter()
        .filter(|ask| ask.key.is_some())
        .filter(|ask| !matches!(ask.ended, Some((_, Ended::Answered(_) | Ended::Rejected, _))))
        .collect();
    assert!(failed.is_empty(), "{} of {} asks failed: {failed:#?}", failed.len(), verdict.figures.operations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_runs_is_finished_and_a_second_signal_cuts_it_off() {
    let mut bench = Bench::start("drain", seed(), Plan { silos: 2, ..Plan::default() }).await;
    let client = bench.client().await;
    let process = bench.silos[0].silo.process().id();
    let mut spots = Vec::new();
    for number in 0..200 {
        let spot = client.entity::<Spot>(format!("spot-{number}"));
        if spot.process().timeout(LIMIT).await == Ok(process) {
            spots.push(spot);
        }
    }
    let spot = spots.pop().expect("an entity on silo 0");
    let slow = tokio::spawn(spot.dwell(3_000).timeout(LIMIT));
    bench.pass(Duration::from_millis(500)).await;
    let status = bench.silos[0].silo.drain(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
    // It was answered by the silo that ran it.
    assert_eq!(slow.await.expect("a task"), Ok(process));

    bench.silos[0].silo.restart().await;
    bench.pass(Duration::from_secs(1)).await;
    let client = bench.client().await;
    let process = bench.silos[0].silo.process().id();
    let mut slow = None;
    for number in 0..200 {
        let spot = client.entity::<Spot>(format!("other-{number}"));
        if spot.process().timeout(LIMIT).await == Ok(process) {
            slow = Some(tokio::spawn(spot.dwell(20_000).timeout(LIMIT)));
            break;
        }
    }
    let slow = slow.expect("an entity on silo 0");
    bench.pass(Duration::from_millis(500)).await;
    bench.silos[0].silo.process().terminate();
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.silos[0].silo.process().has_ended().is_none(), "it did not wait for the turn");
    bench.silos[0].silo.process().terminate();
    bench.silos[0].silo.process().ended(Duration::from_secs(3)).await;
    slow.abort();
}
