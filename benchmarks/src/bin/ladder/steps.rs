use actix::Actor;
use benchmarks::callers::Callers;
use benchmarks::raw::{Add, Raw};
use benchmarks::subjects::{Counter, Light, hop};
use benchmarks::{Case, Sample, arbiter};
use grange::prelude::*;

use crate::silos::{PAIRS, Silos};

/// The rungs, each of which adds one thing to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Raw,
    Ask,
    Read,
    TurnInMemory,
    TurnOnDisk,
    TurnOnRedis,
    RemoteAsk,
    RemoteTurn,
    Message,
    MessageAcross,
}

impl Step {
    pub(crate) fn all() -> [Self; 10] {
        use Step::*;
        [Raw, Ask, Read, TurnInMemory, TurnOnDisk, TurnOnRedis, RemoteAsk, RemoteTurn, Message, MessageAcross]
    }

    /// Whether it asks nothing of a disk or of a network, so that what it does is the same each time.
    pub(crate) fn is_in_memory(self) -> bool {
        matches!(self, Self::Raw | Self::Ask | Self::Read | Self::TurnInMemory)
    }

    /// So many operations are enough to count what one of them needs.
    pub(crate) fn counted(self) -> u64 {
        if self.is_in_memory() { 20_000 } else { 2_000 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "actix Addr::send",
            Self::Ask => "ask, volatile",
            Self::Read => "read, durable",
            Self::TurnInMemory => "turn, memory store",
            Self::TurnOnDisk => "turn, embedded store, synced",
            Self::TurnOnRedis => "turn, Redis",
            Self::RemoteAsk => "ask over TCP, volatile",
            Self::RemoteTurn => "turn over TCP, Redis",
            Self::Message => "durable message, memory store",
            Self::MessageAcross => "durable message across silos, Redis",
        }
    }

    pub(crate) fn case<'a>(self, silos: &'a Silos<'_>, callers: Callers) -> Case<'a> {
        match self {
            Self::Raw => Case::limit(self.name(), move |operations| raw(silos, callers, operations)),
            _ => Case::grange(self.name(), move |operations| self.run(silos, callers, operations)),
        }
    }

    fn run(self, silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
        match self {
            Self::Raw => raw(silos, callers, operations),
            Self::Ask => ask(silos, &silos.memory, callers, operations),
            Self::Read => read(silos, &silos.memory, callers, operations),
            Self::TurnInMemory => turn(silos, &silos.memory, callers, operations),
            Self::TurnOnDisk => turn(silos, &silos.embedded, callers, operations),
            Self::TurnOnRedis => turn(silos, &silos.on_redis, callers, operations),
            Self::RemoteAsk => remote_ask(silos, callers, operations),
            Self::RemoteTurn => remote_turn(silos, callers, operations),
            Self::Message => message(silos, callers, operations),
            Self::MessageAcross => message_across(silos, callers, operations),
        }
    }
}

fn raw(silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
    silos.runtime.block_on(arbiter::run(&silos.memory.client(), move || async move {
        let actors: Vec<_> = (0..callers.0).map(|_| Raw::default().start()).collect();
        let send = async |caller: u64| {
            std::hint::black_box(actors[caller as usize].send(Add(1)).await.expect("answers"));
        };
        callers.work(operations, send).await
    }))
}

pub(crate) fn ask(silos: &Silos<'_>, silo: &Silo, callers: Callers, operations: u64) -> Sample {
    let client = silo.client();
    silos.runtime.block_on(arbiter::run(&silo.client(), move || async move {
        let entities: Vec<_> = (0..callers.0).map(|key| client.entity::<Light>(key)).collect();
        let ask = async |caller: u64| {
            std::hint::black_box(entities[caller as usize].add(1).await.expect("answers"));
        };
        callers.work(operations, ask).await
    }))
}

pub(crate) fn read(silos: &Silos<'_>, silo: &Silo, callers: Callers, operations: u64) -> Sample {
    let client = silo.client();
    silos.runtime.block_on(arbiter::run(&silo.client(), move || async move {
        let entities: Vec<_> = (0..callers.0).map(|key| client.entity::<Counter>(key)).collect();
        let ask = async |caller: u64| {
            std::hint::black_box(entities[caller as usize].get().await.expect("answers"));
        };
        callers.work(operations, ask).await
    }))
}

pub(crate) fn look(silos: &Silos<'_>, silo: &Silo, callers: Callers, operations: u64) -> Sample {
    let client = silo.client();
    silos.runtime.block_on(arbiter::run(&silo.client(), move || async move {
        let entities: Vec<_> = (0..callers.0).map(|key| client.entity::<Counter>(key)).collect();
        let ask = async |caller: u64| {
            std::hint::black_box(entities[caller as usize].look().await.expect("answers"));
        };
        callers.work(operations, ask).await
    }))
}

pub(crate) fn turn(silos: &Silos<'_>, silo: &Silo, callers: Callers, operations: u64) -> Sample {
    let client = silo.client();
    silos.runtime.block_on(arbiter::run(&silo.client(), move || async move {
        let entities: Vec<_> = (0..callers.0).map(|key| client.entity::<Counter>(key)).collect();
        let ask = async |caller: u64| {
            std::hint::black_box(entities[caller as usize].add(1).await.expect("answers"));
        };
        callers.work(operations, ask).await
    }))
}

fn remote_ask(silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
    let client = silos.to_listening.clone();
    silos.runtime.block_on(callers.tasks(operations, move |caller| {
        let call = client.entity::<Light>(caller).add(1);
        async move {
            call.await.expect("answers");
        }
    }))
}

fn remote_turn(silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
    let client = silos.to_redis.clone();
    silos.runtime.block_on(callers.tasks(operations, move |caller| {
        let call = client.entity::<Counter>(caller).add(1);
        async move {
            call.await.expect("answers");
        }
    }))
}

fn message(silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
    let pairs: Vec<_> = (0..callers.0).map(|pair| (2 * pair, 2 * pair + 1)).collect();
    let (client, each) = (silos.memory.client(), callers.each(operations));
    Sample { operations: each * callers.0, ..Sample::timed(0, || silos.runtime.block_on(hop(&client, &pairs, each))) }
}

fn message_across(silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
    let pairs = &silos.across[..(callers.0 as usize).min(PAIRS)];
    let (client, each) = (silos.pair[0].client(), callers.each(operations));
    Sample { operations: each * callers.0, ..Sample::timed(0, || silos.runtime.block_on(hop(&client, pairs, each))) }
}
