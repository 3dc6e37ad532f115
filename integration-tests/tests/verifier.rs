//! The verifier finds each broken promise, by its name, and nothing in what is in order.

use std::collections::BTreeMap;

use grange::prelude::Uuid;
use integration_tests::application::{Books, OPENING, Parcel, Stream};
use integration_tests::random::Random;
use integration_tests::recording::{Ended, Entry, Operation, Recording};
use integration_tests::verifier::{FinalState, History, Interval, Invariant, Verdict, is_linearizable, verify};

/// A run in which everything is in order, to be broken.
struct Run {
    entries: Vec<Entry>,
    state: FinalState,
    ids: Vec<Uuid>,
}

fn at(index: usize) -> u64 {
    1_000 * index as u64
}

impl Run {
    fn asked(&mut self, number: u64, operation: Operation, ended: Ended) {
        let key = Some(Uuid::from_u64_pair(7, number));
        self.entries.push(Entry::Asked { number, at: at(self.entries.len()), operation, key });
        self.entries.push(Entry::Ended { number, at: at(self.entries.len()), ended, retries: 1 });
    }

    fn good() -> Self {
        let ids: Vec<_> = (0..3).map(|number| Uuid::from_u64_pair(1, number)).collect();
        let mut run = Self { entries: Vec::new(), state: FinalState::default(), ids: ids.clone() };
        let transfer = |amount| Operation::Transfer { from: "a".into(), to: "b".into(), amount };
        run.asked(0, transfer(100), Ended::Answered(0));
        run.asked(1, transfer(5_000), Ended::Rejected);
        run.asked(2, transfer(50), Ended::Unknown("lost".into()));
        run.asked(3, emit(10), Ended::Answered(10));
        let add = |number: usize| Operation::Add { list: "l".into(), id: ids[number] };
        run.asked(4, add(0), Ended::Answered(0));
        run.asked(5, add(1), Ended::Failed("away".into()));
        run.asked(6, add(2), Ended::Unknown("lost".into()));
        run.asked(7, Operation::Write { register: "r".into(), value: 5 }, Ended::Answered(0));
        run.asked(8, Operation::Read { register: "r".into() }, Ended::Answered(5));
        run.asked(9, Operation::Write { register: "r".into(), value: 6 }, Ended::Answered(0));
        // Asked again under its key.
        run.asked(4, add(0), Ended::Answered(0));
        let books = Books { opening: OPENING, balance: OPENING, ..Books::default() };
        let state = &mut run.state;
        state.ledgers.insert("a".into(), Books { balance: OPENING - 150, debited: 150, ..books });
        state.ledgers.insert("b".into(), Books { balance: OPENING + 150, credited: 150, ..books });
        state.sources.insert("s".into(), BTreeMap::from([("w".into(), 10)]));
        state.windows.insert("w".into(), BTreeMap::from([("s".into(), stream(1..=10))]));
        state.registers.insert("r".into(), 6);
        state.lists.insert("l".into(), vec![ids[0], ids[2]]);
        state.due = Some(Vec::new());
        run
    }

    fn verify(&self, history: History) -> Verdict {
        verify(&Recording::of(self.entries.clone()).unwrap(), &self.state, history)
    }

    fn books(&mut self, name: &str) -> &mut Books {
        self.state.ledgers.get_mut(name).unwrap()
    }

    fn list(&mut self) -> &mut Vec<Uuid> {
        self.state.lists.get_mut("l").unwrap()
    }

    fn receive(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.state.windows.get_mut("w").unwrap().insert("s".into(), stream(numbers));
    }

    /// Breaks it, and says what the verifier makes of it.
    fn broken(break_it: impl FnOnce(&mut Self)) -> Vec<Invariant> {
        let mut run = Self::good();
        break_it(&mut run);
        run.verify(History::Kept).broken()
    }
}

fn emit(count: u64) -> Operation {
    Operation::Emit { source: "s".into(), window: "w".into(), count }
}

fn stream(numbers: impl IntoIterator<Item = u64>) -> Stream {
    let mut stream = Stream::default();
    numbers.into_iter().for_each(|number| stream.take("s", &Parcel::new("s", number)));
    stream
}

#[test]
fn a_run_in_order_is_good() {
    let verdict = Run::good().verify(History::Kept);
    assert!(verdict.is_good(), "{verdict}");
    let figures = verdict.figures;
    assert_eq!((figures.operations, figures.acknowledged, figures.refused, figures.unknown), (10, 6, 2, 2));
    assert_eq!((figures.messages, figures.lost, figures.duplicated, figures.reordered), (10, 0, 0, 0));
    assert_eq!(figures.retried, 11);
}

#[test]
fn what_was_unknown_may_have_happened_or_not() {
    let none = Run::broken(|run| {
        run.list().pop();
        run.books("a").balance += 50;
        run.books("a").debited -= 50;
        run.books("b").balance -= 50;
        run.books("b").credited -= 50;
    });
    assert_eq!(none, []);
}

