use std::future::Future;
use std::time::Duration;

use grange::prelude::*;
use tokio::time::{Instant, sleep};

use crate::application::{Ledger, OPENING, Once, Register, Source, Window};
use crate::load::persist::PATIENCE;
use crate::load::{Keys, Population};
use crate::verifier::FinalState;

/// How long a read of the final state is tried; everything is well by then.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Opens every account.
///
/// # Panics
/// When one can't be opened.
pub async fn open_accounts(client: &Client, population: &Population, keys: &Keys) {
    for name in &population.ledgers {
        let ledger = client.entity::<Ledger>(name);
        let key = keys.fresh();
        surely(&format!("opening {name}"), || ledger.open(OPENING).timeout(TIMEOUT).idempotent(key)).await;
    }
}

/// Waits until everything that was sent has arrived, or the limit has come, and reads the state then.
pub async fn settle(client: &Client, population: &Population, limit: Duration) -> FinalState {
    let start = Instant::now();
    loop {
        let state = read_state(client, population).await;
        if state.is_drained() || start.elapsed() > limit {
            return state;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The state of every entity, read one by one.
///
/// # Panics
/// When one does not answer.
pub async fn read_state(client: &Client, population: &Population) -> FinalState {
    let mut state = FinalState::default();
    for name in &population.ledgers {
        let read = surely(name, || client.entity::<Ledger>(name).books().timeout(TIMEOUT)).await;
        state.ledgers.insert(name.clone(), read);
    }
    for name in &population.sources {
        let read = surely(name, || client.entity::<Source>(name).sent().timeout(TIMEOUT)).await;
        state.sources.insert(name.clone(), read);
    }
    for name in &population.windows {
        let read = surely(name, || client.entity::<Window>(name).streams().timeout(TIMEOUT)).await;
        state.windows.insert(name.clone(), read);
    }
    for name in &population.registers {
        let read = surely(name, || client.entity::<Register>(name).read().timeout(TIMEOUT)).await;
        state.registers.insert(name.clone(), read);
    }
    for name in &population.lists {
        let read = surely(name, || client.entity::<Once>(name).ids().timeout(TIMEOUT)).await;
        state.lists.insert(name.clone(), read);
    }
    state
}

/// Asks until there is an answer: after the faults everything has to answer.
async fn surely<T, F: Future<Output = Result<T, CallError>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{what:?} does not answer: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
