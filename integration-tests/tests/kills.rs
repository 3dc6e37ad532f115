//! Silos are killed with `kill -9` under load, one after the other; no promise is broken.
//!
//! 20 s, or 60 s with `GRANGE_LONG=1`; `GRANGE_SEED=…` repeats the choices of a run.

use std::time::Duration;

use integration_tests::chaos::{Chaos, run};
use integration_tests::random::{is_long, seed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silos_that_are_killed_again_and_again_break_no_promise() {
    let duration = Duration::from_secs(if is_long() { 60 } else { 20 });
    let report = run(&Chaos { duration, silos: 3, seed: seed() }).await;
    eprintln!("{report}");
    assert!(report.verdict.is_good(), "GRANGE_SEED={}\n{}", report.seed, report.verdict);
    let figures = report.verdict.figures;
    assert!(figures.acknowledged > 500, "it hardly worked: {report}");
    assert!(figures.longest_gap < Duration::from_secs(10), "an entity was away for too long: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_killed_whole_goes_on_when_it_is_back() {
    use integration_tests::bench::{Bench, Plan};
    use integration_tests::verifier::History;
    let mut bench = Bench::start("kill-all", seed(), Plan { silos: 2, ..Plan::default() }).await;
    let work = bench.work().await;
    for _ in 0..2 {
        bench.pass(Duration::from_secs(2)).await;
        bench.silos.iter_mut().for_each(|hosted| hosted.silo.kill());
        bench.pass(Duration::from_millis(500)).await;
        bench.silos.iter_mut().for_each(|hosted| hosted.silo.relaunch());
        for hosted in &mut bench.silos {
            hosted.silo.ready().await;
        }
    }
    bench.pass(Duration::from_secs(1)).await;
    bench.judge_good(work, History::Kept).await;
}
