//! Calls inside one process, each with one kind of work: callers are parts of one task on the current thread.

use std::hint::black_box;

use actix::{Actor, Addr};
use grange::prelude::*;
use tokio::runtime::Runtime;

use crate::callers::Callers;
use crate::raw::{Add, Raw};
use crate::subjects::{Counter, Light};
use crate::{Sample, arbiter};

/// What each caller does, to an actor or entity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// Sends to a raw actor on this very arbiter.
    Send,
    /// An exclusive turn of a volatile entity.
    Ask,
    /// A read of a volatile entity.
    AskRead,
    /// A read of a durable entity.
    Read,
    /// An exclusive turn of a durable entity that changes nothing.
    Look,
    /// A turn of a durable entity that commits.
    Turn,
}

impl Local {
    /// So many operations by these callers, here.
    ///
    /// # Panics
    /// When a call fails.
    pub async fn work(self, client: &Client, callers: Callers, operations: u64) -> Sample {
        let light: Vec<_> = (0..callers.0).map(|key| client.entity::<Light>(key)).collect();
        let kept: Vec<_> = (0..callers.0).map(|key| client.entity::<Counter>(key)).collect();
        let (light, kept) = (|caller: u64| &light[caller as usize], |caller: u64| &kept[caller as usize]);
        match self {
            Self::Send => {
                let actors: Vec<_> = (0..callers.0).map(|_| Raw::default().start()).collect();
                sends(&actors, callers, operations).await
            }
            Self::Ask => callers.work(operations, async |caller| used(light(caller).add(1).await)).await,
            Self::AskRead => callers.work(operations, async |caller| used(light(caller).get().await)).await,
            Self::Read => callers.work(operations, async |caller| used(kept(caller).get().await)).await,
            Self::Look => callers.work(operations, async |caller| used(kept(caller).look().await)).await,
            Self::Turn => callers.work(operations, async |caller| used(kept(caller).add(1).await)).await,
        }
    }

    /// The same on an arbiter of the client's silo.
    pub fn on_arbiter(self, runtime: &Runtime, client: &Client, callers: Callers, operations: u64) -> Sample {
        let inner = client.clone();
        runtime.block_on(arbiter::run(client, move || async move { self.work(&inner, callers, operations).await }))
    }
}

/// Each caller sends to an actor of its own, wherever that is.
///
/// # Panics
/// When an actor is gone.
pub async fn sends(actors: &[Addr<Raw>], callers: Callers, operations: u64) -> Sample {
    callers.work(operations, async |caller| used(actors[caller as usize].send(Add(1)).await)).await
}

fn used<E: std::fmt::Debug>(answer: Result<u64, E>) {
    black_box(answer.expect("answers"));
}
