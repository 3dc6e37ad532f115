use uuid::Uuid;

use crate::cluster::Hints;
use crate::wire::EntityId;

fn id(number: u32) -> EntityId {
    EntityId::new("A", number.to_be_bytes().to_vec())
}

#[test]
fn it_is_bounded_and_keeps_what_is_used() {
    let hints = Hints::new(1_600);
    hints.note(id(0), Uuid::from_u128(7));
    for number in 1..100_000 {
        hints.note(id(number), Uuid::from_u128(1));
        assert_eq!(hints.get(&id(0)), Some(Uuid::from_u128(7)), "used all the time, forgotten at {number}");
    }
    assert!((800..=1_600).contains(&hints.len()), "{}", hints.len());
    assert_eq!(hints.get(&id(1)), None);
    assert_eq!(hints.get(&id(99_999)), Some(Uuid::from_u128(1)));
}

#[test]
fn the_newest_word_counts() {
    let hints = Hints::new(100);
    for at in [1, 2] {
        hints.note(id(1), Uuid::from_u128(at));
        assert_eq!(hints.get(&id(1)), Some(Uuid::from_u128(at)));
    }
    hints.forget(&id(1));
    assert_eq!((hints.get(&id(1)), hints.len()), (None, 0));
}

#[test]
fn what_points_to_the_dead_vanishes() {
    let hints = Hints::new(1_000);
    (0..100).for_each(|number| hints.note(id(number), Uuid::from_u128(u128::from(number % 2))));
    hints.retain(|silo| silo == Uuid::from_u128(1));
    assert!((0..100).all(|number| hints.get(&id(number)).is_some() == (number % 2 == 1)));
}
