//! elfo: actors in groups, not virtual: a group starts an actor for a key that it has not seen, and nothing places or moves it.
//! Its nodes share one coalesced connection. It keeps no state, and does not recognise repeated messages.
//!
//! `peer-elfo server PORT`, `peer-elfo client PORT`

use std::sync::Arc;

use elfo::prelude::*;
use elfo::routers::{MapRouter, Outcome};
use elfo::{Blueprint, Context, Topology};
use peer_kit::{argument, end_when_alone, rounds, say, work};

#[message(ret = u64)]
struct Add {
    id: u64,
    n: u64,
}

#[tokio::main]
async fn main() {
    let (role, port) = (argument(0), argument(1).parse::<u16>().expect("a port"));
    let topology = Topology::empty();
    let configurers = topology.local("system.configurers").entrypoint();
    let network = match role.as_str() {
        "server" => format!("[system.network]\nlisten = [\"tcp://127.0.0.1:{port}\"]\n"),
        _ => format!(
            "[system.network]\nlisten = [\"tcp://127.0.0.1:0\"]\ndiscovery.predefined = [\"tcp://127.0.0.1:{port}\"]\n"
        ),
    };
    let network: toml::Value = toml::from_str(&network).expect("a configuration");
    configurers.mount(elfo::batteries::configurer::fixture(&topology, network));
    topology.local("system.network").mount(elfo::batteries::network::new(&topology));
    match role.as_str() {
        "server" => {
            topology.local("counters").mount(counters());
            end_when_alone();
            say("ready");
        }
        _ => {
            let (drivers, counters) = (topology.local("drivers"), topology.remote("counters"));
            drivers.route_to(&counters, |envelope, _nodes| {
                msg!(match envelope {
                    Add => elfo::topology::Outcome::Broadcast,
                    _ => elfo::topology::Outcome::Discard,
                })
            });
            drivers.mount(ActorGroup::new().exec(ask));
        }
    }
    elfo::init::start(topology).await;
}

fn counters() -> Blueprint {
    let router = MapRouter::new(|envelope| {
        msg!(match envelope {
            Add { id, .. } => Outcome::Unicast(*id),
            _ => Outcome::Default,
        })
    });
    ActorGroup::new().router(router).exec(|mut context| async move {
        let mut count = 0;
        while let Some(envelope) = context.recv().await {
            msg!(match envelope {
                (Add { n, .. }, token) => {
                    count += n;
                    context.respond(token, count);
                }
            });
        }
    })
}

/// The driver is an actor, because only actors send.
async fn ask(context: Context) {
    let context = Arc::new(context.pruned());
    let mut tries = 0;
    while let Err(error) = context.request(Add { id: 0, n: 1 }).resolve().await {
        // The nodes find each other a moment after they start.
        tries += 1;
        assert!(tries < 100, "no answer: {error:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut rounds = rounds();
    say("ready");
    while let Some(round) = rounds.recv().await {
        let caller = |id| {
            let context = context.clone();
            // A task that sends needs the scope of an actor.
            elfo::scope::expose().within(async move {
                for _ in 0..round.each {
                    context.request(Add { id, n: 1 }).resolve().await.expect("answers");
                }
            })
        };
        say(work(round, caller).await.as_nanos());
    }
}
