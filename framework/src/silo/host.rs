use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;

use crate::CallError;
use crate::entity::{
    Entity, Handlers, Head, Job, Methods, Named, Realm, RefInner, Source, Special, Tick, Traveller, chain_from,
};
use crate::messaging::Parcel;
use crate::mutant::Mutant;
use crate::silo::activation::{Activation, Mail, Phase, Proof, Queued};
use crate::silo::batch::Release;
use crate::silo::crew::Crew;
use crate::silo::delivery::Arrivals;
use crate::silo::here;
use crate::silo::moving::Moving;
use crate::silo::shared::{Arrival, Post, Shared};
use crate::silo::watch::Pulse;
use crate::store::Field;
use crate::telemetry::{Counter, Shard};
use crate::wire::{EntityId, Envelope};

/// The activations of one kind on one arbiter. All of a kind's entities that hash to this arbiter live here, each for
/// as long as it is active.
///
/// One actor with a map and not an actor for each entity: less than half the memory, and faster when many call (the
/// figures are in ARCHITECTURE.md).
pub(crate) struct Host<E: Entity> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) arbiter: usize,
    pub(crate) methods: Methods<E>,
    pub(crate) catalog: RefCell<Catalog<E>>,
    /// Reused: states are encoded here and compared with what is stored.
    pub(crate) scratch: RefCell<Vec<u8>>,
    pub(crate) mailbox_calls_max: usize,
    pub(crate) idle_ms: Tick,
    pub(crate) arrivals: Arrivals<E>,
    /// Answers that wait for the lease.
    pub(crate) held: RefCell<Vec<Release>>,
    pub(crate) spared: RefCell<Spared>,
    /// The lives of the silo and of the store that everything in memory is from.
    pub(crate) lives: Cell<(u64, u64)>,
    pub(crate) moving: Cell<Moving>,
    pub(crate) crew: Crew,
    /// Calls that ran where they were made.
    numbers: Cell<u64>,
}

/// Messages whose last attempt was cut off with its activation, for no fault of their handlers: it does not count.
#[derive(Default)]
pub(crate) struct Spared(HashMap<(EntityId, EntityId), u64>);

impl Spared {
    /// So many are remembered: past it, all are forgotten, and those attempts count after all.
    const COUNT_MAX: usize = 10_000;

    pub(crate) fn note(&mut self, target: &EntityId, sender: &EntityId, sequence: u64) {
        if self.0.len() >= Self::COUNT_MAX {
            self.0.clear();
        }
        self.0.insert((target.clone(), sender.clone()), sequence);
    }

    /// Whether this message is one of them; the next attempt counts again.
    pub(crate) fn take(&mut self, message: &Envelope) -> bool {
        !self.0.is_empty()
            && self.0.remove(&(message.to.clone(), message.from.clone())).is_some_and(|it| it == message.sequence)
    }
}

/// Who is in memory.
pub(crate) struct Catalog<E: Entity> {
    pub(crate) activations: Slab<Rc<Activation<E>>>,
    table: HashTable<usize>,
    /// When to look at which activation's outbox and reminders.
    pub(crate) alarms: BTreeSet<(Tick, usize)>,
    /// Activations with suspended turns: their limits are watched.
    pub(crate) suspended: BTreeSet<usize>,
    /// Activations in whose queue a call of another turn waits: cycles are looked for.
    pub(crate) contended: BTreeSet<usize>,
    /// How far the search for idle activations has come.
    pub(crate) scanned: usize,
}

impl<E: Entity> Catalog<E> {
    pub(crate) fn find(&self, to: &RefInner<E>) -> Option<&Rc<Activation<E>>> {
        let place = self.table.find(to.hash, |place| self.activations[*place].to.key == to.key)?;
        self.activations.get(*place)
    }

    pub(crate) fn insert(&mut self, activation: &Rc<Activation<E>>) {
        let place = self.activations.insert(activation.clone());
        activation.place.set(place);
        let activations = &self.activations;
        self.table.insert_unique(activation.to.hash, place, |place| activations[*place].to.hash);
    }

