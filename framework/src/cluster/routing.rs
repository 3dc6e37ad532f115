//! Where an entity is, as far as is known here: what was learned, or what placement says.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::cluster::Table;
use crate::cluster::courier::{Courier, HOPS_MAX, lock};
use crate::entity::Placement;
use crate::store::{Incarnation, Member, Status};
use crate::wire::EntityId;

/// What of this process concerns routing, if it is a silo.
pub(crate) struct Home {
    /// The kinds that it hosts.
    pub(crate) kinds: HashMap<String, Placement, RandomState>,
    /// Whether nothing new may start here.
    pub(crate) closed: Box<dyn Fn() -> bool + Send + Sync>,
    /// How many entities are in memory here.
    pub(crate) load: Box<dyn Fn() -> u64 + Send + Sync>,
    /// A connection to this silo broke.
    pub(crate) suspect: Box<dyn Fn(Incarnation) + Send + Sync>,
}

/// Where something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Here,
    To { address: Arc<str>, incarnation: Incarnation },
    Nowhere { why: &'static str, unhosted: bool },
}

impl Courier {
    pub(super) fn is_me(&self, incarnation: Incarnation) -> bool {
        self.home.get().is_some() && self.identity.incarnation() == incarnation
    }

    /// Where this entity is, as far as is known here.
    pub(crate) fn route(&self, id: &EntityId) -> Route {
        let table = self.table();
        if let Some(owner) = self.hints.get(id) {
            if let Some(route) = self.route_to(&table, owner) {
                return route;
            }
            self.hints.forget(id);
        }
        let is_active = |me| table.status(me) == Some(Status::Active);
        let chosen = match self.hosted(id) {
            Some(Placement::Local) if is_active(self.identity.incarnation()) => Some(self.identity.incarnation()),
            Some(Placement::Balanced) => table.two_choices(id).map(|(one, other)| self.less_busy(one, other)),
            _ => self.placed(&table, id),
        };
        match chosen.and_then(|chosen| self.route_to(&table, chosen)) {
            Some(route) => route,
            None if table.version() == 0 => Route::Nowhere { why: "the cluster is not known yet", unhosted: false },
            None => Route::Nowhere { why: "no silo that takes work hosts its kind", unhosted: true },
        }
    }

    /// How entities of this one's kind are placed, if they are hosted here.
    fn hosted(&self, id: &EntityId) -> Option<Placement> {
        let placement = self.home.get()?.kinds.get(&*id.kind).copied()?;
        #[cfg(feature = "testing")]
        if self.identity.world.scatter().is_some() {
            return Some(Placement::Partition);
        }
        Some(placement)
    }

    /// Whom placement gives an entity to that nobody owns.
    fn placed(&self, table: &Arc<Table>, id: &EntityId) -> Option<Incarnation> {
        #[cfg(feature = "testing")]
        if let Some(scatter) = self.identity.world.scatter() {
            return scatter.place(table, id, self.identity.incarnation());
        }
        table.candidate(id).map(|silo| silo.incarnation)
    }

    pub(super) fn route_to(&self, table: &Table, incarnation: Incarnation) -> Option<Route> {
        if self.is_me(incarnation) {
            let closed = self.home.get().is_some_and(|home| (home.closed)());
            return Some(match closed {
                true => Route::Nowhere { why: "this silo is leaving the cluster", unhosted: false },
                false => Route::Here,
            });
        }
        Some(Route::To { address: table.address(incarnation)?.clone(), incarnation })
    }

    pub(super) fn less_busy(&self, one: &Member, other: &Member) -> Incarnation {
        let (one, other) = (one.incarnation, other.incarnation);
        let loads = lock(&self.loads);
        let load = |incarnation| match self.home.get() {
            Some(home) if self.is_me(incarnation) => (home.load)(),
            _ => loads.get(&incarnation).copied().unwrap_or(0),
        };
        if load(other) < load(one) { other } else { one }
    }

    /// Whether an entity that is in no memory here may be taken into it.
    pub(crate) fn may_take(&self, id: &EntityId, hops: u8) -> bool {
        let Some(home) = self.home.get() else { return false };
        if (home.closed)() {
            return false;
        }
        match self.hosted(id) {
            None => false,
            Some(Placement::Local) => true,
            Some(Placement::Balanced) => hops > 0,
            Some(Placement::Partition) => {
                hops >= HOPS_MAX || self.placed(&self.table(), id).is_some_and(|silo| self.is_me(silo))
            }
        }
    }

    /// Whether this silo should keep an entity that it has in memory.
    pub(crate) fn may_keep(&self, id: &EntityId) -> bool {
        match self.hosted(id) {
            Some(Placement::Partition) => {
                let table = self.table();
                table.status(self.identity.incarnation()) != Some(Status::Active)
                    || self.placed(&table, id).is_none_or(|silo| self.is_me(silo))
            }
            _ => true,
        }
    }

    /// An entity speaks from there.
    pub(crate) fn heard_from(&self, id: &EntityId, silo: Incarnation) {
        match self.placed(&self.table(), id) {
            Some(placed) if placed == silo => self.hints.forget(id),
            _ => self.hints.note(id.clone(), silo),
        }
    }

    /// The owner, for whoever asked here in vain.
    pub(crate) fn owner(&self, id: &EntityId) -> Option<Incarnation> {
        match self.route(id) {
            Route::To { incarnation, .. } => Some(incarnation),
            Route::Here | Route::Nowhere { .. } => None,
        }
    }
}
