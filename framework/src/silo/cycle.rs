//! Cycles of asks: found at once when a call's own chain waits for it, by probes when two chains close one together.
//!
//! Probes follow the edges "waits for" (Chandy, Misra, Haas, *Distributed Deadlock Detection*, 1983): an ask that has
//! waited a while behind a turn sends one along that turn's own asks; if it comes back to a turn of the ask's chain, the
//! ask waits for itself. Of the asks on the way round, the youngest is the one that fails, so that only one does.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::CallError;
use crate::entity::{Entity, MethodInfo, Named, Origin, RefInner, Tick};
use crate::silo::activation::{Activation, Control, Queued};
use crate::silo::host::{Host, Relation};
use crate::silo::shared::Post;
use crate::telemetry::Counter;
use crate::wire::EntityId;

/// How long an ask waits before it suspects a cycle, in ms. It searches then, and again after each time five times as
/// long: a cycle is closed by the last of its asks, which finds it with its first search, unless that met a move.
const SUSPICION_MS: Tick = 50;

/// The longest cycle that is found.
const HOPS_MAX: usize = 32;

/// A search for cycles, on its way along the asks that turns wait for. It searches for every suspicious ask of one
/// entity at once: they wait for the same turns.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// The entity that it visits.
    pub(crate) at: EntityId,
    /// The ask at that entity which the turn before it waits for; 0 at the start.
    awaited: u64,
    search: Arc<Search>,
    /// The youngest ask on the way.
    youngest: u64,
    path: Vec<EntityId>,
}

#[derive(Debug)]
struct Search {
    /// Where the suspects wait.
    from: EntityId,
    suspects: Vec<Suspect>,
    /// Asks that it has followed.
    visited: Mutex<HashSet<u64>>,
}

/// An ask that has waited long enough.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Suspect {
    call: u64,
    /// The entity whose turn asks.
    asker: EntityId,
    /// The turns of its chain.
    turns: Vec<u64>,
}

/// A probe as it travels to another silo.
#[derive(Debug, Serialize, Deserialize)]
struct Travelling {
    at: EntityId,
    awaited: u64,
    from: EntityId,
    suspects: Vec<Suspect>,
    visited: Vec<u64>,
    youngest: u64,
    path: Vec<EntityId>,
}

/// An ask that waits for itself: what a search found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The entity in whose queue it waits.
    pub(crate) at: EntityId,
    call: u64,
    /// The way round.
    chain: Vec<String>,
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let visited = self.search.visited.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let travelling = Travelling {
            at: self.at.clone(),
            awaited: self.awaited,
            from: self.search.from.clone(),
            suspects: self.search.suspects.clone(),
            visited,
            youngest: self.youngest,
            path: self.path.clone(),
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Travelling { at, awaited, from, suspects, visited, youngest, path } =
            Travelling::deserialize(deserializer)?;
        let search = Search { from, suspects, visited: Mutex::new(visited.into_iter().collect()) };
        Ok(Self { at, awaited, search: Arc::new(search), youngest, path })
    }
}

impl<E: Entity> Host<E> {
    /// How a call that a turn makes stands to the turns that run here.
    pub(crate) fn relation(
        &self,
        activation: &Activation<E>,
        control: &Control<E>,
        parent: &Origin,
        method: &MethodInfo,
    ) -> Relation {
        if !control.is_running() {
            return Relation::Stranger;
        }
        let me = activation.to.id();
        let mut names = vec![me.to_string()];
        for origin in parent.chain() {
            names.push(origin.entity.id().to_string());
            if origin.is_over() || origin.entity.id() != me {
                continue;
            }
            // Nobody says of a turn whose chain came from another silo that it is over: it is one of those that wait, or is.
            if origin.entity.is_distant() && !control.suspended().iter().any(|turn| turn.context.number == origin.turn)
            {
                continue;
            }
            if !origin.exclusive && !method.exclusive {
                return Relation::Reentrant;
            }
            names.reverse();
            return Relation::Cycle(names);
        }
        Relation::Stranger
    }

    /// Sends probes for the asks that have waited long enough.
    pub(crate) fn search_cycles(&self, now: Tick) {
        let places: Vec<usize> = self.catalog.borrow().contended.iter().copied().collect();
        for place in places {
            let Some(activation) = self.catalog.borrow().activations.get(place).cloned() else { continue };
            let probes = {
                let mut control = activation.control.borrow_mut();
                let (suspects, contended) = suspects(&mut control, now);
                if !contended {
                    self.catalog.borrow_mut().contended.remove(&place);
                }
                if suspects.is_empty() {
                    continue;
                }
                let at = activation.to.id().clone();
                let search = Arc::new(Search { from: at.clone(), suspects, visited: Mutex::default() });
                self.onward(&control, true, &Probe { at, awaited: 0, search, youngest: 0, path: Vec::new() })
            };
            probes.into_iter().for_each(|probe| self.shared.post(Post::Probe(probe)));
        }
    }

