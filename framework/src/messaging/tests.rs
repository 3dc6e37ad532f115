//! What persists comes back as it was, and what is no record is no panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::activity::{Applied, Attempts};
use super::{Cause, DeadLetter, KeyRecord, Reminder, decode, encode};
use crate::wire::{Continuation, EntityId, Envelope};

fn id() -> impl Strategy<Value = EntityId> {
    ("[A-Za-z]{0,8}", vec(any::<u8>(), 0..20)).prop_map(|(kind, key)| EntityId::new(kind, key))
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn then() -> impl Strategy<Value = Option<Continuation>> {
    let then = (id(), ".{0,8}", bytes()).prop_map(|(to, method, arguments)| Continuation { to, method, arguments });
    proptest::option::of(then)
}

prop_compose! {
    fn envelope()(
        ids: [u128; 3], numbers: [u64; 2], from in id(), to in id(), method in ".{0,8}", arguments in bytes(), then in then(),
    ) -> Envelope {
        let ([id, cause, root], [sequence, previous]) = (ids.map(Uuid::from_u128), numbers);
        Envelope { id, cause, root, from, to, sequence, previous, method, arguments, then }
    }
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(
        message in envelope(), numbers: [u64; 3], count: u32, period: Option<u64>, outcome in bytes(),
    ) {
        let [sequence, at, fires] = numbers;
        prop_assert_eq!(decode::<Applied>(&encode(&Applied { sequence })).unwrap(), Applied { sequence });
        let attempts = Attempts { sequence, count };
        prop_assert_eq!(decode::<Attempts>(&encode(&attempts)).unwrap(), attempts);
        let key = KeyRecord { at, digest: sequence, outcome: outcome.clone() };
        prop_assert_eq!(decode::<KeyRecord>(&encode(&key)).unwrap(), key);
        let (to, method, arguments, then) = (message.to.clone(), message.method.clone(), outcome.clone(), message.then.clone());
        let reminder = Reminder { due: at, period, fires, to, method, arguments, then };
        prop_assert_eq!(decode::<Reminder>(&encode(&reminder)).unwrap(), reminder);
        prop_assert_eq!(&decode::<Envelope>(&encode(&message)).unwrap(), &message);
        let letter = DeadLetter { message, at, cause: Cause::Rejected(outcome) };
        prop_assert_eq!(decode::<DeadLetter>(&encode(&letter)).unwrap(), letter);
    }

    #[test]
    fn no_bytes_make_a_record_panic(noise in vec(any::<u8>(), 0..200), message in envelope(), at: prop::sample::Index, byte: u8) {
        let mut changed = encode(&message).to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        for bytes in [&noise, &changed] {
            let _ = decode::<Envelope>(bytes);
            let _ = decode::<Reminder>(bytes);
            let _ = decode::<DeadLetter>(bytes);
            let _ = decode::<Applied>(bytes);
        }
    }
}
