//! Every name that grange has in Redis. Nothing else in the program puts one together or takes one apart, but for a line each of
//! `scripts/due.lua`, which finds an entity's key beside its agenda's, and of `scripts/commit.lua`, which finds its `ID` in it.
//!
//! `C` is the cluster's name, `P` a partition's number; what is in braces decides the slot in a Redis Cluster, so that
//! all of a partition is on one server. `ID` is `<length of the kind>:<kind><key>`, which no other entity's is, whatever
//! bytes a key holds; a brace in it comes too late to be taken for a slot's.
//!
//! | key | type | holds | written by | lives |
//! |---|---|---|---|---|
//! | `grange:{C:P}:e:ID` | hash | one entity | claim, commit, trim, sweep, release | for ever, once committed; until its release before |
//! | `grange:{C:P}:agenda` | sorted set | `ID` by wake time, never later than the entity's `w` | before a trim, and a commit where no entry stands; settle | while there is something to wake |
//! | `grange:{C:P}:letters` | sorted set | `ID`s that may hold dead letters | before a commit; unlist | while there are some |
//! | `grange:{C:P}:life` | hash | in a Redis Cluster: the life of this partition's data | the first commands on each connection | for ever |
//! | `grange:{C}:life` | hash | on a single server: the life of all data | likewise | for ever |
//! | `grange:{C}:members` | hash | the silos | join, advance, declare_dead, place | a row: a day after its silo's end, or 1,000 rows |
//! | `grange:{C}:renewals` | sorted set | incarnations by their last renewal, in ms of this server's clock | join, beat | while the silo lives |
//!
//! Nothing has a time to live: an expired record is a lost one.
//!
//! | field of an entity | holds |
//! |---|---|
//! | `o` `n` `e` | the claim: owner (`""`: nobody), nonce, epoch |
//! | `v` `c` | the version, and the commit that made it; not there before the first |
//! | `w` | when it is to be woken, in ms; `""` or not there: never |
//! | `s` | the state |
//! | `q` | [`Field::Sequence`] |
//! | `x:<number>` | [`Field::Outbox`] |
//! | `i:ID` | [`Field::Activity`] |
//! | `a:ID` | [`Field::Attempts`] |
//! | `k:<uuid>` | [`Field::Key`] |
//! | `f` | [`Field::KeyFloor`] |
//! | `m:<name>` | [`Field::Reminder`] |
//! | `l:<number>` | [`Field::Letter`] |
//!
//! From `s` on, a value begins with `=`. An empty one is a tombstone: a commit is one `HSET`, which can't delete.
//!
//! | field of a life | holds |
//! |---|---|
//! | `g` | a random number |
//! | `r` | the run id of the server that it began on |
//!
//! | field of the members | holds |
//! |---|---|
//! | `version` `partitions` `slices` | of the table; the number of partitions, fixed for ever; who is given which |
//! | `r:<incarnation>` | what a silo said of itself when it joined |
//! | `s:<incarnation>` `t:<incarnation>` | its status, and since when, in ms |
//! | `j:<incarnation>` | `<version>:<ms>`: when it joined |

use std::io::{self, Write};

use bytes::Bytes;
use redis::{RedisWrite, ToRedisArgs};
use uuid::Uuid;
use uuid::fmt::Simple;

use crate::store::{Field, Incarnation};
use crate::wire::{EntityId, Partition};

/// A longer name would be in every key.
const CLUSTER_BYTES_MAX: usize = 64;

pub(super) const OWNER: &[u8] = b"o";
pub(super) const NONCE: &[u8] = b"n";
pub(super) const EPOCH: &[u8] = b"e";
pub(super) const VERSION: &[u8] = b"v";
pub(super) const COMMIT: &[u8] = b"c";
pub(super) const WAKE: &[u8] = b"w";
pub(super) const STATE: &[u8] = b"s";

/// The names of one cluster's keys. Those of the partitions are put together once: nearly every command names some.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    cluster: String,
    /// Of a single server.
    life: Box<str>,
    partitions: Box<[Names]>,
}

#[derive(Debug, Clone)]
struct Names {
    /// What the names of its entities begin with.
    entity: Box<str>,
    agenda: Box<str>,
    letters: Box<str>,
    life: Box<str>,
}

