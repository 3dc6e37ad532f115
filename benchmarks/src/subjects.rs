//! The entities that are measured: 64 bytes of state, and as little work as there can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grange::prelude::*;
use tokio::sync::Semaphore;

use crate::Sample;
use crate::callers::Callers;

/// Identity and turns, nothing stored.
#[entity(volatile, key = u64)]
#[derive(Debug, Default)]
pub struct Light {
    count: u64,
    _ballast: [u64; 7],
}

#[entity]
impl Light {
    /// An exclusive turn.
    pub async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }
    /// A read.
    pub async fn get(&self) -> u64 {
        self.count
    }
}

/// With a stored state.
#[entity(key = u64)]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counter {
    count: u64,
    ballast: [u64; 7],
}

#[entity]
impl Counter {
    /// A turn that changes the state, and so commits.
    pub async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }
    /// A read.
    pub async fn get(&self) -> u64 {
        self.count
    }
    /// An exclusive turn that changes nothing.
    pub async fn look(&mut self) -> u64 {
        self.count
    }
}

/// Turns of durable entities, from tasks in the current runtime: each caller on entities of its own, one after the other; all
/// on the same one, where there is one.
pub async fn turns(client: &Client, callers: Callers, entities: u64, operations: u64) -> Sample {
    let (client, next) = (client.clone(), starts(callers));
    let work = move |caller: u64| {
        let entity = next[caller as usize].fetch_add(callers.0, Ordering::Relaxed) % entities;
        let call = client.entity::<Counter>(entity).add(1);
        async move {
            call.await.expect("answers");
        }
    };
    callers.tasks(operations, work).await
}

/// Asks of volatile ones, likewise.
pub async fn asks(client: &Client, callers: Callers, entities: u64, operations: u64) -> Sample {
    let (client, next) = (client.clone(), starts(callers));
    let work = move |caller: u64| {
        let entity = next[caller as usize].fetch_add(callers.0, Ordering::Relaxed) % entities;
        let call = client.entity::<Light>(entity).add(1);
        async move {
            call.await.expect("answers");
        }
    };
    callers.tasks(operations, work).await
}

fn starts(callers: Callers) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..callers.0).map(AtomicU64::new).collect())
}

/// Where an entity is: what `turn.data` gives to those that are asked; a silo without it has number 0.
#[derive(Debug, Clone, Copy)]
pub struct Home(pub u32);

/// Sends a durable message to another one, which sends one back.
#[entity(key = u64)]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Hopper {
    count: u64,
    ballast: [u64; 7],
}

/// A permit for each chain of messages that came to its end.
static ENDS: Semaphore = Semaphore::const_new(0);

#[entity]
impl Hopper {
    /// One hop, and the next one to the other.
    pub async fn hop(&mut self, more: u64, other: u64, turn: &mut Turn<Self>) {
        self.count += 1;
        if more == 0 {
            ENDS.add_permits(1);
            return;
        }
        let (next, me) = (turn.entity::<Hopper>(other), *turn.key());
        turn.send(next.hop(more - 1, me));
    }
    /// The number of the silo that this lives in.
    pub async fn home(&self, turn: &Turn<Self>) -> u32 {
        turn.data::<Home>().0
    }
}

/// Lets messages hop to and fro between each of these pairs, so often in each, and waits for the last.
///
/// # Panics
/// When it does not end.
pub async fn hop(client: &Client, pairs: &[(u64, u64)], hops: u64) {
    let starts = pairs.iter().map(|(one, other)| client.entity::<Hopper>(*one).hop(hops, *other));
    for started in futures_util::future::join_all(starts).await {
        started.expect("the first hop is an ask");
    }
    let pairs = u32::try_from(pairs.len()).expect("few pairs");
    let limit = Duration::from_secs(600);
    let ended = tokio::time::timeout(limit, ENDS.acquire_many(pairs)).await.expect("every chain ends");
    ended.expect("it is never closed").forget();
}

/// So many pairs of which one lives in the first silo and one in the second.
///
/// # Panics
/// When entities don't answer.
pub async fn pairs_across(client: &Client, pairs: usize) -> Vec<(u64, u64)> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut key = 0;
    while first.len() < pairs || second.len() < pairs {
        match client.entity::<Hopper>(key).home().await.expect("answers") {
            0 => first.push(key),
            _ => second.push(key),
        }
        key += 1;
    }
    first.into_iter().zip(second).take(pairs).collect()
}
