//! Cycles of asks: found at once when a call's own chain waits for it, by probes when two chains close one together.
//!
//! Probes follow the edges "waits for" (Chandy, Misra, Haas, *Distributed Deadlock Detection*, 1983): an ask that has
//! waited a while behind a turn sends one along that turn's own asks; if it comes back to a turn of the ask's chain, the
//! ask waits for itself. Of the asks on the way round, the youngest is the one that fails, so that only one does.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::CallError;
use crate::entity::{Caller, Entity, MethodInfo, Named, Origin, RefInner, Tick};
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
#[derive(Clone)]
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

struct Search {
    suspects: Vec<Suspect>,
    /// Asks that it has followed.
    visited: Mutex<HashSet<u64>>,
}

/// An ask that has waited long enough.
struct Suspect {
    call: u64,
    caller: Arc<dyn Caller>,
    chain: Arc<Origin>,
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
                let search = Arc::new(Search { suspects, visited: Mutex::default() });
                let at = activation.to.id().clone();
                self.onward(&control, true, &Probe { at, awaited: 0, search, youngest: 0, path: Vec::new() })
            };
            probes.into_iter().for_each(|probe| self.shared.post(Post::Probe(probe)));
        }
    }

    /// A probe has come to one of our entities.
    pub(crate) fn follow(self: &Rc<Self>, to: &Arc<RefInner<E>>, mut probe: Probe) {
        let Some(activation) = self.catalog.borrow().find(to).cloned() else { return };
        let control = activation.control.borrow();
        let queued = control.queue.iter().any(|queued| match queued {
            Queued::Call(call) => call.head().is_some_and(|head| head.call == probe.awaited),
            _ => false,
        });
        if queued {
            probe.youngest = probe.youngest.max(probe.awaited);
        }
        for turn in in_the_way(&control, queued, probe.awaited) {
            let waits_for_itself = |suspect: &&Suspect| suspect.chain.chain().any(|origin| origin.turn == turn);
            for suspect in probe.search.suspects.iter().filter(waits_for_itself) {
                // An older one than another on the way: that one finds the cycle, too, and only it ends.
                if suspect.call >= probe.youngest {
                    self.shard().count(Counter::CallCyclic);
                    suspect.caller.fail(CallError::Cycle { chain: names(suspect, &probe) });
                }
            }
        }
        let onward = self.onward(&control, queued, &probe);
        drop(control);
        onward.into_iter().for_each(|probe| self.shared.post(Post::Probe(probe)));
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
    control.suspended.iter().map(|turn| turn.context.number).filter(move |turn| queued || *turn == awaited)
}

/// The asks whose time to search has come; and whether there are asks of turns at all.
fn suspects<E: Entity>(control: &mut Control<E>, now: Tick) -> (Vec<Suspect>, bool) {
    let (mut suspects, mut contended) = (Vec::new(), false);
    for queued in &mut control.queue {
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
        if let Some(caller) = call.caller().filter(|caller| caller.waits()) {
            suspects.push(Suspect { call: number, caller, chain });
        }
    }
    (suspects, contended)
}

/// The way round: from the entity whose turn asks, back to it.
fn names(suspect: &Suspect, probe: &Probe) -> Vec<String> {
    let asker = suspect.chain.entity.id();
    let mut names = vec![asker.to_string()];
    names.extend(probe.path.iter().chain([&probe.at]).map(ToString::to_string));
    if names.last() != names.first() {
        names.push(asker.to_string());
    }
    names
}
