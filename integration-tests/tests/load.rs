//! The load, its recording and the verifier find nothing wrong where nothing fails: in one process.

use std::time::Duration;

use grange::Silo;
use integration_tests::application::host;
use integration_tests::load::{Keys, Load, Pace, Population, open_accounts, settle};
use integration_tests::random::{Random, seed};
use integration_tests::recording::{Journal, Recording};
use integration_tests::verifier::{History, verify};
use integration_tests::wait::LIMIT;

#[tokio::test]
async fn a_load_on_one_silo_keeps_every_promise() {
    let seed = seed();
    eprintln!("GRANGE_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let silo = host(Silo::builder()).embedded(directory.path().join("data")).start().await.unwrap();
    let (client, population) = (silo.client(), Population::new("", 12));
    open_accounts(&client, &population, &Keys::default()).await;
    let journal = Journal::create(&directory.path().join("journal"));
    let settings = Pace { tasks: 12, pause_us_max: 2_000 };
    let load = Load::start(
        std::slice::from_ref(&client),
        &journal,
        &population,
        &mut Random::new(seed),
        &settings,
        &Keys::default(),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop().await;
    let state = settle(&client, &population, LIMIT).await;
    let verdict = verify(&Recording::read(journal.path()).unwrap(), &state, History::Kept);
    eprintln!("{verdict}");
    assert!(verdict.is_good(), "GRANGE_SEED={seed}\n{verdict}");
    let figures = verdict.figures;
    assert!(figures.acknowledged > 100 && figures.unknown == 0 && figures.messages > 50, "{verdict}");
    silo.shutdown().await.unwrap();
}