#[test]
fn i2_money_that_is_made_or_lost_is_found() {
    assert_eq!(Run::broken(|run| run.books("b").balance += 1), [Invariant::Conservation]);
    assert_eq!(
        Run::broken(|run| {
            run.books("b").balance -= 100;
            run.books("b").credited -= 100;
        }),
        [Invariant::Conservation]
    );
    // Arrived twice, with books that add up.
    assert_eq!(
        Run::broken(|run| {
            run.books("b").balance += 100;
            run.books("b").credited += 100;
        }),
        [Invariant::Conservation]
    );
}

#[test]
fn i3_an_acknowledged_write_that_is_gone_is_found() {
    let unpaid = |run: &mut Run| {
        run.books("a").balance += 150;
        run.books("a").debited -= 150;
        run.books("b").balance -= 150;
        run.books("b").credited -= 150;
    };
    assert_eq!(Run::broken(unpaid), [Invariant::AcknowledgedLost]);
    let gone = |run: &mut Run| {
        run.list().remove(0);
    };
    assert!(Run::broken(gone).contains(&Invariant::AcknowledgedLost));
    let unsent = |run: &mut Run| {
        run.state.sources.insert("s".into(), BTreeMap::from([("w".into(), 8)]));
        run.receive(1..=8);
    };
    assert_eq!(Run::broken(unsent), [Invariant::AcknowledgedLost]);
}

#[test]
fn i4_an_effect_that_is_there_twice_or_should_not_be_is_found() {
    let twice = |run: &mut Run| {
        let id = run.ids[0];
        run.list().push(id);
    };
    assert!(Run::broken(twice).contains(&Invariant::ExactlyOnce));
    let refused = |run: &mut Run| {
        let id = run.ids[1];
        run.list().push(id);
    };
    assert_eq!(Run::broken(refused), [Invariant::ExactlyOnce]);
    assert_eq!(Run::broken(|run| run.list().push(Uuid::nil())), [Invariant::ExactlyOnce]);
    let paid_twice = |run: &mut Run| {
        run.books("a").balance -= 100;
        run.books("a").debited += 100;
        run.books("b").balance += 100;
        run.books("b").credited += 100;
    };
    assert_eq!(Run::broken(paid_twice), [Invariant::ExactlyOnce]);
    assert_eq!(Run::broken(|run| run.receive((1..=10).chain([10]))), [Invariant::ExactlyOnce, Invariant::Order]);
    assert_eq!(Run::broken(|run| run.receive((1..=4).chain(6..=15))), [Invariant::ExactlyOnce]);
    let lost = Run::broken(|run| run.receive([1, 2, 3, 4, 6, 7, 8, 9, 10]));
    assert_eq!(lost, [Invariant::ExactlyOnce, Invariant::Order]);
    let unsent = |run: &mut Run| {
        run.state.windows.get_mut("w").unwrap().insert("x".into(), stream([1]));
    };
    assert!(Run::broken(unsent).contains(&Invariant::ExactlyOnce));
}

#[test]
fn i5_a_message_that_is_overtaken_or_damaged_is_found() {
    assert_eq!(Run::broken(|run| run.receive([1, 2, 3, 4, 5, 7, 6, 8, 9, 10])), [Invariant::Order]);
    // Long before the last ones.
    assert_eq!(Run::broken(|run| run.receive([2, 1, 3, 4, 5, 6, 7, 8, 9, 10])), [Invariant::Order]);
    let damaged = |run: &mut Run| {
        let mut stream = stream(1..=9);
        stream.take("s", &Parcel::new("another", 10));
        run.state.windows.get_mut("w").unwrap().insert("s".into(), stream);
    };
    assert_eq!(Run::broken(damaged), [Invariant::Order]);
}

#[test]
fn i6_a_key_with_two_replies_is_found() {
    let other = |run: &mut Run| run.asked(3, emit(10), Ended::Answered(20));
    assert_eq!(Run::broken(other), [Invariant::SameReply]);
    let refused = |run: &mut Run| run.asked(3, emit(10), Ended::Rejected);
    assert_eq!(Run::broken(refused), [Invariant::SameReply]);
    assert_eq!(Run::broken(|run| run.list().reverse()), [Invariant::SameReply]);
}

#[test]
fn i8_what_does_not_arrive_is_found() {
    let underway = |run: &mut Run| {
        run.books("a").underway = 50;
        run.books("b").balance -= 50;
        run.books("b").credited -= 50;
    };
    assert_eq!(Run::broken(underway), [Invariant::Drained]);
    assert_eq!(Run::broken(|run| run.receive(1..=8)), [Invariant::Drained]);
    assert_eq!(Run::broken(|run| run.state.due = Some(vec!["a".into()])), [Invariant::Drained]);
    let mut run = Run::good();
    assert!(run.state.is_drained());
    underway(&mut run);
    assert!(!run.state.is_drained());
}

