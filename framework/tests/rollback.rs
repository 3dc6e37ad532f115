//! A turn is atomic: after `Err`, a panic, its limit or one of the framework's limits, nothing of it happened.

#![allow(unreachable_pub)]

mod behaviour;

use behaviour::Place;
use futures_util::FutureExt;
use futures_util::future::join_all;
use grange::SiloBuilder;
use grange::prelude::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    lines: Vec<u64>,
    ballast: String,
    /// Can't be written when it is there.
    odd: Odd,
}

/// Refuses to be written when it is told to.
#[derive(Default, Clone, Copy, Deserialize)]
struct Odd(bool);

impl Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("odd")) } else { serializer.serialize_newtype_struct("Odd", &false) }
    }
}

/// How a turn is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    Well,
    Reject,
    Panic,
    Limit,
    TooLarge,
    TooManyMessages,
    TooLargeMessage,
    UnwritableState,
    UnwritableMessage,
    Retry,
}

const ENDS: [End; 10] = [
    End::Well,
    End::Reject,
    End::Panic,
    End::Limit,
    End::TooLarge,
    End::TooManyMessages,
    End::TooLargeMessage,
    End::UnwritableState,
    End::UnwritableMessage,
    End::Retry,
];

#[entity]
impl Ledger {
    /// Writes the line, tells the other entity of it, and ends like this.
    async fn write(&mut self, line: u64, end: End, turn: &mut Turn<Self>) -> Result<usize, String> {
        self.lines.push(line);
        let copy = turn.entity::<Copy>(turn.key());
        turn.send(copy.note(line));
        turn.send(turn.me().nothing().after(Duration::from_secs(3600)).named(format!("{line}")));
        match end {
            End::Well => {}
            End::Reject => return Err(format!("line {line}")),
            End::Panic => panic!("as the test wants"),
            End::Limit => {
                tokio::task::yield_now().await;
                self.lines.clear();
                std::future::pending::<()>().await;
            }
            End::TooLarge => self.ballast = "x".repeat(2_000),
            End::TooManyMessages => (0..20).for_each(|_| turn.send(copy.note(line))),
            End::TooLargeMessage => turn.send(copy.fill("x".repeat(2_000))),
            End::UnwritableState => self.odd = Odd(true),
            End::UnwritableMessage => turn.send(copy.odd(Odd(true))),
            End::Retry => turn.retry(),
        }
        Ok(self.lines.len())
    }
    async fn lines(&self) -> Vec<u64> {
        self.lines.clone()
    }
    async fn nothing(&mut self) {}
    async fn grow(&mut self, bytes: usize) -> usize {
        self.ballast = "x".repeat(bytes);
        self.ballast.len()
    }
    async fn size(&self) -> usize {
        self.ballast.len()
    }
    async fn unwritable_reply(&mut self) -> Odd {
        self.lines.push(99);
        Odd(true)
    }
}

/// What a `Ledger` told of.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Copy {
    lines: Vec<u64>,
}

#[entity]
impl Copy {
    async fn note(&mut self, line: u64) {
        self.lines.push(line);
    }
    async fn fill(&mut self, _text: String) {
        self.lines.push(u64::MAX);
    }
    async fn odd(&mut self, _odd: Odd) {
        self.lines.push(u64::MAX);
    }
    async fn lines(&self) -> Vec<u64> {
        self.lines.clone()
    }
}

/// Written and never read again: its `Deserialize` is not the inverse of its `Serialize`.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Forgetful {
    count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    list: Vec<u64>,
}

#[entity]
impl Forgetful {
    async fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
    async fn reject(&mut self) -> Result<(), String> {
        self.count += 1_000;
        Err("no".into())
    }
}

fn small(place: &Place) -> SiloBuilder {
    place.silo().entity::<Ledger>().entity::<Copy>().entity::<Forgetful>().limits(|limits| {
        limits.state_bytes_max = 1_500;
        limits.turn_messages_max = 10;
        limits.message_bytes_max = 1_000;
    })
}

on_both_stores!(
    after_each_bad_end_everything_is_as_before,
    turns_that_end_badly_between_others_leave_no_trace,
    a_state_may_be_a_mebibyte_and_no_more,
    a_reply_that_cannot_be_kept_rolls_the_turn_back,
    what_changes_nothing_writes_nothing,
    a_state_that_cannot_be_read_back_is_never_half_changed,
);

fn ended(end: End, answer: &Result<usize, CallError<String>>) -> bool {
    match end {
        End::Well => answer.is_ok(),
        End::Reject => matches!(answer, Err(CallError::Rejected(_))),
        End::Panic => matches!(answer, Err(CallError::Panicked)),
        End::Limit => matches!(answer, Err(CallError::Timeout)),
        End::TooLarge | End::TooManyMessages | End::TooLargeMessage => {
            matches!(answer, Err(CallError::TooLarge { .. }))
        }
        End::UnwritableState | End::UnwritableMessage => matches!(answer, Err(CallError::Invalid { .. })),
        End::Retry => matches!(answer, Err(CallError::NotApplied { .. })),
    }
}

