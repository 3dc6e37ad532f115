use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::EntityId;

/// A call as it travels. The deadline travels in the frame's header, as what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) to: EntityId,
    pub(crate) method: Bytes,
    pub(crate) manner: Manner,
    /// The number of the call where it was made; of a turn's ask, its number everywhere.
    pub(crate) call: u64,
    /// What caused the asking turn, and the first cause of all.
    pub(crate) cause: Option<(Uuid, Uuid)>,
    /// The turns that wait for it, the one that asks first.
    pub(crate) chain: Option<Vec<Asker>>,
    /// An array that tolerates more and fewer at its end.
    pub(crate) arguments: Bytes,
}

/// What the caller may expect, and what can be done when its silo is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It changes nothing: it can be run twice.
    Read,
    /// At most once.
    Exclusive,
    /// Best effort, with no answer.
    Notify,
    /// Its effect is applied once, however often it comes.
    Keyed { key: Uuid, digest: u64 },
}

/// A turn that waits for an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asker {
    pub(crate) entity: EntityId,
    /// Its turn, unique in the cluster.
    pub(crate) turn: u64,
    pub(crate) exclusive: bool,
}

/// What only some asks carry, with names.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Extra {
    #[serde(default)]
    cause: Option<(Uuid, Uuid)>,
    #[serde(default)]
    chain: Option<Vec<Asker>>,
}

/// Turns that may wait for each other, one asking the next.
const CHAIN_MAX: usize = 256;

const READ: u8 = 0;
const EXCLUSIVE: u8 = 1;
const NOTIFY: u8 = 2;
const KEYED: u8 = 3;

/// A body that is not what its frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed body")]
pub(crate) struct Malformed;

/// What comes before a call's arguments, to be written.
pub(crate) struct AskHead<'a> {
    pub(crate) to: &'a EntityId,
    pub(crate) method: &'a [u8],
    pub(crate) manner: Manner,
    pub(crate) call: u64,
    pub(crate) cause: Option<(Uuid, Uuid)>,
    pub(crate) chain: Option<Vec<Asker>>,
}

impl AskHead<'_> {
    /// Appends it to the body of its frame; the arguments follow.
    pub(crate) fn write(self, body: &mut Vec<u8>) -> Result<(), Malformed> {
        write_id(self.to, body)?;
        write_short(self.method, body)?;
        match self.manner {
            Manner::Read => body.put_u8(READ),
            Manner::Exclusive => body.put_u8(EXCLUSIVE),
            Manner::Notify => body.put_u8(NOTIFY),
            Manner::Keyed { key, digest } => {
                body.put_u8(KEYED);
                body.put_slice(key.as_bytes());
                body.put_u64(digest);
            }
        }
        body.put_u64(self.call);
        if self.cause.is_some() || self.chain.is_some() {
            let extra = Extra { cause: self.cause, chain: self.chain };
            let extra = rmp_serde::to_vec_named(&extra).map_err(|_| Malformed)?;
            body.put_u32(u32::try_from(extra.len()).map_err(|_| Malformed)?);
            body.put_slice(&extra);
        } else {
            body.put_u32(0);
        }
        Ok(())
    }
}

impl Ask {
    /// Appends the body of its frame.
    pub(crate) fn write(&self, body: &mut Vec<u8>) -> Result<(), Malformed> {
        let Self { to, method, manner, call, cause, chain, arguments } = self;
        let head = AskHead { to, method, manner: *manner, call: *call, cause: *cause, chain: chain.clone() };
        head.write(body)?;
        body.put_slice(arguments);
        Ok(())
    }

    /// From the body of its frame, without a copy of its parts.
    pub(crate) fn read(mut body: Bytes) -> Result<Self, Malformed> {
        let to = read_id(&mut body)?;
        let method = read_short(&mut body)?;
        let manner = match body.try_get_u8().map_err(|_| Malformed)? {
            READ => Manner::Read,
            EXCLUSIVE => Manner::Exclusive,
            NOTIFY => Manner::Notify,
            KEYED => Manner::Keyed { key: read_uuid(&mut body)?, digest: body.try_get_u64().map_err(|_| Malformed)? },
            _ => return Err(Malformed),
        };
        let call = body.try_get_u64().map_err(|_| Malformed)?;
        let length = body.try_get_u32().map_err(|_| Malformed)? as usize;
        let extra = split(&mut body, length)?;
        let Extra { cause, chain } = match extra.is_empty() {
            true => Extra::default(),
            false => rmp_serde::from_slice(&extra).map_err(|_| Malformed)?,
        };
        if chain.as_ref().is_some_and(|chain| chain.len() > CHAIN_MAX) {
            return Err(Malformed);
        }
        Ok(Self { to, method, manner, call, cause, chain, arguments: body })
    }
}

