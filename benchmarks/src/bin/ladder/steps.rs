use benchmarks::callers::Callers;
use benchmarks::local::Local;
use benchmarks::subjects::{asks, hop, turns};
use benchmarks::{Case, Role, Sample};

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

    /// How much its counts may grow unnoticed: what gathers with what, of syncs and of acknowledgements, is not the same each time.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Self::TurnOnDisk => 1.5,
            Self::MessageAcross => 2.0,
            _ => 1.05,
        }
    }

    /// So many operations are enough to count what one of them needs.
    pub(crate) fn counted(self) -> u64 {
        match self {
            _ if self.is_in_memory() => 20_000,
            // Each waits for the disk.
            Self::TurnOnDisk => 400,
            // Long, and not exact anyhow.
            Self::MessageAcross => 1_000,
            _ => 5_000,
        }
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
        let role = if self == Self::Raw { Role::Limit } else { Role::Grange };
        Case::new(role, self.name(), move |operations| self.run(silos, callers, operations))
    }

    fn run(self, silos: &Silos<'_>, callers: Callers, operations: u64) -> Sample {
        match self {
            Self::Raw => silos.local(Local::Send, &silos.memory, callers, operations),
            Self::Ask => silos.local(Local::Ask, &silos.memory, callers, operations),
            Self::Read => silos.local(Local::Read, &silos.memory, callers, operations),
            Self::TurnInMemory => silos.local(Local::Turn, &silos.memory, callers, operations),
            Self::TurnOnDisk => silos.local(Local::Turn, &silos.embedded, callers, operations),
            Self::TurnOnRedis => silos.local(Local::Turn, &silos.on_redis, callers, operations),
            Self::RemoteAsk => silos.runtime.block_on(asks(&silos.to_listening, callers, callers.0, operations)),
            Self::RemoteTurn => silos.runtime.block_on(turns(&silos.to_redis, callers, callers.0, operations)),
            Self::Message => message(silos, callers, operations),
            Self::MessageAcross => message_across(silos, callers, operations),
        }
    }
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
