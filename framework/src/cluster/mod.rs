//! Who is in the cluster, whose what is, and how what goes there gets there.
//!
//! `membership` renews this silo's lease, watches the others' and publishes the [`Table`]; `placement` divides the
//! partitions among those who are active; [`Hints`] remember what was found elsewhere; the [`Courier`] brings calls and
//! messages to whoever has their entity. The room decides nothing about an entity: placement and hints say where to ask,
//! the claim in the store says who owns.
//!
//! Always true: all ages are told by the store's clock, and no two hosts' clocks are compared; a silo is dead only by a
//! row in the store, and then for ever; an error of the store says nothing about other silos.

mod connecting;
mod courier;
mod dialling;
mod error;
mod handle;
mod hints;
mod lease;
mod lodging;
mod membership;
mod peer;
mod placement;
mod probe;
mod routing;
#[cfg(feature = "testing")]
mod scatter;
mod settings;
mod suspicion;
mod table;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod trip;
mod waking;

// Under this name, so that a test can put other locks in its place.
use std::sync;

pub(crate) use courier::{Courier, HOPS_MAX, Told};
pub(crate) use error::ClusterError;
pub(crate) use handle::{Event, Handle, Loss};
pub(crate) use hints::Hints;
pub(crate) use lease::{BootClock, Lease};
pub(crate) use lodging::Lodging;
pub(crate) use membership::Membership;
pub(crate) use placement::reslice;
pub(crate) use probe::{Probe, Probed};
pub(crate) use routing::{Home, Route};
#[cfg(feature = "testing")]
pub(crate) use scatter::Scatter;
#[cfg(feature = "testing")]
pub(crate) use settings::Mutant;
pub(crate) use settings::{Settings, Vitals};
pub(crate) use suspicion::{Disturbance, Renewal, Suspicions};
pub(crate) use table::Table;
pub(crate) use waking::{begin_gathering, wake_all, wake_gathered, wake_overdue, way_to};