impl Keys {
    /// `Err`: what is wrong with the name.
    pub(super) fn new(cluster: &str, partitions: u16) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if cluster.is_empty() || cluster.len() > CLUSTER_BYTES_MAX || !cluster.chars().all(plain) {
            return Err(format!(
                "{cluster:?} can't be the name of a cluster: it takes 1 to {CLUSTER_BYTES_MAX} ASCII letters, digits, \
                 '-', '_' and '.'"
            ));
        }
        let names = |partition: Partition| {
            let of = |what: &str| format!("grange:{{{cluster}:{partition}}}:{what}").into_boxed_str();
            Names { entity: of("e:"), agenda: of("agenda"), letters: of("letters"), life: of("life") }
        };
        let life = format!("grange:{{{cluster}}}:life").into_boxed_str();
        Ok(Self { cluster: cluster.to_owned(), life, partitions: (0..partitions).map(names).collect() })
    }

    /// The slot of a partition in a Redis Cluster.
    pub(super) fn slot(&self, partition: Partition) -> u16 {
        slot(format!("{}:{partition}", self.cluster).as_bytes())
    }

    /// The slot of the table of members.
    pub(super) fn members_slot(&self) -> u16 {
        slot(self.cluster.as_bytes())
    }

    pub(super) fn entity(&self, partition: Partition, id: &EntityId) -> Vec<u8> {
        let begin = self.of(partition).entity.as_bytes();
        let mut key = Vec::with_capacity(begin.len() + id_bytes_max(id));
        key.extend(begin);
        push_id(&mut key, id);
        key
    }

    pub(super) fn agenda(&self, partition: Partition) -> &str {
        &self.of(partition).agenda
    }

    pub(super) fn letters(&self, partition: Partition) -> &str {
        &self.of(partition).letters
    }

    pub(super) fn partition_life(&self, partition: Partition) -> &str {
        &self.of(partition).life
    }

    pub(super) fn server_life(&self) -> &str {
        &self.life
    }

    pub(super) fn members(&self) -> String {
        self.shared("members")
    }

    pub(super) fn renewals(&self) -> String {
        self.shared("renewals")
    }

    /// A partition is the rest of a division by how many there are.
    fn of(&self, partition: Partition) -> &Names {
        &self.partitions[usize::from(partition)]
    }

    fn shared(&self, what: &str) -> String {
        format!("grange:{{{}}}:{what}", self.cluster)
    }
}

/// Which of 16,384 slots a hash tag is in: its CRC-16 (XMODEM).
fn slot(tag: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = tag.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), step));
    crc % 16_384
}

/// The name of an entity within its partition.
pub(super) fn encode_id(id: &EntityId) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(id_bytes_max(id));
    push_id(&mut encoded, id);
    encoded
}

fn push_id(bytes: &mut Vec<u8>, id: &EntityId) {
    // Writing to memory can't fail.
    let _ = write!(bytes, "{}:", id.kind.len());
    bytes.extend(id.kind.as_bytes());
    bytes.extend(&id.key);
}

fn id_bytes_max(id: &EntityId) -> usize {
    8 + id.kind.len() + id.key.len()
}

pub(super) fn decode_id(encoded: &[u8]) -> Option<EntityId> {
    let colon = encoded.iter().position(|byte| *byte == b':')?;
    let (length, rest) = encoded.split_at_checked(colon)?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let (kind, key) = rest.get(1..)?.split_at_checked(length)?;
    Some(EntityId::new(std::str::from_utf8(kind).ok()?, Bytes::copy_from_slice(key)))
}

pub(super) fn encode_field(field: &Field) -> Vec<u8> {
    let named = |tag: &str, rest: &[u8]| [tag.as_bytes(), rest].concat();
    match field {
        Field::Sequence => b"q".to_vec(),
        Field::Outbox(number) => format!("x:{number}").into_bytes(),
        Field::Activity(partner) => named("i:", &encode_id(partner)),
        Field::Attempts(partner) => named("a:", &encode_id(partner)),
        Field::Key(uuid) => named("k:", uuid.as_simple().to_string().as_bytes()),
        Field::KeyFloor => b"f".to_vec(),
        Field::Reminder(name) => named("m:", name.as_bytes()),
        Field::Letter(number) => format!("l:{number}").into_bytes(),
    }
}

/// `None`: not the name of a field that this version knows.
pub(super) fn decode_field(name: &[u8]) -> Option<Field> {
    let text = |rest| std::str::from_utf8(rest).ok();
    match name {
        b"q" => Some(Field::Sequence),
        b"f" => Some(Field::KeyFloor),
        [b'x', b':', rest @ ..] => Some(Field::Outbox(text(rest)?.parse().ok()?)),
        [b'i', b':', rest @ ..] => Some(Field::Activity(decode_id(rest)?)),
        [b'a', b':', rest @ ..] => Some(Field::Attempts(decode_id(rest)?)),
        [b'k', b':', rest @ ..] => Some(Field::Key(Uuid::try_parse(text(rest)?).ok()?)),
        [b'm', b':', rest @ ..] => Some(Field::Reminder(text(rest)?.to_owned())),
        [b'l', b':', rest @ ..] => Some(Field::Letter(text(rest)?.parse().ok()?)),
        _ => None,
    }
}

