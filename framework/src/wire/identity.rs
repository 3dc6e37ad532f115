use std::fmt::{self, Display, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// How many partitions an id space has unless it was created with another number.
pub const PARTITIONS_DEFAULT: u16 = 1024;

/// A fixed slice of all ids. All records of an entity live in its partition.
pub type Partition = u16;

/// The name of one entity, without its type: the kind, and the key in its canonical encoding.
///
/// Two different (kind, key) pairs never have equal ids: the key's encoding is self-delimiting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId {
    /// The stable name of the entity's type.
    pub kind: Arc<str>,
    /// The key, MessagePack-encoded: canonical for every key type that there is.
    pub key: Bytes,
}

impl EntityId {
    /// The id of the entity of `kind` whose encoded key is `key`.
    pub fn new(kind: impl Into<Arc<str>>, key: impl Into<Bytes>) -> Self {
        Self { kind: kind.into(), key: key.into() }
    }

    /// The partition that this entity belongs to. Stable for ever: records are found by it.
    pub fn partition(&self, partitions: u16) -> Partition {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(&(self.kind.len() as u32).to_le_bytes());
        hasher.update(self.kind.as_bytes());
        hasher.update(&self.key);
        (hasher.digest() % u64::from(partitions.max(1))) as Partition
    }
}

/// A longer key is cut where people read it.
const PRINTED_BYTES_MAX: usize = 200;

/// `Account/alice`, `Seat/row/7`: for people. Not unique, and never parsed.
impl Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        f.write_char('/')?;
        let mut key = rmp_serde::Deserializer::from_read_ref(self.key.as_ref());
        match Printed.deserialize(&mut key) {
            Ok(printed) if printed.len() <= PRINTED_BYTES_MAX => f.write_str(&printed),
            Ok(printed) => {
                let end = (0..=PRINTED_BYTES_MAX).rev().find(|end| printed.is_char_boundary(*end)).unwrap_or(0);
                write!(f, "{}… ({} bytes)", &printed[..end], printed.len())
            }
            Err(_) => write!(f, "{:02x?}", self.key.as_ref()),
        }
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Reads a key of any type as text, its elements joined by `/`.
struct Printed;

impl<'de> DeserializeSeed<'de> for Printed {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Printed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<String, E> {
        uuid::Uuid::from_slice(bytes).map(|uuid| uuid.to_string()).map_err(de::Error::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<String, A::Error> {
        let mut printed = String::new();
        while let Some(element) = elements.next_element_seed(Printed)? {
            if !printed.is_empty() {
                printed.push('/');
            }
            printed.push_str(&element);
        }
        Ok(printed)
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(de::Error::custom("a key is no map"))
    }
}
