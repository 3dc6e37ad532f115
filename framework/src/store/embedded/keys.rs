use std::ops::Bound;

use bytes::Bytes;
use uuid::Uuid;

use crate::store::Field;
use crate::wire::EntityId;

/// The number of the last durable batch: compared with the mark when the directory is opened.
pub(super) const SEQUENCE: &[u8] = b"m\0sequence";

/// All entities with a wake time, the earliest first.
const AGENDA: &[u8] = b"a";

/// All dead letters, by entity.
pub(super) const LETTERS: &[u8] = b"l";

/// fjall takes no longer ones.
const LENGTH_MAX: usize = 65_535;

const RECORDS: u8 = b'r';

/// A part of a record, as the end of its key says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    State,
    Field(Field),
}

/// What the keys of all parts of a record begin with, and no other key.
pub(super) fn record(id: &EntityId) -> Vec<u8> {
    let mut key = vec![RECORDS];
    push_id(&mut key, id);
    key
}

pub(super) fn head(id: &EntityId) -> Vec<u8> {
    with(record(id), b"h")
}

pub(super) fn state(id: &EntityId) -> Vec<u8> {
    with(record(id), b"s")
}

pub(super) fn field(id: &EntityId, field: &Field) -> Vec<u8> {
    let mut key = with(record(id), &[b'f', tag(field)]);
    match field {
        Field::Sequence | Field::KeyFloor => {}
        Field::Outbox(number) | Field::Letter(number) => key.extend(number.to_be_bytes()),
        Field::Activity(partner) | Field::Attempts(partner) => push_id(&mut key, partner),
        Field::Key(uuid) => key.extend(uuid.as_bytes()),
        Field::Reminder(name) => key.extend(name.as_bytes()),
    }
    key
}

/// Whether fjall can take the keys of these fields, and so of the record.
pub(super) fn fit<'a>(id: &EntityId, mut fields: impl Iterator<Item = &'a Field>) -> bool {
    agenda(0, id).len() <= LENGTH_MAX && fields.all(|name| field(id, name).len() <= LENGTH_MAX)
}

/// An entry of the agenda: ordered by wake time.
pub(super) fn agenda(wake: u64, id: &EntityId) -> Vec<u8> {
    let mut key = with(AGENDA.to_vec(), &wake.to_be_bytes());
    push_id(&mut key, id);
    key
}

/// The agenda between two times, both included.
pub(super) fn agenda_times(from: u64, until: u64) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end =
        until.checked_add(1).map_or(with(AGENDA.to_vec(), &[0xff; 9]), |end| with(AGENDA.to_vec(), &end.to_be_bytes()));
    (Bound::Included(with(AGENDA.to_vec(), &from.to_be_bytes())), Bound::Excluded(end))
}

/// An entry of the index of dead letters.
pub(super) fn letter(id: &EntityId, number: u64) -> Vec<u8> {
    let mut key = LETTERS.to_vec();
    push_id(&mut key, id);
    with(key, &number.to_be_bytes())
}

/// Which part of a record a key names, given what is left of it behind [`record`].
pub(super) fn read_part(suffix: &[u8]) -> Option<Part> {
    match suffix {
        b"h" => Some(Part::Head),
        b"s" => Some(Part::State),
        [b'f', tag, rest @ ..] => read_field(*tag, rest).map(Part::Field),
        _ => None,
    }
}

pub(super) fn read_agenda(key: &[u8]) -> Option<(u64, EntityId)> {
    let (wake, rest) = key.strip_prefix(AGENDA)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*wake), read_id(rest)?))
}

pub(super) fn read_letter(key: &[u8]) -> Option<(EntityId, u64)> {
    let (rest, number) = key.strip_prefix(LETTERS)?.split_last_chunk()?;
    Some((read_id(rest)?, u64::from_be_bytes(*number)))
}

// These numbers are on disk: never give one to another field.
fn tag(field: &Field) -> u8 {
    match field {
        Field::Sequence => 1,
        Field::Outbox(_) => 2,
        Field::Activity(_) => 3,
        Field::Attempts(_) => 4,
        Field::Key(_) => 5,
        Field::KeyFloor => 6,
        Field::Reminder(_) => 7,
        Field::Letter(_) => 8,
    }
}

fn read_field(tag: u8, rest: &[u8]) -> Option<Field> {
    let number = || rest.try_into().ok().map(u64::from_be_bytes);
    match tag {
        1 if rest.is_empty() => Some(Field::Sequence),
        2 => Some(Field::Outbox(number()?)),
        3 => Some(Field::Activity(read_id(rest)?)),
        4 => Some(Field::Attempts(read_id(rest)?)),
        5 => Some(Field::Key(Uuid::from_slice(rest).ok()?)),
        6 if rest.is_empty() => Some(Field::KeyFloor),
        7 => Some(Field::Reminder(std::str::from_utf8(rest).ok()?.to_owned())),
        8 => Some(Field::Letter(number()?)),
        _ => None,
    }
}

// Both lengths go first, so that no id is the beginning of another.
fn push_id(key: &mut Vec<u8>, id: &EntityId) {
    key.extend((id.kind.len() as u32).to_be_bytes());
    key.extend(id.kind.as_bytes());
    key.extend((id.key.len() as u32).to_be_bytes());
    key.extend(&id.key);
}

fn read_id(bytes: &[u8]) -> Option<EntityId> {
    let (kind, rest) = read_part_of_id(bytes)?;
    let (key, rest) = read_part_of_id(rest)?;
    let kind = std::str::from_utf8(kind).ok()?;
    rest.is_empty().then(|| EntityId::new(kind, Bytes::copy_from_slice(key)))
}

fn read_part_of_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn with(mut key: Vec<u8>, end: &[u8]) -> Vec<u8> {
    key.extend(end);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_part_and_nothing_else() {
        let id = EntityId::new("Account", &b"\xa5alice"[..]);
        let fields = [
            Field::Sequence,
            Field::Outbox(7),
            Field::Activity(id.clone()),
            Field::Attempts(EntityId::new("", &b""[..])),
            Field::Key(Uuid::from_u128(9)),
            Field::KeyFloor,
            Field::Reminder(String::new()),
            Field::Letter(u64::MAX),
        ];
        let part = |key: Vec<u8>| read_part(key.strip_prefix(record(&id).as_slice()).unwrap());
        for name in fields {
            assert_eq!(part(field(&id, &name)), Some(Part::Field(name)));
        }
        assert_eq!((part(head(&id)), part(state(&id))), (Some(Part::Head), Some(Part::State)));
        assert_eq!(read_agenda(&agenda(5, &id)), Some((5, id.clone())));
        assert_eq!(read_letter(&letter(&id, 3)), Some((id.clone(), 3)));
        assert_eq!(part(with(head(&id), b"x")), None);
    }

    #[test]
    fn no_record_begins_like_another() {
        let short = record(&EntityId::new("A", &b"\x01"[..]));
        for other in [EntityId::new("A", &b"\x01\x02"[..]), EntityId::new("A\0", &b"\x01"[..])] {
            assert!(!record(&other).starts_with(&short));
        }
    }
}