/// A value as it is stored: never empty, so that a tombstone is none.
pub(super) fn write_value(stored: &mut impl Write, value: &[u8]) -> io::Result<()> {
    stored.write_all(b"=")?;
    stored.write_all(value)
}

/// `Ok(None)`: a tombstone. `Err`: not written by grange.
pub(super) fn decode_value(stored: &[u8]) -> Result<Option<Bytes>, ()> {
    match stored {
        [] => Ok(None),
        [b'=', value @ ..] => Ok(Some(Bytes::copy_from_slice(value))),
        _ => Err(()),
    }
}

/// An owner or an incarnation.
pub(super) fn encode_incarnation(incarnation: Incarnation) -> Digits {
    let mut digits = [0; Simple::LENGTH];
    incarnation.as_simple().encode_lower(&mut digits);
    Digits(digits)
}

pub(super) fn encode_number(number: u128) -> Digits {
    encode_incarnation(Uuid::from_u128(number))
}

/// 32 hexadecimal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits([u8; Simple::LENGTH]);

impl Digits {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl ToRedisArgs for Digits {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.0);
    }
}

/// A time as the score of a sorted set, which is a double: rather too early than too late.
pub(super) fn score(time: u64) -> String {
    let mut score = time as f64;
    if score as u128 > u128::from(time) {
        score = score.next_down();
    }
    format!("{score:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own() {
        let id = EntityId::new("Account", &b"\xa5{}:\0\r\n"[..]);
        let fields = [
            Field::Sequence,
            Field::Outbox(u64::MAX),
            Field::Activity(id.clone()),
            Field::Attempts(EntityId::new("", &b""[..])),
            Field::Key(Uuid::from_u128(9)),
            Field::KeyFloor,
            Field::Reminder(String::new()),
            Field::Reminder("m:{".into()),
            Field::Letter(0),
        ];
        for field in fields {
            assert_eq!(decode_field(&encode_field(&field)), Some(field));
        }
        assert_eq!(decode_id(&encode_id(&id)), Some(id));
        assert_eq!((decode_field(b"s"), decode_field(b"x:-1"), decode_id(b"9:short")), (None, None, None));
    }

    #[test]
    fn no_id_is_taken_for_another() {
        let ids = [("A", "b"), ("Ab", ""), ("", "Ab"), ("1:A", "b"), ("", "1:Ab")];
        let encoded = ids.map(|(kind, key)| encode_id(&EntityId::new(kind, key)));
        for (at, one) in encoded.iter().enumerate() {
            assert_eq!(encoded.iter().position(|other| other == one), Some(at));
        }
    }

    #[test]
    fn a_name_that_could_be_taken_for_another_is_no_clusters() {
        for name in ["", "a:1", "a}", "{a", "a b", "a*", "ä", &"a".repeat(65)] {
            assert!(Keys::new(name, 1).is_err(), "{name}");
        }
        assert_eq!(Keys::new("bank-2", 8).unwrap().agenda(7), "grange:{bank-2:7}:agenda");
    }

    #[test]
    fn a_script_finds_an_id_behind_the_length_of_its_agenda() {
        // `string.sub(KEYS[1], #KEYS[3] - 3)`, which counts from 1.
        for (cluster, partition) in [("a", 0), ("bank-2", 7), ("bank-2", 1_023)] {
            let keys = Keys::new(cluster, 1_024).unwrap();
            let id = EntityId::new("Account", &b"\xa5{}:\0\r\n"[..]);
            let begin = keys.agenda(partition).len() - 4;
            assert_eq!(keys.entity(partition, &id)[begin..], encode_id(&id));
        }
    }

    #[test]
    fn a_slot_is_what_redis_takes_it_for() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
    }

    #[test]
    fn a_score_is_never_too_late() {
        for time in [0, 1, 1 << 53, (1 << 53) + 1, (1 << 60) - 1, u64::MAX] {
            let score: u128 = score(time).parse().unwrap();
            assert!(score <= u128::from(time) && u128::from(time) - score < 4_096, "{time} {score}");
        }
        assert_eq!(score(1_700_000_000_123), "1700000000123");
    }
}
