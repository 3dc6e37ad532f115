//! Claim, commit and takeover, checked in every order that there is.
//!
//! Three silos, one entity, one store. The silos' side is a model: small values, one step at a time. What the store answers is
//! decided by the real [`grange::store::MemoryStore`] and its table of silos, to which the conformance suite holds every other
//! store. A step may come at any time: a request may arrive late or never, its answer be lost, a silo crash, stand still, or be
//! declared dead while it lives; the store may begin a new life, also without its last commit.
//!
//! What is bounded ([`Bounds`]): the turns that callers want, and how often each misfortune happens. Within that, [`Protocol`] is
//! checked state by state. Every run of it is finite, so "in the end" is a property of the states in which nobody has anything
//! left to do. A [`Weakness`] takes one rule away, and the checker must say what it was for.
//!
//! Time is coarse: one tick is the time without a renewal after which a silo may be declared dead.

mod activation;
mod cluster;
mod properties;
mod silo;
mod steps;
mod store;
mod weakness;
mod world;

pub use properties::Breach;
pub use steps::Step;
pub use weakness::Weakness;
pub use world::World;

use stateright::{Model, Property};

/// How much may happen in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Calls that change the entity, at each of the silos.
    pub turns: [u8; SILOS],
    /// Silos that crash, or are declared dead though they live.
    pub deaths: u8,
    /// Requests or answers that are lost or late.
    pub losses: u8,
    /// Claims that are given back.
    pub releases: u8,
    /// New lives of the store.
    pub restarts: u8,
    /// Leases that pass.
    pub ticks: u8,
}

/// How many silos there are.
pub const SILOS: usize = 3;

/// The protocol within these bounds, and perhaps without one of its rules.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// How much may happen.
    pub bounds: Bounds,
    /// The rule that is missing.
    pub weakness: Option<Weakness>,
}

impl Protocol {
    /// With all its rules.
    pub fn within(bounds: Bounds) -> Self {
        Self { bounds, weakness: None }
    }

    /// Without one of them.
    pub fn without(weakness: Weakness, bounds: Bounds) -> Self {
        Self { bounds, weakness: Some(weakness) }
    }

    fn lacks(&self, weakness: Weakness) -> bool {
        self.weakness == Some(weakness)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bounds)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend(self.possible(world));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        self.take(&mut world, step);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