async fn after_each_bad_end_everything_is_as_before(place: Place) {
    let silo = small(&place).start().await.unwrap();
    for (number, end) in ENDS.into_iter().enumerate() {
        let ledger = silo.client().entity::<Ledger>(format!("a{number}"));
        ledger.write(1, End::Well).await.unwrap();
        // A busy machine may take long to print a panic.
        let limit = if end == End::Limit { Duration::from_millis(200) } else { Duration::from_secs(10) };
        let answer = ledger.write(2, end).timeout(limit).await;
        assert!(ended(end, &answer), "{end:?}: {answer:?}");
        if end != End::Well {
            assert_eq!(ledger.lines().await, Ok(vec![1]), "{end:?}");
            let copy = silo.client().entity::<Copy>(format!("a{number}"));
            ledger.write(3, End::Well).await.unwrap();
            let noted = async || copy.lines().await;
            behaviour::eventually("what was sent", noted, |lines| lines.as_deref() == Ok(&[1, 3])).await.unwrap();
        }
    }
}

async fn turns_that_end_badly_between_others_leave_no_trace(place: Place) {
    let silo = small(&place).limits(|limits| limits.outbox_messages_max = 100_000).start().await.unwrap();
    let end = proptest::sample::select(&ENDS[..]);
    let plans = proptest::collection::vec((end, any::<bool>()), 1..40);
    let mut runner = TestRunner::new(Config { cases: 1, failure_persistence: None, ..Config::default() });
    for case in 0..25 {
        let plan = plans.new_tree(&mut runner).unwrap().current();
        let ledger = silo.client().entity::<Ledger>(format!("case {case}"));
        let mut expected = Vec::new();
        let mut waiting = Vec::new();
        for (line, (end, at_once)) in plan.iter().enumerate() {
            // A turn that meets its limit takes its time, and those behind it wait for it.
            let limit = if *end == End::Limit { Duration::from_millis(1) } else { Duration::from_secs(10) };
            waiting.push(ledger.write(line as u64, *end).timeout(limit));
            if *end == End::Well {
                expected.push(line as u64);
            }
            if *at_once {
                let ends = join_all(waiting.drain(..)).await;
                assert!(ends.iter().all(|end| !matches!(end, Err(CallError::Unknown { .. }))), "{plan:?}: {ends:?}");
            }
        }
        join_all(waiting).await;
        assert_eq!(ledger.lines().await, Ok(expected.clone()), "{plan:?}");
        let copy = silo.client().entity::<Copy>(format!("case {case}"));
        let noted = async || copy.lines().await;
        behaviour::eventually("what was sent", noted, |lines| lines.as_ref() == Ok(&expected)).await.unwrap();
    }
    // And it is what the store has.
    place.crash(silo).await;
    let silo = small(&place).start().await.unwrap();
    let (lines, noted) =
        (silo.client().entity::<Ledger>("case 0").lines().await, silo.client().entity::<Copy>("case 0").lines().await);
    assert_eq!(lines, noted);
}

async fn a_state_may_be_a_mebibyte_and_no_more(place: Place) {
    let silo = place.silo().entity::<Ledger>().entity::<Copy>().start().await.unwrap();
    let ledger = silo.client().entity::<Ledger>("a");
    assert_eq!(ledger.grow(1_000_000).await, Ok(1_000_000));
    let refused = ledger.grow(1 << 20).await;
    assert!(matches!(refused, Err(CallError::TooLarge { limit: 1_048_576, .. })), "{refused:?}");
    assert_eq!((ledger.size().await, silo.metrics().turns_too_large), (Ok(1_000_000), 1));
}

async fn a_reply_that_cannot_be_kept_rolls_the_turn_back(place: Place) {
    let silo = small(&place).start().await.unwrap();
    let ledger = silo.client().entity::<Ledger>("a");
    let kept = ledger.unwritable_reply().timeout(Duration::from_secs(2)).idempotent(Uuid::now_v7()).await;
    assert!(matches!(kept, Err(CallError::Invalid { .. })), "{:?}", kept.map(|_| ()));
    assert_eq!(ledger.lines().await, Ok(vec![]));
    // A plain ask moves its reply.
    assert!(ledger.unwritable_reply().await.is_ok());
    assert_eq!(ledger.lines().await, Ok(vec![99]));
}

async fn what_changes_nothing_writes_nothing(place: Place) {
    let silo = small(&place).start().await.unwrap();
    let ledger = silo.client().entity::<Ledger>("a");
    assert_eq!((ledger.lines().await, ledger.nothing().await, ledger.grow(0).await), (Ok(vec![]), Ok(()), Ok(0)));
    assert_eq!(silo.store_stats().commits, 0);
    assert_eq!(ledger.grow(5).await, Ok(5));
    assert_eq!((ledger.grow(5).await, ledger.size().await, ledger.nothing().await), (Ok(5), Ok(5), Ok(())));
    let _ = ledger.write(1, End::Reject).await;
    assert_eq!(silo.store_stats().commits, 1);
}

async fn a_state_that_cannot_be_read_back_is_never_half_changed(place: Place) {
    let silo = small(&place).start().await.unwrap();
    let forgetful = silo.client().entity::<Forgetful>("a");
    place.store.hold();
    let (mut first, mut rejected, mut behind) = (forgetful.count(), forgetful.reject(), forgetful.count());
    assert_eq!((&mut first).now_or_never(), None);
    place.store.until_commits(1).await;
    // The state before can't be restored; whatever is said now, what the turn did must not stay.
    assert_eq!(((&mut rejected).now_or_never(), (&mut behind).now_or_never()), (None, None));
    let ran = async || silo.metrics().turns_rejected;
    behaviour::eventually("the turn", ran, |rejected| *rejected == 1).await;
    place.store.let_go();
    let (first, rejected, behind) = (first.await, rejected.await, behind.await);
    assert!(!matches!(behind, Ok(count) if count > 2), "{first:?}, {rejected:?}, and the next turn: {behind:?}");
}
