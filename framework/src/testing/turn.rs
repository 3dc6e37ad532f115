use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::entity::{Act, Deadlines, Entity, Far, IntoKey, RawRef, Realm, Staged, Tick, Turn, TurnSeed, Waits};

/// A turn for a unit test of a handler: `Account::default().transfer("bob".into(), 30, &mut turn).await`.
///
/// What the handler sends is only staged, and [`Turn::staged`] shows it. Nobody hosts anything here: an ask ends as
/// [`Unavailable`](crate::CallError::Unavailable).
pub fn turn<E: Entity>(key: impl IntoKey<E::Key>) -> Turn<E> {
    turn_with(key, Data::default())
}

/// What `turn.data::<T>()` finds in a test: `Data::default().with(pool)`.
#[derive(Debug, Default)]
pub struct Data(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Data {
    /// One more.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, data: T) -> Self {
        self.0.insert(TypeId::of::<T>(), Arc::new(data));
        self
    }
}

/// A turn like [`turn`]'s that has data: `turn_with::<Order>("o1", Data::default().with(pool))`.
pub fn turn_with<E: Entity>(key: impl IntoKey<E::Key>, data: Data) -> Turn<E> {
    let realm: Arc<dyn Realm> =
        Arc::new(Nowhere { deadlines: Deadlines::new(1_000, 0), waits: Waits::default(), data });
    Turn::new(TurnSeed {
        me: Rc::new(RawRef::new(realm, key.into_key(), None).inner),
        number: 1,
        exclusive: true,
        parent: None,
        deadline: TIMEOUT_MS,
        gate: None,
        provenance: None,
        link: None,
    })
}

/// What a turn staged, as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// `turn.send(…)`.
    Sent(Sent),
    /// `turn.cancel(…)`.
    Cancelled(String),
    /// `turn.delete()`.
    Deleted,
}

/// A staged message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The target, such as `Account/bob`.
    pub to: String,
    /// Its handler.
    pub method: String,
    /// The entity and the handler that are given the outcome.
    pub then: Option<(String, String)>,
    /// How long it waits; `None`: it leaves with the commit.
    pub after: Option<Duration>,
    /// How often it repeats.
    pub every: Option<Duration>,
    /// The reminder's name.
    pub name: Option<String>,
    arguments: Result<Bytes, String>,
}

impl Sent {
    /// The arguments as a tuple, such as `(u64,)`; `None` when they are something else.
    pub fn arguments<T: DeserializeOwned>(&self) -> Option<T> {
        rmp_serde::from_slice(self.arguments.as_ref().ok()?).ok()
    }
}

impl From<&Staged> for Sent {
    fn from(staged: &Staged) -> Self {
        let schedule = staged.reminder();
        Self {
            to: staged.to.to_string(),
            method: staged.method.to_owned(),
            then: match &staged.then {
                Some(Ok(then)) => Some((then.to.to_string(), then.method.clone())),
                Some(Err(_)) | None => None,
            },
            after: schedule.map(|schedule| schedule.after),
            every: schedule.and_then(|schedule| schedule.every),
            name: staged.name.clone(),
            arguments: staged.arguments.clone().map(Bytes::from),
        }
    }
}

impl<E: Entity> Turn<E> {
    /// What the turn has staged so far, in its order.
    pub fn staged(&self) -> Vec<Effect> {
        let effect = |act: &Act| match act {
            Act::Send(staged) => Effect::Sent((&**staged).into()),
            Act::Cancel(name) => Effect::Cancelled(name.clone()),
            Act::Delete => Effect::Deleted,
        };
        self.acts().iter().map(effect).collect()
    }
}

const TIMEOUT_MS: Tick = 30_000;

/// A realm without silos.
struct Nowhere {
    deadlines: Deadlines,
    waits: Waits,
    data: Data,
}

impl Realm for Nowhere {
    fn far(&self) -> Option<&Arc<dyn Far>> {
        None
    }
    fn port(&self, _: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        None
    }
    fn seed(&self) -> u64 {
        0
    }
    fn tick(&self) -> Tick {
        0
    }
    fn tick_now(&self) -> Tick {
        0
    }
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn timeout_default(&self) -> Tick {
        TIMEOUT_MS
    }
    fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }
    fn waits(&self) -> &Waits {
        &self.waits
    }
    fn data(&self, kind: TypeId) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.data.0.get(&kind)
    }
    fn is_draining(&self) -> bool {
        false
    }
    fn admit(&self, _: usize) -> bool {
        false
    }
    fn discharge(&self, _: usize) {}
    fn next_ask(&self) -> u64 {
        1
    }
    fn random(&self) -> u64 {
        0
    }
}
