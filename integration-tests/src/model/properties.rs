use std::collections::BTreeSet;

use stateright::Property;

use super::world::Turn;
use super::{Protocol, Weakness, World};

/// What must not happen, and leaves no trace in what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A commit was applied, and its activation was not the one that was granted last.
    Interleaved,
    /// A commit was applied that was made in an earlier life of the store.
    OldLife,
    /// The commit that was applied last was refused.
    Denied,
}

/// What holds in every state, and what has to be seen in some: else nothing was put to the test.
pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("one activation can commit", |_, world: &World| {
            !matches!(world.breach, Some(Breach::Interleaved | Breach::OldLife)) && is_each_once(world)
        }),
        Property::always("the store knows the commit that it applied last", |_, world: &World| {
            world.breach != Some(Breach::Denied)
        }),
        Property::always("what was acknowledged stays", |_, world: &World| {
            all_turns(world, |turn, is_stored| match turn {
                Turn::Acknowledged { generation } => is_stored || generation != world.store.generation(),
                _ => true,
            })
        }),
        Property::always("what was refused is not there", |_, world: &World| {
            all_turns(world, |turn, is_stored| turn != Turn::Refused || !is_stored)
        }),
        Property::always("nobody serves beside a successor", |protocol: &Protocol, world: &World| {
            (0..).zip(&world.silos).all(|(number, _)| !is_stale(protocol, world, number))
        }),
        Property::always("in the end every call has ended", |protocol: &Protocol, world: &World| {
            let ended = |turn: &Turn| !matches!(turn, Turn::Waiting(_) | Turn::Ran(_));
            world.turns.iter().all(ended) || !protocol.is_quiet(world)
        }),
        Property::sometimes("everything is acknowledged", |_, world: &World| {
            world.turns.iter().all(|turn| matches!(turn, Turn::Acknowledged { .. }))
        }),
        Property::sometimes("a turn is there and its caller does not know", |_, world: &World| {
            let unknown = |turn, is_stored: bool| turn != Turn::Unknown || !is_stored;
            !all_turns(world, unknown)
        }),
        Property::sometimes("a turn of a silo that was taken over is refused", |_, world: &World| {
            world.turns.contains(&Turn::Refused)
        }),
        Property::sometimes("a silo keeps what another owns, and its lease is over", |_, world: &World| {
            world.silos.iter().any(|silo| {
                let Some(activation) = &silo.activation else { return false };
                world.store.granted.is_some_and(|granted| granted.owner != activation.ticket.owner)
            })
        }),
    ]
}

/// Whether this holds for each call: what has become of it, and whether its effect is stored.
fn all_turns(world: &World, holds: impl Fn(Turn, bool) -> bool) -> bool {
    let image = world.store.image();
    (0..).zip(&world.turns).all(|(number, turn)| holds(*turn, image.contains(&number)))
}

fn is_each_once(world: &World) -> bool {
    let image = world.store.image();
    image.iter().collect::<BTreeSet<_>>().len() == image.len()
}

/// Whether a silo may answer from its memory, and another one has got the entity since. In a new life of the store there may
/// be one for as long as a lease lasts: an acknowledged turn may be gone then, too.
fn is_stale(protocol: &Protocol, world: &World, number: u8) -> bool {
    let silo = world.silo(number);
    let Some(activation) = &silo.activation else { return false };
    activation.generation == world.store.generation()
        && (silo.holds_lease(world.now) || protocol.lacks(Weakness::LeaseIgnored))
        && world.store.granted.is_some_and(|granted| granted.owner != activation.ticket.owner)
}