#[test]
fn i10_a_stale_read_and_a_lost_write_are_found() {
    let stale = |run: &mut Run| run.asked(20, Operation::Read { register: "r".into() }, Ended::Answered(5));
    assert_eq!(Run::broken(stale), [Invariant::Linearizable]);
    let lost = |run: &mut Run| {
        run.state.registers.insert("r".into(), 5);
    };
    assert_eq!(Run::broken(lost), [Invariant::Linearizable]);
    let refused = |run: &mut Run| {
        run.asked(20, Operation::Write { register: "r".into(), value: 9 }, Ended::Failed("away".into()));
        run.state.registers.insert("r".into(), 9);
    };
    assert_eq!(Run::broken(refused), [Invariant::Linearizable]);
    let unknown = |run: &mut Run| {
        run.asked(20, Operation::Write { register: "r".into(), value: 9 }, Ended::Unknown("lost".into()));
        run.state.registers.insert("r".into(), 9);
    };
    assert_eq!(Run::broken(unknown), []);
}

#[test]
fn a_store_that_lost_its_end_may_lose_what_was_acknowledged_and_nothing_else() {
    let mut run = Run::good();
    run.list().remove(0);
    run.state.registers.insert("r".into(), 5);
    let verdict = run.verify(History::LostItsEnd);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!(verdict.figures.lost, 1);
    run.books("b").balance += 1;
    let id = run.list()[0];
    run.list().push(id);
    run.receive([2, 1, 3, 4, 5, 6, 7, 8, 9, 10]);
    let broken = run.verify(History::LostItsEnd).broken();
    assert_eq!(broken, [Invariant::Conservation, Invariant::ExactlyOnce, Invariant::Order]);
}

#[test]
fn the_longest_gap_is_that_of_an_entity_that_was_asked() {
    let read = Operation::Read { register: "r".into() };
    let asked = |number, at| Entry::Asked { number, at, operation: read.clone(), key: None };
    let ended = |number, at, ended| Entry::Ended { number, at, ended, retries: 0 };
    let recording = Recording::of([
        asked(0, 0),
        ended(0, 10, Ended::Answered(0)),
        // Nobody asks for a while: no gap.
        asked(1, 5_000),
        ended(1, 5_100, Ended::Failed("away".into())),
        asked(2, 5_200),
        ended(2, 5_900, Ended::Answered(0)),
    ]);
    let gap = integration_tests::verifier::longest_gap(&recording.unwrap());
    assert_eq!(gap.as_micros(), 900);
}

/// By trying every order: what the fast way is checked against.
fn some_order_works(history: &[Interval], done: &mut Vec<bool>, value: u64) -> bool {
    let open = |index: usize, done: &[bool]| {
        // Nothing that is left ended before it began.
        let begins = history[index].from;
        !history.iter().zip(done).any(|(other, done)| !done && other.to.is_some_and(|to| to < begins))
    };
    if history.iter().zip(&*done).all(|(interval, done)| *done || interval.to.is_none()) {
        return true;
    }
    for index in 0..history.len() {
        let interval = history[index];
        if done[index] || !open(index, done) || (!interval.is_write && interval.value != value) {
            continue;
        }
        done[index] = true;
        if some_order_works(history, done, if interval.is_write { interval.value } else { value }) {
            return true;
        }
        done[index] = false;
    }
    false
}

/// Up to eight operations at random moments. Some writes never end; reads find anything.
fn history(seed: u64) -> Vec<Interval> {
    let mut random = Random::new(seed);
    let count = 1 + random.index(8);
    let mut moments: Vec<u64> = (0..2 * count as u64).collect();
    for index in (1..moments.len()).rev() {
        moments.swap(index, random.index(index + 1));
    }
    let mut written = 0;
    let mut history: Vec<Interval> = moments
        .chunks(2)
        .map(|pair| {
            let (from, to) = (pair[0].min(pair[1]), Some(pair[0].max(pair[1])));
            let is_write = random.below(2) == 0;
            written += u64::from(is_write);
            let ends = !is_write || random.below(4) > 0;
            Interval { is_write, value: written, from, to: to.filter(|_| ends) }
        })
        .collect();
    for read in history.iter_mut().filter(|interval| !interval.is_write) {
        read.value = random.below(written + 1);
    }
    history
}

#[test]
fn the_fast_way_agrees_with_trying_every_order() {
    let mut linearizable = 0;
    for seed in 0..20_000 {
        let history = history(seed);
        let fast = is_linearizable(&history);
        let slow = some_order_works(&history, &mut vec![false; history.len()], 0);
        assert_eq!(fast.is_ok(), slow, "seed {seed}: {fast:?}; {history:?}");
        linearizable += u32::from(slow);
    }
    assert!((2_000..18_000).contains(&linearizable), "{linearizable} of 20,000 say little");
}