    /// A probe has come to one of our entities.
    pub(crate) fn follow(self: &Rc<Self>, to: &Arc<RefInner<E>>, mut probe: Probe) {
        let Some(activation) = self.catalog.borrow().find(to).cloned() else { return };
        let control = activation.control.borrow();
        let queued = control.queued().any(|queued| match queued {
            Queued::Call(call) => call.head().is_some_and(|head| head.call == probe.awaited),
            _ => false,
        });
        if queued {
            probe.youngest = probe.youngest.max(probe.awaited);
        }
        let mut found = Vec::new();
        for turn in in_the_way(&control, queued, probe.awaited) {
            for suspect in probe.search.suspects.iter().filter(|suspect| suspect.turns.contains(&turn)) {
                // An older one than another on the way: that one finds the cycle, too, and only it ends.
                if suspect.call >= probe.youngest {
                    let (at, chain) = (probe.search.from.clone(), names(suspect, &probe));
                    found.push(Found { at, call: suspect.call, chain });
                }
            }
        }
        let onward = self.onward(&control, queued, &probe);
        drop(control);
        found.into_iter().for_each(|found| self.shared.post(Post::Found(found)));
        onward.into_iter().for_each(|probe| self.shared.post(Post::Probe(probe)));
    }

    /// An ask that waits at one of our entities waits for itself: it is not run.
    pub(crate) fn end_cycle(self: &Rc<Self>, to: &Arc<RefInner<E>>, found: Found) {
        let Some(activation) = self.catalog.borrow().find(to).cloned() else { return };
        let call = {
            let mut control = activation.control.borrow_mut();
            let is_it = |queued: &Queued<E>| match queued {
                Queued::Call(call) => call.head().is_some_and(|head| head.call == found.call),
                _ => false,
            };
            let queue = &mut control.crowd().queue;
            queue.iter().position(is_it).and_then(|place| queue.remove(place))
        };
        if let Some(Queued::Call(call)) = call {
            self.shard().count(Counter::CallCyclic);
            call.refuse(CallError::Cycle { chain: found.chain });
        }
        self.pump(&activation);
    }

    /// The probe, one hop further: to whatever the turns wait for that stand in the awaited ask's way, or are it.
    fn onward(&self, control: &Control<E>, queued: bool, probe: &Probe) -> Vec<Probe> {
        if probe.path.len() >= HOPS_MAX {
            return Vec::new();
        }
        let mut visited = probe.search.visited.lock().unwrap_or_else(PoisonError::into_inner);
        in_the_way(control, queued, probe.awaited)
            .flat_map(|turn| self.shared.waits.of(turn))
            .filter(|wait| visited.insert(wait.call))
            .map(|wait| {
                let mut path = probe.path.clone();
                path.push(probe.at.clone());
                Probe { at: wait.to, awaited: wait.call, path, ..probe.clone() }
            })
            .collect()
    }
}

/// The turns that a queued ask waits for; or the one that is the ask itself.
fn in_the_way<E: Entity>(control: &Control<E>, queued: bool, awaited: u64) -> impl Iterator<Item = u64> {
    control.suspended().iter().map(|turn| turn.context.number).filter(move |turn| queued || *turn == awaited)
}

/// The asks whose time to search has come; and whether there are asks of turns at all.
fn suspects<E: Entity>(control: &mut Control<E>, now: Tick) -> (Vec<Suspect>, bool) {
    let (mut suspects, mut contended) = (Vec::new(), false);
    for queued in control.queued_mut() {
        let Queued::Call(call) = queued else { continue };
        let Some((chain, head)) = call.head_mut().as_mut().and_then(|head| Some((head.parent.clone()?, head))) else {
            continue;
        };
        contended = true;
        if now.saturating_sub(head.arrived) < SUSPICION_MS * 5_u64.saturating_pow(head.searches) {
            continue;
        }
        head.searches += 1;
        let number = head.call;
        if call.caller().is_some_and(|caller| caller.waits()) {
            let turns = chain.chain().map(|origin| origin.turn).collect();
            suspects.push(Suspect { call: number, asker: chain.entity.id().clone(), turns });
        }
    }
    (suspects, contended)
}

/// The way round: from the entity whose turn asks, back to it.
fn names(suspect: &Suspect, probe: &Probe) -> Vec<String> {
    let asker = &suspect.asker;
    let mut names = vec![asker.to_string()];
    names.extend(probe.path.iter().chain([&probe.at]).map(ToString::to_string));
    if names.last() != names.first() {
        names.push(asker.to_string());
    }
    names
}
