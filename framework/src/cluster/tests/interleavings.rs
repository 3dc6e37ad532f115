//! The hints, in many orders: compiled once more, over locks whose order a scheduler draws.

use shuttle::sync;
use shuttle::sync::Arc;
use shuttle::thread::spawn;
use uuid::Uuid;

use crate::store::Incarnation;
use crate::wire::EntityId;

#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "../hints.rs"]
mod hints;

use hints::Hints;

const LIVING: Incarnation = Uuid::from_u128(1);
const DEAD: Incarnation = Uuid::from_u128(2);
const ORDERS: usize = 2_000;

fn id(number: u8) -> EntityId {
    EntityId::new("A", vec![number])
}

#[test]
fn a_hint_that_comes_with_a_new_table_is_seen() {
    let run = || {
        let hints = Arc::new(Hints::new(1_000));
        hints.note(id(1), DEAD);
        let noting = spawn({
            let hints = hints.clone();
            move || hints.note(id(2), LIVING)
        });
        let retaining = spawn({
            let hints = hints.clone();
            move || hints.retain(|silo| silo == LIVING)
        });
        noting.join().unwrap();
        retaining.join().unwrap();
        assert_eq!((hints.get(&id(1)), hints.get(&id(2))), (None, Some(LIVING)));
    };
    shuttle::check_random(run, ORDERS);
}
