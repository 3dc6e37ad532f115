use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::entity::Wire;

/// The marker of a MessagePack array with a 16-bit length: arguments always have it, so that one can be appended.
const ARRAY_16: u8 = 0xdc;

/// The arguments of a handler, as a tuple.
///
/// Encoded as an array of elements that are encoded with names. Its reader is tolerant at the end: what it does not
/// know is ignored, what is missing must be an `Option` and is `None`.
#[doc(hidden)]
pub trait Args: Send + Sized + 'static {
    /// Appends the arguments as bytes.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error>;
    /// The arguments from bytes.
    fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error>;
}

/// Appends an element that is already encoded: a continuation's outcome, which its sender never decodes.
pub(crate) fn push_element(arguments: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    let [ARRAY_16, high, low, elements @ ..] = arguments else { return None };
    let count = u16::from_be_bytes([*high, *low]).checked_add(1)?;
    let mut longer = Vec::with_capacity(arguments.len() + element.len());
    longer.push(ARRAY_16);
    longer.extend_from_slice(&count.to_be_bytes());
    longer.extend_from_slice(elements);
    longer.extend_from_slice(element);
    Some(longer)
}

/// What serde does for a missing field: an `Option` becomes `None`, everything else is an error.
struct Missing<E> {
    position: usize,
    error: PhantomData<E>,
}

impl<'de, E: de::Error> Deserializer<'de> for Missing<E> {
    type Error = E;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, E> {
        Err(E::custom(format_args!("argument {} is missing and is no `Option`", self.position)))
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

macro_rules! arguments { ($count:literal $($argument:ident $index:tt)*) => {
    impl<$($argument: Wire),*> Args for ($($argument,)*) {
        fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
            bytes.push(ARRAY_16);
            bytes.extend_from_slice(&u16::to_be_bytes($count));
            $( rmp_serde::encode::write_named(bytes, &self.$index)?; )*
            Ok(())
        }

        fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
            struct Tolerant<T>(PhantomData<T>);
            impl<'de, $($argument: Wire),*> Visitor<'de> for Tolerant<($($argument,)*)> {
                type Value = ($($argument,)*);
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(concat!("an array of ", $count, " arguments"))
                }
                #[allow(non_snake_case, clippy::unused_unit)]
                fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
                    $(
                        let $argument = match elements.next_element::<$argument>()? {
                            Some(argument) => argument,
                            None => $argument::deserialize(Missing { position: $index, error: PhantomData })?,
                        };
                    )*
                    while elements.next_element::<IgnoredAny>()?.is_some() {}
                    Ok(($($argument,)*))
                }
            }
            let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
            (&mut deserializer).deserialize_seq(Tolerant(PhantomData))
        }
    }
} }
arguments!(0);
arguments!(1 A 0);
arguments!(2 A 0 B 1);
arguments!(3 A 0 B 1 C 2);
arguments!(4 A 0 B 1 C 2 D 3);
arguments!(5 A 0 B 1 C 2 D 3 F 4);
arguments!(6 A 0 B 1 C 2 D 3 F 4 G 5);
arguments!(7 A 0 B 1 C 2 D 3 F 4 G 5 H 6);
arguments!(8 A 0 B 1 C 2 D 3 F 4 G 5 H 6 I 7);
arguments!(9 A 0 B 1 C 2 D 3 F 4 G 5 H 6 I 7 J 8);
arguments!(10 A 0 B 1 C 2 D 3 F 4 G 5 H 6 I 7 J 8 K 9);
arguments!(11 A 0 B 1 C 2 D 3 F 4 G 5 H 6 I 7 J 8 K 9 L 10);
arguments!(12 A 0 B 1 C 2 D 3 F 4 G 5 H 6 I 7 J 8 K 9 L 10 M 11);
