use std::any::TypeId;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::entity::{Entity, FarPort, Key, Named, Origin, Port, PortOf, Realm};
use crate::wire::EntityId;

/// What every generated reference has besides its handlers: a trait, so that a handler may be called `key` or `id`.
pub trait Reference: From<RawRef<Self::Entity>> + Clone + Send + Sync + 'static {
    /// The entity's type.
    type Entity: Entity<Ref = Self>;

    /// The untyped part.
    #[doc(hidden)]
    fn raw(&self) -> &RawRef<Self::Entity>;

    /// The key.
    fn key(&self) -> &<Self::Entity as Entity>::Key {
        &self.raw().inner.key
    }

    /// `Account/alice`: for people.
    fn id(&self) -> String {
        format!("{}/{}", Self::Entity::KIND, self.key().print())
    }
}

/// What a generated reference wraps: the key, the way to the entity, and the turn that made the reference, if one did.
#[doc(hidden)]
pub struct RawRef<E: Entity> {
    pub(crate) inner: Arc<RefInner<E>>,
    pub(crate) origin: Option<Arc<Origin>>,
}

/// The reference as an activation and its turns hold it: counted on their own thread, so that a turn does not fight with
/// its callers over a counter.
pub(crate) type Anchor<E> = Rc<Arc<RefInner<E>>>;

pub(crate) struct RefInner<E: Entity> {
    pub(crate) key: E::Key,
    /// Seeded: places the entity on an arbiter and in its table. Never stored.
    pub(crate) hash: u64,
    pub(crate) realm: Arc<dyn Realm>,
    pub(crate) port: Option<Arc<dyn Port<E>>>,
    id: OnceLock<EntityId>,
}

impl<E: Entity> RawRef<E> {
    pub(crate) fn new(realm: Arc<dyn Realm>, key: E::Key, origin: Option<Arc<Origin>>) -> Self {
        let own = realm.port(TypeId::of::<E>()).and_then(|port| port.downcast_ref::<PortOf<E>>());
        let port = match own {
            Some(port) => Some(port.0.clone()),
            None => realm.far().map(|far| Arc::new(FarPort::new(far.clone(), E::KIND)) as Arc<dyn Port<E>>),
        };
        let hash = foldhash::fast::FixedState::with_seed(realm.seed()).hash_one(Salted(E::KIND, &key));
        Self { inner: Arc::new(RefInner { key, hash, realm, port, id: OnceLock::new() }), origin }
    }
}

#[derive(Hash)]
struct Salted<'a, K: Hash>(&'static str, &'a K);

impl<E: Entity> Named for RefInner<E> {
    fn id(&self) -> &EntityId {
        self.id.get_or_init(|| {
            // Keys are strings, integers, UUIDs and tuples of them: writing them to memory can't fail.
            let key = rmp_serde::to_vec(&self.key).expect("a key is always encodable");
            match &self.port {
                Some(port) => EntityId::new(port.kind().clone(), key),
                None => EntityId::new(E::KIND, key),
            }
        })
    }
}

impl<E: Entity> Clone for RawRef<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), origin: self.origin.clone() }
    }
}

impl<E: Entity> fmt::Debug for RawRef<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", E::KIND, self.inner.key.print())
    }
}
