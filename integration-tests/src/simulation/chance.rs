//! A load, and whatever goes wrong by chance; the verdict is that of real processes.

use std::time::Duration;

use grange::Mutant;
use grange::testing::{Faults, Report, Simulated, Simulation};

use crate::application::host;
use crate::load::{Keys, Load, Pace, Population, open_accounts, read_state};
use crate::random::Random;
use crate::recording::{Journal, Recording};
use crate::verifier::{FinalState, History, Verdict, verify};

/// How long the load works, in virtual time.
const WORKS: Duration = Duration::from_secs(20);

/// How long everything may take to come to its end when the faults are over.
const SETTLES: Duration = Duration::from_secs(120);

/// Silos.
const SILOS: usize = 3;

/// The run of this seed; with this mistake, if one is given.
pub fn run(seed: u64, faults: Faults, mutant: Option<Mutant>) -> Report<Verdict> {
    let simulation = Simulation::new(seed).silos(SILOS, host).faults(faults).clocks_that_drift();
    let simulation = match mutant {
        Some(mutant) => simulation.mutant(mutant),
        None => simulation,
    };
    simulation.run(async |cluster| {
        let verdict = judged(&cluster, seed).await;
        assert!(verdict.is_good(), "{verdict}");
        verdict
    })
}

/// Whether the store of this seed's run loses acknowledged writes.
fn forgets(seed: u64) -> bool {
    seed % 4 == 3
}

async fn judged(cluster: &Simulated, seed: u64) -> Verdict {
    let (client, population) = (cluster.client(), Population::new("", 8));
    let keys = {
        let cluster = cluster.clone();
        Keys::new(move || cluster.key())
    };
    open_accounts(&client, &population, &keys).await;
    let journal = Journal::in_memory();
    let pace = Pace { tasks: 6, pause_us_max: 300_000 };
    let mut random = Random::new(seed);
    let clients = [client.clone()];
    let load = Load::start(&clients, &journal, &population, &mut random, &pace, &keys);
    disturb(cluster, &mut random, forgets(seed)).await;
    load.stop().await;
    cluster.calm().await;
    // Nobody is asked meanwhile: what is left comes to its end by itself.
    let end = cluster.now() + SETTLES;
    let due = loop {
        let due = cluster.due().await;
        if due.is_empty() || cluster.now() > end {
            break due;
        }
        cluster.advance(Duration::from_millis(200)).await;
    };
    let state = FinalState { due: Some(due), ..read_state(&client, &population).await };
    let recording = Recording::of(journal.entries()).unwrap_or_else(|error| panic!("{error}"));
    let history = if forgets(seed) { History::LostItsEnd } else { History::Kept };
    let verdict = verify(&recording, &state, history);
    if !verdict.is_good() {
        for ask in &recording.asks {
            cluster.note(format!("{} at {} µs: {:?} {:?}", ask.number, ask.asked.at, ask.operation, ask.ended));
        }
        cluster.note(format!("in the end: {state:?}"));
    }
    verdict
}

/// What is no fault at a point: parts of the network that don't reach each other, silos that come and go.
async fn disturb(cluster: &Simulated, random: &mut Random, forgets: bool) {
    const STEPS: u32 = 10;
    let name = |random: &mut Random| match random.index(SILOS + 1) {
        SILOS => "client".to_owned(),
        number => format!("silo-{number}"),
    };
    for _ in 0..STEPS {
        cluster.advance(WORKS / STEPS).await;
        match random.below(8) {
            0 => cluster.part(&name(random), &name(random)),
            1 => {
                let (one, other) = (name(random), name(random));
                cluster.part(&one, &other);
                cluster.part(&other, &one);
            }
            2 => {
                let silo = random.index(SILOS);
                let left = cluster.leave(silo).await;
                cluster.note(format!("silo-{silo} left: {left:?}"));
                let _ = cluster.restart(silo).await;
            }
            3 => cluster.cut_store(random.index(SILOS)),
            4 if forgets => drop(cluster.fail_over(Duration::from_millis(random.below(500)))),
            _ => cluster.heal(),
        }
    }
}
