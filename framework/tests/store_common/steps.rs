//! Random things to ask of a store.

use grange::store::Field;
use proptest::collection::vec;
use proptest::prelude::*;

use super::id;

#[derive(Debug, Clone)]
pub enum Step {
    Claim {
        entity: usize,
        owner: u128,
        /// An owner that is said to be dead.
        over: Option<u128>,
    },
    Commit(Change),
    /// The last commit of the entity again, as it was.
    Resend {
        entity: usize,
    },
    Trim(Change),
    Release {
        entity: usize,
        old: bool,
    },
    Verify {
        entity: usize,
        old: bool,
    },
    Forget {
        owner: u128,
    },
    Due {
        until: u64,
        limit: usize,
    },
    Letters {
        limit: usize,
    },
    Fail,
    Flush,
    Reopen,
}

/// What a commit or a trim is made of, and how it is wrong.
#[derive(Debug, Clone)]
pub struct Change {
    pub entity: usize,
    pub old: bool,
    pub generation_off: bool,
    pub version_off: bool,
    pub state: Option<Option<u8>>,
    pub puts: Vec<u8>,
    pub removes: Vec<u8>,
    pub wake: Option<u64>,
}

pub const ENTITIES: usize = 3;

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entity = || 0..ENTITIES;
    let rarely = || prop::bool::weighted(0.1);
    let change =
        (entity(), rarely(), rarely(), rarely(), any::<Option<Option<u8>>>(), vec(0..8u8, 0..4), vec(0..8u8, 0..4));
    let change = (change, prop::option::of(0..9u64)).prop_map(
        |((entity, old, generation_off, version_off, state, puts, removes), wake)| Change {
            entity,
            old,
            generation_off,
            version_off,
            state,
            puts,
            removes,
            wake,
        },
    );
    let step = prop_oneof![
        6 => (entity(), 1..4u128, prop::option::weighted(0.3, 1..4u128))
            .prop_map(|(entity, owner, over)| Step::Claim { entity, owner, over }),
        12 => change.clone().prop_map(Step::Commit),
        2 => entity().prop_map(|entity| Step::Resend { entity }),
        3 => change.prop_map(Step::Trim),
        2 => (entity(), rarely()).prop_map(|(entity, old)| Step::Release { entity, old }),
        1 => (entity(), rarely()).prop_map(|(entity, old)| Step::Verify { entity, old }),
        1 => (1..4u128).prop_map(|owner| Step::Forget { owner }),
        2 => (0..9u64, 0..4usize).prop_map(|(until, limit)| Step::Due { until, limit }),
        1 => (0..4usize).prop_map(|limit| Step::Letters { limit }),
        1 => Just(Step::Fail),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..60)
}

/// A few fields that collide often.
pub fn field(number: u8) -> Field {
    match number {
        0 => Field::Sequence,
        1 | 2 => Field::Outbox(number.into()),
        3 => Field::Activity(id("partner")),
        4 => Field::Attempts(id("partner")),
        5 => Field::Reminder("daily".into()),
        _ => Field::Letter(number.into()),
    }
}
