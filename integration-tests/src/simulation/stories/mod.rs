//! Small stories with one end, told again with each single fault.

mod conditions;
mod corners;
mod effects;
mod everyday;

use std::pin::Pin;
use std::time::Duration;

use grange::testing::{Injected, Report, Simulated, Simulation, Sweep};
use grange::{Mutant, SiloBuilder};

use self::everyday::Seat;
use super::actor::{Actor, ActorRef};
use crate::application::host;

/// Asks under one key until there is an answer.
macro_rules! surely {
    ($cluster:expr, $call:expr) => {{
        let key = $cluster.key();
        loop {
            match $call.idempotent(key).await {
                Ok(value) => break value,
                Err(error) if error.is_retryable() => $cluster.advance(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }};
}

use surely;

/// A story, and how it is told.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Its name. Those that begin with a number are the interleavings of that number in docs/interleavings.md.
    pub name: &'static str,
    hosted: fn(SiloBuilder) -> SiloBuilder,
    tell: fn(Simulated) -> Pin<Box<dyn Future<Output = ()>>>,
    store: Memory,
}

/// What the store of a story does with acknowledged work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// It keeps it.
    Keeps,
    /// It fails over, and loses the last of it.
    Forgets,
    /// Each of its shards does.
    Shards,
}

macro_rules! story {
    ($name:literal, $room:ident::$tell:ident $(, $mark:ident)?) => {
        Story {
            name: $name,
            hosted,
            tell: |cluster| Box::pin($room::$tell(cluster)),
            store: story!(@ $($mark)?),
        }
    };
    (@ forgets) => { Memory::Forgets };
    (@ shards) => { Memory::Shards };
    (@) => { Memory::Keeps };
}

/// All of them.
pub const STORIES: &[Story] = &[
    story!("transfer with continuation", everyday::transfer),
    story!("reservation with timeout", everyday::reservation),
    story!("idempotent ask across a failover", everyday::idempotent),
    story!("reminder", everyday::reminder),
    story!("fan-out to 10 entities", everyday::fan_out),
    story!("entity moving while messages arrive", everyday::moving),
    story!("nothing stale from a silo that is cut off", everyday::stale),
    story!("the only silo that a client still reaches is cut off", corners::only_way),
    story!("the store is emptied", effects::emptied, forgets),
    story!("1: a duplicate before the commit", effects::duplicate),
    story!("2: done, though it looks refused", effects::looks_refused),
    story!("3: a refused turn", effects::refused_turn),
    story!("4: an ask inside a turn that runs again", effects::ask_inside),
    story!("5: the outcome's way back", effects::way_back),
    story!("6: a partner that retires", effects::retiring),
    story!("7: one failover after the other", effects::failovers, forgets),
    story!("8: one shard loses its tail", effects::shard, shards),
    story!("9: idempotent asks", effects::idempotent),
    story!("10: due soon, and due tomorrow", effects::agenda),
    story!("11: unreachable is not dead", corners::unreachable),
    story!("12: locked out by oneself", corners::locked_out),
    story!("13: dead letters", corners::dead_letters),
    story!("14: a message that kills", corners::poison),
    story!("15: a retry that kills", corners::retry_that_kills),
    story!("17: a name that is used again", corners::name_again),
    story!("18: an old silo and a new one", corners::upgrade),
    story!("19: a cycle that two chains close", corners::cycle),
    story!("20: a turn that hangs", corners::hangs),
    story!("21: a limit is no refusal", corners::no_refusal),
    story!("22: the store's clock jumps", conditions::clock),
    story!("23: a turn that is too large", conditions::too_large),
    story!("24: a panic among good turns", conditions::panic),
    story!("27: tokens after a lost tail", conditions::tokens, forgets),
    story!("28: an owner that is new here", conditions::new_owner),
    story!("29: a release that comes late", conditions::late_release),
    story!("31: work outside", conditions::outside),
    story!("32: the order of what was staged", conditions::order),
];

/// What every silo hosts; some are older than others, see [`corners::upgrade`].
fn hosted(silo: SiloBuilder) -> SiloBuilder {
    corners::some_version(host(silo).entity::<Seat>().entity::<Actor>())
}

impl Story {
    fn simulation(&self, seed: u64, mutant: Option<Mutant>) -> Simulation {
        let shards = if self.store == Memory::Shards { 4 } else { 1 };
        let simulation = Simulation::new(seed).silos(3, self.hosted).shards(shards).limit(Duration::from_secs(300));
        match mutant {
            Some(mutant) => simulation.mutant(mutant),
            None => simulation,
        }
    }

    /// Tells it once, without faults but its own, each of which must come.
    pub fn run(&self, seed: u64, mutant: Option<Mutant>) -> Report {
        self.simulation(seed, mutant).run(async |cluster| {
            (self.tell)(cluster.clone()).await;
            assert_eq!(cluster.not_injected(), Vec::<String>::new(), "the story did not come to it");
        })
    }

    /// Tells it with these faults more, at these points.
    pub fn run_exactly(&self, faults: Vec<(u64, Injected)>) -> Report {
        self.simulation(0, None).run_exactly(faults, async |cluster| (self.tell)(cluster).await)
    }

    /// Tells it again with each single fault more, and with so many pairs of them.
    pub fn sweep(&self, pairs: usize) -> Sweep {
        let mut these = Injected::ALL.to_vec();
        if self.store != Memory::Keeps {
            these.push(Injected::StoreForgets);
        }
        self.simulation(0, None).sweep_of(&these, pairs, async |cluster| (self.tell)(cluster).await)
    }
}

/// Everything is well and at rest.
async fn rest(cluster: &Simulated) {
    cluster.calm().await;
    cluster.settled(Duration::from_secs(60)).await;
    assert_eq!(cluster.dead_letters().await, 0, "dead letters");
}

/// An actor that is active, by this name and a number: on another silo than all of those.
async fn apart(cluster: &Simulated, name: &str, those: &[&ActorRef]) -> ActorRef {
    let client = cluster.client();
    for number in 0..1_000 {
        let actor = client.entity::<Actor>(format!("{name}{number}"));
        while actor.total().await.is_err() {
            cluster.advance(Duration::from_millis(50)).await;
        }
        let host = cluster.host_of(&actor);
        if host.is_some() && those.iter().all(|other| cluster.host_of(*other) != host) {
            return actor;
        }
    }
    panic!("a thousand actors on one silo: {those:?}");
}

/// Two actors on two silos.
async fn two(cluster: &Simulated) -> (ActorRef, ActorRef) {
    let a = apart(cluster, "a", &[]).await;
    let b = apart(cluster, "b", &[&a]).await;
    (a, b)
}
