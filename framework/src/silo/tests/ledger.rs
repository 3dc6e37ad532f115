use bytes::Bytes;

use crate::entity::Cause;
use crate::silo::config::Limits;
use crate::silo::ledger::{Ledger, OUTBOX_WAKE_MS};
use crate::silo::settle::Now;
use crate::store::{Commit, Fence, Record};
use crate::wire::EntityId;

/// What a turn commits that sends a message at this time.
fn send(ledger: &mut Ledger, ms: u64) -> Commit {
    let to = EntityId::new("B", &b"b"[..]);
    let now = Now { ms, random: &|| 0 };
    ledger.stage(to, "method".into(), Bytes::new(), None, Cause::default(), &now);
    ledger.next_commit(ms, 1, &Limits::default()).unwrap()
}

#[test]
fn an_entry_of_the_agenda_stands_until_its_time_has_come() {
    let fence = Fence { owner: uuid::Uuid::nil(), nonce: 1, epoch: 1 };
    let record = Record { fence, generation: 1, version: 0, state: None, fields: [].into(), wake: None };
    let mut ledger = Ledger::open(EntityId::new("A", &b"a"[..]), record).unwrap();
    let first = send(&mut ledger, 1_000);
    assert_eq!((first.wake, first.named), (Some(1_000 + OUTBOX_WAKE_MS), false));
    ledger.land();
    for ms in [1_001, 999 + OUTBOX_WAKE_MS] {
        assert!(send(&mut ledger, ms).named, "at {ms} it stands, since {:?}", first.wake);
        ledger.land();
    }
    // Whoever reads the agenda may have found it by now, and put it to a later time than that of the next one.
    let late = send(&mut ledger, 1_000 + OUTBOX_WAKE_MS);
    assert!(!late.named);
    ledger.land();
    assert!(send(&mut ledger, 2_000 + OUTBOX_WAKE_MS).named);
    // A commit that did not land had nothing named.
    ledger.sink();
    assert!(send(&mut ledger, 2_500 + OUTBOX_WAKE_MS).named);
}
