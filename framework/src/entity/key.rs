use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What can name an entity within its kind: `String` (the default), `u64`, `i64`, [`Uuid`], or a tuple of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an entity",
    label = "not a key type",
    note = "write `key = String`, `u64`, `i64`, `Uuid`, or a tuple of them such as `(String, u64)`"
)]
pub trait Key:
    Clone + Eq + Hash + Debug + Serialize + DeserializeOwned + Send + Sync + sealed::Sealed + 'static
{
    /// The key as people write it; the elements of a tuple are joined by `/`.
    fn print(&self) -> String;
}

/// What [`Client::entity`](crate::Client::entity) takes: anything that turns into the key without a doubt.
///
/// Not `Into<K>`: an integer literal such as `7` is an `i32`, which is no `Into<u64>`; and tuples have no `Into`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as a key: this entity's key is a `{K}`",
    label = "expected a `{K}`"
)]
pub trait IntoKey<K> {
    /// The key.
    fn into_key(self) -> K;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! plain_keys { ($($key:ty),*) => { $(
    impl sealed::Sealed for $key {}
    impl Key for $key {
        fn print(&self) -> String {
            self.to_string()
        }
    }
    impl IntoKey<$key> for $key {
        fn into_key(self) -> $key {
            self
        }
    }
    impl IntoKey<$key> for &$key {
        fn into_key(self) -> $key {
            self.clone()
        }
    }
)* } }
plain_keys!(String, u64, i64, Uuid);

impl IntoKey<String> for &str {
    fn into_key(self) -> String {
        self.into()
    }
}

macro_rules! tuple_keys { ($($element:ident $from:ident $index:tt),*) => {
    impl<$($element: Key),*> sealed::Sealed for ($($element,)*) {}
    impl<$($element: Key),*> Key for ($($element,)*) {
        fn print(&self) -> String {
            [$(self.$index.print()),*].join("/")
        }
    }
    /// Element by element: `("row", 7)` for a key `(String, u64)`.
    impl<$($element,)* $($from: IntoKey<$element>),*> IntoKey<($($element,)*)> for ($($from,)*) {
        fn into_key(self) -> ($($element,)*) {
            ($(self.$index.into_key(),)*)
        }
    }
} }
tuple_keys!(A X 0, B Y 1);
tuple_keys!(A X 0, B Y 1, C Z 2);
tuple_keys!(A X 0, B Y 1, C Z 2, D W 3);
