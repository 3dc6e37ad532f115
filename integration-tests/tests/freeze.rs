//! A silo that is frozen past its lease is taken over; when it runs on, as if no time had passed, nothing that it
//! commits is taken, it serves nothing stale, and it joins again.

use std::time::Duration;

use integration_tests::application::Spot;
use integration_tests::bench::{Bench, Plan};
use integration_tests::random::seed;
use integration_tests::verifier::History;
use integration_tests::wait::{LIMIT, eventually, within};

/// Past the 5 s after which a silent silo is declared dead.
const PAST_THE_LEASE: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_silo_is_taken_over_and_comes_back_as_another() {
    let mut bench = Bench::start("freeze", seed(), Plan::default()).await;
    // One client knows the victim only: what it reads when the victim wakes is what a zombie would serve.
    let door = bench.silos[0].silo.settings().listen.clone();
    let clients = [bench.client().await, bench.client_of(std::slice::from_ref(&door)).await];
    let work = bench.work_through(&clients);
    for _ in 0..2 {
        bench.pass(Duration::from_secs(2)).await;
        bench.silos[0].silo.process().freeze();
        bench.pass(PAST_THE_LEASE).await;
        bench.silos[0].silo.process().thaw();
    }
    bench.pass(Duration::from_secs(2)).await;
    let verdict = bench.judge_good(work, History::Kept).await;
    assert!(verdict.figures.acknowledged > 200, "it hardly worked: {verdict}");
    assert!(bench.silos[0].silo.process().has_ended().is_none(), "it ended instead of joining again");
    // It joined again: entities are placed on it.
    let client = within("the silo's own door", LIMIT, bench.client_of(&[door])).await;
    let process = bench.silos[0].silo.process().id();
    let mut number = 0;
    let look = || {
        number += 1;
        let spot = client.entity::<Spot>(format!("after-{number}"));
        async move { spot.process().timeout(Duration::from_secs(2)).await }
    };
    let _found = eventually("an entity on the silo that was frozen", LIMIT, look, |found| *found == Ok(process)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_pause_costs_nothing_but_time() {
    let mut bench = Bench::start("pause", seed(), Plan { silos: 2, ..Plan::default() }).await;
    let work = bench.work().await;
    for _ in 0..5 {
        let victim = bench.random.index(2);
        bench.silos[victim].silo.process().freeze();
        let pause = bench.random.between(Duration::from_millis(200), Duration::from_millis(900));
        bench.pass(pause).await;
        bench.silos[victim].silo.process().thaw();
        bench.pass(Duration::from_millis(500)).await;
    }
    bench.judge_good(work, History::Kept).await;
}