    /// Takes it out of memory; the handles that are left see that it is gone.
    pub(crate) fn remove(&mut self, activation: &Activation<E>) {
        let place = activation.place.replace(usize::MAX);
        let Some(_) = self.activations.try_remove(place) else { return };
        if let Ok(found) = self.table.find_entry(activation.to.hash, |found| *found == place) {
            found.remove();
        }
        if let Some(alarm) = activation.control.borrow_mut().alarm.take() {
            self.alarms.remove(&(alarm.get(), place));
        }
        self.suspended.remove(&place);
        self.contended.remove(&place);
    }
}

impl<E: Handlers> Host<E> {
    pub(crate) fn new(shared: Arc<Shared>, arbiter: usize) -> Rc<Self> {
        let mut methods = Methods::new();
        E::register(&mut methods);
        let limits = &shared.limits;
        Rc::new(Self {
            arbiter,
            methods,
            catalog: RefCell::new(Catalog {
                activations: Slab::new(),
                table: HashTable::new(),
                alarms: BTreeSet::new(),
                suspended: BTreeSet::new(),
                contended: BTreeSet::new(),
                scanned: 0,
            }),
            scratch: RefCell::default(),
            mailbox_calls_max: E::SETTINGS.mailbox.map_or(limits.mailbox_calls_max, |calls| calls as usize),
            idle_ms: E::SETTINGS.idle_ms.unwrap_or(limits.idle.as_millis() as Tick),
            arrivals: Arrivals::new(),
            held: RefCell::default(),
            spared: RefCell::default(),
            moving: Cell::default(),
            lives: Cell::new((0, shared.store.lives())),
            crew: Crew::new(),
            numbers: Cell::new(shared.random() >> 1),
            shared,
        })
    }
}

impl<E: Entity> Host<E> {
    pub(crate) fn now(&self) -> Tick {
        self.shared.clock.tick()
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.shared.arbiters[self.arbiter].shard
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.shared.arbiters[self.arbiter].pulse
    }

    pub(crate) fn post(&self, parcel: Parcel) {
        self.shared.post(Post::Parcel(parcel));
    }

    /// The activation of this entity: the live one, or one that begins to open.
    ///
    /// # Errors
    /// When not even an instance could be made.
    pub(crate) fn activation(self: &Rc<Self>, to: &Arc<RefInner<E>>) -> Result<Rc<Activation<E>>, CallError> {
        if let Some(found) = self.catalog.borrow().find(to) {
            return Ok(found.clone());
        }
        self.activate(to)
    }

    /// A call has arrived.
    pub(crate) fn deliver(self: &Rc<Self>, call: Box<dyn Job<E>>) {
        let Some(head) = call.head() else { return };
        if let (true, Some(far)) = (self.shared.is_homeless(), self.shared.far()) {
            let door = head.to.port.clone();
            return far.carry(Box::new(Traveller { call, door }));
        }
        let activation = match self.activation(&head.to) {
            Ok(activation) => activation,
            Err(error) => return call.refuse(error),
        };
        let mut control = activation.control.borrow_mut();
        if let Some(parent) = head.parent.clone() {
            match self.relation(&activation, &control, &parent, call.info()) {
                Relation::Stranger => {}
                Relation::Reentrant => {
                    // A read within its own chain's read: it can't wait for what waits for it.
                    control.push_front(Queued::Call(call));
                    control.reentrant += 1;
                    drop(control);
                    return self.pump(&activation);
                }
                Relation::Cycle(chain) => {
                    self.shard().count(Counter::CallCyclic);
                    return call.refuse(CallError::Cycle { chain });
                }
            }
            if control.is_running() || control.has_queued() || control.held || control.phase != Phase::Live {
                self.catalog.borrow_mut().contended.insert(activation.place.get());
            }
        }
        if control.is_full(self.mailbox_calls_max) {
            self.shard().count(Counter::CallOverloaded);
            return call.refuse(CallError::Overloaded {
                what: format!("the mailbox of {}, {} calls,", activation.to.id(), self.mailbox_calls_max),
                retry_after: Duration::from_millis(100),
            });
        }
        drop(control);
        self.pump_with(&activation, Some(Queued::Call(call)));
    }