pub(crate) fn write_id(id: &EntityId, body: &mut Vec<u8>) -> Result<(), Malformed> {
    write_short(id.kind.as_bytes(), body)?;
    write_short(&id.key, body)
}

pub(crate) fn read_id(body: &mut Bytes) -> Result<EntityId, Malformed> {
    let kind = read_short(body)?;
    let kind = shared_kind(std::str::from_utf8(&kind).map_err(|_| Malformed)?);
    // The key is kept for long: it must not hold on to the buffer that it came in.
    Ok(EntityId::new(kind, Bytes::copy_from_slice(&read_short(body)?)))
}

/// Kinds are few, and each call names one: whoever reads keeps those that came lately.
fn shared_kind(kind: &str) -> Arc<str> {
    const KEPT: usize = 64;
    const KEPT_BYTES_MAX: usize = 64;
    thread_local! {
        static KINDS: RefCell<[Option<Arc<str>>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
    }
    if kind.len() > KEPT_BYTES_MAX {
        return kind.into();
    }
    let place = FixedState::default().hash_one(kind) as usize % KEPT;
    KINDS.with_borrow_mut(|kinds| match kinds.get_mut(place) {
        Some(Some(known)) if **known == *kind => known.clone(),
        Some(other) => other.insert(kind.into()).clone(),
        None => kind.into(),
    })
}

pub(crate) fn read_uuid(body: &mut Bytes) -> Result<Uuid, Malformed> {
    Uuid::from_slice(&split(body, 16)?).map_err(|_| Malformed)
}

fn write_short(bytes: &[u8], body: &mut Vec<u8>) -> Result<(), Malformed> {
    body.put_u16(u16::try_from(bytes.len()).map_err(|_| Malformed)?);
    body.put_slice(bytes);
    Ok(())
}

fn read_short(body: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::from(body.try_get_u16().map_err(|_| Malformed)?);
    split(body, length)
}

fn split(body: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if body.len() < length {
        return Err(Malformed);
    }
    Ok(body.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = EntityId> {
        ("[a-zA-Z]{0,20}", prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, key)| EntityId::new(kind, key))
    }

    fn manner() -> impl Strategy<Value = Manner> {
        prop_oneof![
            Just(Manner::Read),
            Just(Manner::Exclusive),
            Just(Manner::Notify),
            (any::<u128>(), any::<u64>()).prop_map(|(key, digest)| Manner::Keyed { key: Uuid::from_u128(key), digest }),
        ]
    }

    fn asker() -> impl Strategy<Value = Asker> {
        (id(), any::<u64>(), any::<bool>()).prop_map(|(entity, turn, exclusive)| Asker { entity, turn, exclusive })
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let parts = (
            id(),
            "[a-z_]{0,30}",
            manner(),
            any::<u64>(),
            prop::option::of((any::<u128>(), any::<u128>())),
            prop::option::of(prop::collection::vec(asker(), 0..4)),
            prop::collection::vec(any::<u8>(), 0..100),
        );
        parts.prop_map(|(to, method, manner, call, cause, chain, arguments)| Ask {
            to,
            method: method.into(),
            manner,
            call,
            cause: cause.map(|(cause, root)| (Uuid::from_u128(cause), Uuid::from_u128(root))),
            chain,
            arguments: arguments.into(),
        })
    }

    proptest! {
        #[test]
        fn an_ask_comes_out_as_it_went_in(ask in ask()) {
            let mut body = Vec::new();
            ask.write(&mut body).unwrap();
            prop_assert_eq!(Ask::read(body.into()), Ok(ask));
        }

        #[test]
        fn a_shortened_head_is_malformed(ask in ask(), cut in any::<prop::sample::Index>()) {
            let mut body = Vec::new();
            ask.write(&mut body).unwrap();
            let head = body.len() - ask.arguments.len();
            prop_assume!(head > 0);
            body.truncate(cut.index(head));
            prop_assert_eq!(Ask::read(body.into()), Err(Malformed));
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Ask::read(body.into());
        }
    }
}
