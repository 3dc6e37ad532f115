use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::io::Cursor;
use std::rc::Rc;

use serde::Serialize;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, Visitor};

use crate::entity::Guarded;

/// The format of a stored state: one byte before the MessagePack. Another value is from another version.
const FORMAT: u8 = 1;

/// The state of one activation. The activation's queue, not this cell, decides who may borrow it.
#[doc(hidden)]
#[derive(Debug)]
pub struct StateCell<E>(Rc<RefCell<Guarded<E>>>);

impl<E> Clone for StateCell<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> StateCell<E> {
    pub(crate) fn new(state: E) -> Self {
        Self(Rc::new(RefCell::new(Guarded::new(state))))
    }
    pub(crate) fn borrow(&self) -> Ref<'_, Guarded<E>> {
        self.0.borrow()
    }
    pub(crate) fn borrow_mut(&self) -> RefMut<'_, Guarded<E>> {
        self.0.borrow_mut()
    }
    /// Another instance takes its place.
    pub(crate) fn replace(&self, state: E) {
        let before = self.0.replace(Guarded::new(state));
        drop(before); // when nothing is borrowed any more
    }
}

/// Why a state can't be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StateError {
    /// `Serialize` of the entity failed.
    #[error("the state can't be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// The stored bytes are not what this version's struct reads.
    #[error(
        "the stored state can't be read as this version's struct: {0} (a field that was added needs `#[serde(default)]`)"
    )]
    Decode(#[from] rmp_serde::decode::Error),
    /// The stored bytes were written by a newer grange.
    #[error("the stored state has format {found}, this version reads {FORMAT}")]
    Newer {
        /// The format found.
        found: u8,
    },
    /// The stored bytes are not a state.
    #[error("the stored state is no MessagePack")]
    Malformed,
}

/// How the state of `E` becomes bytes and a state again.
#[doc(hidden)]
pub struct StateCodec<E> {
    write: fn(&E, &mut Vec<u8>) -> Result<(), StateError>,
    read: fn(&[u8]) -> Result<E, StateError>,
    fields: fn() -> Option<&'static [&'static str]>,
}

impl<E> fmt::Debug for StateCodec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateCodec")
    }
}

/// What can be kept between activations.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the state of `{Self}` cannot be stored",
    label = "must be `Serialize + Deserialize`",
    note = "add `#[derive(Serialize, Deserialize)]`, or declare it `#[entity(volatile)]` if it may be forgotten"
)]
pub trait Stored: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<E: Serialize + DeserializeOwned> Stored for E {}

impl<E> StateCodec<E> {
    /// With names, so that fields can be added and removed.
    pub const fn serde() -> Self
    where
        E: Stored,
    {
        Self {
            write: |state, image| Ok(rmp_serde::encode::write_named(image, state)?),
            read: |bytes| Ok(rmp_serde::from_slice(bytes)?),
            fields: known_fields::<E>,
        }
    }
}

impl<E> StateCodec<E> {
    /// The stored form of a state, with the fields that only another version knows.
    pub(crate) fn save(&self, state: &E, foreign: &Foreign, image: &mut Vec<u8>) -> Result<(), StateError> {
        image.clear();
        image.push(FORMAT);
        (self.write)(state, image)?;
        foreign.append_to(image)
    }

    /// A state from its stored form, and what in it this version does not know.
    pub(crate) fn load(&self, image: &[u8]) -> Result<(E, Foreign), StateError> {
        let [format, body @ ..] = image else { return Err(StateError::Malformed) };
        if *format != FORMAT {
            return Err(StateError::Newer { found: *format });
        }
        let state = (self.read)(body)?;
        Ok((state, Foreign::of(body, (self.fields)())?))
    }
}

/// The top-level fields that a reader does not know: kept, and written back, so that an old silo beside a new one does
/// not erase what the new one wrote.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    count: u32,
    entries: Vec<u8>,
}

impl Foreign {
    fn of(body: &[u8], known: Option<&[&str]>) -> Result<Self, StateError> {
        let mut foreign = Self::default();
        let (Some(known), Some(count)) = (known, map_length(body)) else { return Ok(foreign) };
        let mut cursor = Cursor::new(body);
        rmp::decode::read_map_len(&mut cursor).map_err(|_| StateError::Malformed)?;
        for _ in 0..count {
            let start = cursor.position() as usize;
            let name = String::deserialize(&mut rmp_serde::Deserializer::new(&mut cursor))?;
            IgnoredAny::deserialize(&mut rmp_serde::Deserializer::new(&mut cursor))?;
            if !known.contains(&name.as_str()) {
                foreign.count += 1;
                foreign.entries.extend_from_slice(&body[start..cursor.position() as usize]);
            }
        }
        Ok(foreign)
    }

    fn append_to(&self, image: &mut Vec<u8>) -> Result<(), StateError> {
        if self.count == 0 {
            return Ok(());
        }
        let mut cursor = Cursor::new(&image[1..]);
        let count = rmp::decode::read_map_len(&mut cursor).map_err(|_| StateError::Malformed)?;
        let entries = 1 + cursor.position() as usize;
        let mut whole = vec![FORMAT];
        rmp::encode::write_map_len(&mut whole, count + self.count).map_err(|_| StateError::Malformed)?;
        whole.extend_from_slice(&image[entries..]);
        whole.extend_from_slice(&self.entries);
        *image = whole;
        Ok(())
    }
}

fn map_length(body: &[u8]) -> Option<u32> {
    rmp::decode::read_map_len(&mut &*body).ok()
}

/// The field names that `#[derive(Deserialize)]` announces, aliases included; `None` for what isn't a plain struct.
fn known_fields<E: DeserializeOwned>() -> Option<&'static [&'static str]> {
    struct Listener<'a>(&'a mut Option<&'static [&'static str]>);
    impl<'de> Deserializer<'de> for Listener<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only listening"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = Some(fields);
            Err(de::Error::custom("only listening"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields = None;
    let _ = E::deserialize(Listener(&mut fields));
    fields
}