    /// A call of another process has arrived.
    pub(crate) fn arrive(self: &Rc<Self>, to: Arc<RefInner<E>>, arrival: Arrival, may_take: bool) {
        if !may_take && self.catalog.borrow().find(&to).is_none() {
            let owner = self.shared.courier().and_then(|courier| courier.owner(to.id()));
            return arrival.go_on(&self.shared, owner);
        }
        let decoded = std::str::from_utf8(&arrival.ask.method)
            .ok()
            .and_then(|name| self.methods.decode(name, &arrival.ask.arguments));
        let mut job = match decoded {
            Some(Ok(job)) => job,
            Some(Err(reason)) => {
                let reason = format!("the arguments can't be decoded by this version of `{}`: {reason}", E::KIND);
                return arrival.fail(CallError::Invalid { reason });
            }
            None => {
                // Perhaps a newer silo's.
                let method = String::from_utf8_lossy(&arrival.ask.method);
                let reason = format!("`{}` has no handler `{method}` in this version", E::KIND);
                return arrival.fail(CallError::Unavailable { reason });
            }
        };
        let source = arrival.source(E::STATE.is_some(), job.info().exclusive);
        let mut special = Special::of(source, None);
        if let Some(special) = &mut special {
            let realm: Arc<dyn Realm> = self.shared.clone();
            if !special.admit(&realm, self.arbiter) {
                return;
            }
        }
        let Arrival { ask, end, deadline } = arrival;
        let parent = chain_from(&ask, deadline);
        // The asks of turns have one number wherever they are: cycles are found by it.
        let call = if parent.is_some() { ask.call } else { self.shared.deadlines.next_number() };
        match end {
            // Taken: it counts among the notices of this arbiter from here on.
            Some(end) if source == Source::Notify => end.answer(Ok(Vec::new())),
            Some(end) => job.answer_far(end),
            None => {}
        }
        let arrived = self.now();
        *job.head_mut() = Some(Head { to, parent, deadline, call, arrived, searches: 0, special });
        self.deliver(job);
    }

    /// A call whose caller is on this thread, outside of every host.
    pub(crate) fn run_here(self: &Rc<Self>, mut call: Box<dyn Job<E>>) -> u64 {
        let _inside = here::enter();
        // Of no other sequence: the realm's numbers are small, and each host begins at a random place. The asks of turns
        // have one sequence, because the search for cycles asks which is the younger.
        let of_turn = call.head().is_some_and(|head| head.parent.is_some());
        let number = if of_turn {
            self.shared.next_ask()
        } else {
            1 << 63 | self.numbers.replace(self.numbers.get().wrapping_add(1))
        };
        if let Some(head) = call.head_mut() {
            head.call = number;
        }
        self.deliver(call);
        number
    }

