use std::any::{Any, TypeId};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use actix::Actor;

use crate::CallError;
use crate::entity::{Entity, Handlers, Job, Named, Placement, Port, PortOf, RawRef, Realm, RefInner, Traveller};
use crate::silo::delivery::{Addressed, Delivery, HostActor, HostInbox};
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::shared::{Arrival, Letterbox, Post, Shared};
use crate::silo::sweep::Sweep;

/// The way into a silo for one kind: picks the arbiter on which the entity lives, always the same one.
pub(crate) struct Door<E: Entity> {
    /// Weak, since what is shared holds the doors. A call brings its own way there.
    shared: Weak<Shared>,
    hosts: Vec<HostInbox<E>>,
    /// Unique in the process.
    number: u64,
    kind: Arc<str>,
}

impl<E: Entity> Door<E> {
    fn arbiter(&self, to: &RefInner<E>) -> usize {
        // The high half: the table of activations uses the low one.
        (to.hash >> 32) as usize % self.hosts.len()
    }

    /// One that has ended takes nothing.
    fn send(&self, arbiter: usize, delivery: Delivery<E>) {
        if let Err(delivery) = self.hosts[arbiter].push(delivery) {
            delivery.refuse();
        }
    }

    /// The host of an entity that lives on this very thread.
    fn host_here(&self, to: &RefInner<E>) -> Option<Rc<Host<E>>> {
        let host = here::find::<Host<E>>(self.number)?;
        let is_here = self.arbiter(to) == host.arbiter && to.realm.far().is_none_or(|far| far.is_here(to.id()));
        is_here.then_some(host)
    }
}

impl<E: Entity> Port<E> for Door<E> {
    fn kind(&self) -> &Arc<str> {
        &self.kind
    }

    fn deliver(&self, call: Box<dyn Job<E>>) {
        let Some(head) = call.head() else { return };
        let realm = &head.to.realm;
        if let Some(far) = realm.far() {
            if far.is_here(head.to.id()) {
                return self.deliver_here(call);
            }
            let (far, door) = (far.clone(), head.to.port.clone());
            return far.carry(Box::new(Traveller { call, door }));
        }
        // A turn that still runs may ask: it has to finish.
        if head.parent.is_none() && realm.is_draining() {
            return call.refuse(CallError::Unavailable { reason: "the silo is shutting down".into() });
        }
        self.deliver_here(call);
    }

    fn deliver_here(&self, mut call: Box<dyn Job<E>>) {
        let Some(head) = call.head_mut() else { return };
        let arbiter = self.arbiter(&head.to);
        let realm = &head.to.realm;
        if head.special.as_mut().is_some_and(|special| !special.admit(realm, arbiter)) {
            return;
        }
        match here::find::<Host<E>>(self.number).filter(|host| host.arbiter == arbiter) {
            Some(host) => host.arrivals.push_own(call),
            None => self.send(arbiter, Delivery::Call(call)),
        }
    }

    fn run_here(&self, call: Box<dyn Job<E>>) -> Result<u64, Box<dyn Job<E>>> {
        let Some(host) = call.head().and_then(|head| self.host_here(&head.to)) else { return Err(call) };
        // What this thread asked before is not overtaken.
        if host.arrivals.has_own() || host.shared.is_draining() {
            return Err(call);
        }
        let Some(_nested) = here::nest(false) else { return Err(call) };
        Ok(host.run_here(call))
    }

    fn is_here(&self, to: &RefInner<E>) -> bool {
        self.host_here(to).is_some()
    }
}

impl<E: Entity> Letterbox for Door<E> {
    fn post(&self, post: Post, may_take: bool, hops: u8) {
        let Some(shared) = self.shared.upgrade() else { return };
        let id = post.addressee();
        let Ok(key) = rmp_serde::from_slice::<E::Key>(&id.key) else {
            return tracing::error!(
                target: "grange",
                entity = %id,
                "a message names a key that this kind can't have: was the key's type changed? It stays with its sender"
            );
        };
        let to = RawRef::<E>::new(shared, key, None).inner;
        let arbiter = self.arbiter(&to);
        self.send(arbiter, Delivery::Posted { post: Box::new(Addressed { to, what: post, may_take }), hops });
    }

    fn ask(&self, arrival: Arrival, may_take: bool) {
        let Some(shared) = self.shared.upgrade() else {
            return arrival.fail(CallError::Unavailable { reason: "the silo has stopped".into() });
        };
        let Ok(key) = rmp_serde::from_slice::<E::Key>(&arrival.ask.to.key) else {
            let reason = format!("`{}` has keys of another type here: are caller and silo of one version?", E::KIND);
            return arrival.fail(CallError::Invalid { reason });
        };
        let to = RawRef::<E>::new(shared, key, None).inner;
        let arbiter = self.arbiter(&to);
        // Read by a connection of its own arbiter: it runs right here, and no inbox is in between.
        if let Some(host) = here::find::<Host<E>>(self.number).filter(|host| host.arbiter == arbiter)
            && !host.arrivals.has_own()
            && let Some(_nested) = here::nest(true)
        {
            let _inside = here::enter();
            return host.arrive(to, arrival, may_take);
        }
        self.send(arbiter, Delivery::Arrived(Box::new(Addressed { to, what: arrival, may_take })));
    }
}

/// A kind that a silo was asked to host: starts its hosts, one an arbiter, and then its door.
pub(crate) trait Registration: Send + Sync {
    fn kind(&self) -> &'static str;
    fn placement(&self) -> Placement;
    /// The Rust type, for errors.
    fn type_name(&self) -> &'static str;
    /// On the arbiter's own thread.
    fn start(&self, shared: &Arc<Shared>, arbiter: usize) -> Rc<dyn Sweep>;
    /// When every arbiter has started.
    fn open(&self, shared: &Arc<Shared>) -> (TypeId, Box<dyn Any + Send + Sync>, Arc<dyn Letterbox>);
}

pub(crate) struct Kind<E: Entity> {
    hosts: Mutex<Vec<(usize, HostInbox<E>)>>,
    door: u64,
}

impl<E: Handlers> Kind<E> {
    pub(crate) fn new() -> Self {
        static DOORS: AtomicU64 = AtomicU64::new(0);
        Self { hosts: Mutex::default(), door: DOORS.fetch_add(1, Ordering::Relaxed) }
    }
}

impl<E: Handlers> Registration for Kind<E> {
    fn kind(&self) -> &'static str {
        E::KIND
    }

    fn placement(&self) -> Placement {
        E::SETTINGS.placement
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<E>()
    }

    fn start(&self, shared: &Arc<Shared>, arbiter: usize) -> Rc<dyn Sweep> {
        let host = Host::<E>::new(shared.clone(), arbiter);
        let known: Rc<dyn Any> = host.clone();
        here::register(self.door, Rc::downgrade(&known));
        HostActor(host.clone()).start();
        let inbox = host.arrivals.inbox.clone();
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).push((arbiter, inbox));
        host
    }

    fn open(&self, shared: &Arc<Shared>) -> (TypeId, Box<dyn Any + Send + Sync>, Arc<dyn Letterbox>) {
        let mut hosts = std::mem::take(&mut *self.hosts.lock().unwrap_or_else(PoisonError::into_inner));
        hosts.sort_by_key(|(arbiter, _)| *arbiter);
        let hosts: Vec<_> = hosts.into_iter().map(|(_, inbox)| inbox).collect();
        let door = Arc::new(Door { shared: Arc::downgrade(shared), hosts, number: self.door, kind: E::KIND.into() });
        (TypeId::of::<E>(), Box::new(PortOf::<E>(door.clone())), door)
    }
}