    /// Another entity's message, or word about one of ours.
    pub(crate) fn receive(self: &Rc<Self>, to: &Arc<RefInner<E>>, parcel: Parcel, hops: u8) {
        match parcel {
            Parcel::Message { envelope, again, life, far } => {
                tracing::debug!(target: "grange", entity = %envelope.to, from = %envelope.from, envelope.sequence, again, life, far, "a message arrives");
                if self.shared.is_draining() || life != self.shared.store.generation(&envelope.from) {
                    return; // it stays in its sender's outbox, if it is there
                }
                let Ok(activation) = self.activation(to) else { return self.postpone(&envelope, None) };
                let mut control = activation.control.borrow_mut();
                if control.is_full(self.mailbox_calls_max) {
                    drop(control);
                    return self.postpone(&envelope, None);
                }
                let knows = |sender| control.ledger.as_ref().is_some_and(|ledger| ledger.mail.activities.knows(sender));
                // Before it is open the answer would be too old.
                let is_open = control.phase != Phase::Opening;
                let opens = far && is_open && envelope.previous == 0 && !knows(&envelope.from);
                drop(control);
                let proof = opens.then(|| self.prove(to, &envelope));
                let mail = Mail { envelope, again, counted: false, arrived: self.now(), far, life, hops, proof };
                self.pump_with(&activation, Some(Queued::Message(mail)));
            }
            Parcel::Acknowledge { by, sequence, life, .. } => {
                tracing::debug!(target: "grange", entity = %to.id(), %by, sequence, "an acknowledgement arrives");
                let Some(activation) = self.live(to).filter(|_| life == self.shared.store.generation(&by)) else {
                    return;
                };
                if let Some(ledger) = &mut activation.control.borrow_mut().ledger {
                    ledger.acknowledge(&by, sequence);
                }
                self.pump(&activation);
            }
            Parcel::Later { by, sequence, after, .. } => {
                let Some(activation) = self.live(to) else { return };
                let (now, random) = (self.now(), self.shared.random());
                if let Some(ledger) = &mut activation.control.borrow_mut().ledger {
                    ledger.mail.outbox.postpone(&by, sequence, |failures| {
                        now + after.unwrap_or_else(|| crate::messaging::backoff(failures, random))
                    });
                }
                self.pump(&activation);
            }
            // In the queue: what the sender sent before it is recognised before it is forgotten.
            Parcel::Forget { sender, sequence, life, .. } => {
                self.enqueue(to, Queued::Forget { sender, sequence, life });
            }
            Parcel::DropLetter { number, .. } => self.enqueue(to, Queued::DropLetter(number)),
            Parcel::ReplayLetter { number, message, .. } => self.enqueue(to, Queued::ReplayLetter(number, message)),
            Parcel::Wake { .. } => {
                tracing::debug!(target: "grange", entity = %to.id(), "a wake arrives");
                if !self.shared.is_draining() && !Mutant::WakesIgnored.is_planted() {
                    // One that can't be activated says so in the log, and is woken again.
                    if let Ok(activation) = self.activation(to) {
                        if let Some(ledger) = &mut activation.control.borrow_mut().ledger {
                            ledger.was_named();
                        }
                        self.pump(&activation);
                    }
                }
            }
        }
    }

    /// Asks the store whether the sender still has a message; its place in the queue waits for the answer.
    pub(crate) fn prove(self: &Rc<Self>, to: &Arc<RefInner<E>>, envelope: &Envelope) -> Rc<Cell<Proof>> {
        let proof = Rc::new(Cell::new(Proof::Awaited));
        let asked = self.shared.store.has(envelope.from.clone(), Field::Outbox(envelope.sequence));
        let (host, to, answer) = (self.clone(), to.clone(), proof.clone());
        self.crew.take(async move {
            answer.set(match asked.await {
                Ok(true) => Proof::Holds,
                Ok(false) => Proof::Void,
                Err(_) => Proof::Unknown,
            });
            let _inside = here::enter();
            let activation = host.catalog.borrow().find(&to).cloned();
            if let Some(activation) = activation {
                host.pump(&activation);
            }
        });
        proof
    }

    /// Housekeeping, in its turn.
    fn enqueue(self: &Rc<Self>, to: &Arc<RefInner<E>>, queued: Queued<E>) {
        if self.shared.is_draining() {
            return;
        }
        if let Ok(activation) = self.activation(to) {
            activation.control.borrow_mut().crowd().queue.push_back(queued);
            self.pump(&activation);
        }
    }

    fn live(&self, to: &RefInner<E>) -> Option<Rc<Activation<E>>> {
        let found = self.catalog.borrow().find(to)?.clone();
        let phase = found.control.borrow().phase;
        matches!(phase, Phase::Live | Phase::Closing).then_some(found)
    }

    /// Asks the sender of a message for it again, later.
    pub(crate) fn postpone(&self, envelope: &crate::wire::Envelope, after: Option<Tick>) {
        self.shard().count(Counter::MessagePostponed);
        self.post(Parcel::Later {
            sender: envelope.from.clone(),
            by: envelope.to.clone(),
            sequence: envelope.sequence,
            after,
        });
    }
}

/// How a call stands to the turns that run in the entity that it wants.
pub(crate) enum Relation {
    /// It waits like everybody.
    Stranger,
    /// Its own chain reads here, and it reads as well.
    Reentrant,
    /// Its own chain waits for it.
    Cycle(Vec<String>),
}
