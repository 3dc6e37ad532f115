use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Outcome;

/// What crosses from one entity to another: moved inside a process, encoded between processes and in storage.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to or from an entity",
    label = "must be `Serialize + Deserialize + Send + 'static`",
    note = "arguments, replies and errors of handlers are moved between threads and encoded between processes: \
            add `#[derive(Serialize, Deserialize)]`, or pass a type that has it"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

/// Asserts at compile time that a last parameter called `Outcome<T, E>` is ours.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is called `Outcome` but is not a `grange::Outcome`",
    label = "not the outcome of a message",
    note = "rename it, or take an `Outcome<T, E>` to make this handler a continuation"
)]
pub trait OutcomeOf<T, E> {}

impl<T, E> OutcomeOf<T, E> for Outcome<T, E> {}

/// See [`OutcomeOf`].
#[doc(hidden)]
pub const fn outcome<O: OutcomeOf<T, E>, T, E>() {}

/// A `Result` under any alias of that name: `<io::Result<u64> as Fallible>::Err`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is called `Result` but is not a `std::result::Result`",
    note = "rename it, or return `Result<T, E>`"
)]
pub trait Fallible {
    /// The success type.
    type Ok;
    /// The error type.
    type Err;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// `Probe::<T>::IS_RESULT`: an inherent constant wins over a trait's, so it is exact for every concrete type, alias or not.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

/// The fallback of [`Probe`].
#[doc(hidden)]
pub trait NotResult {
    /// No.
    const IS_RESULT: bool = false;
}

impl<T> NotResult for Probe<T> {}

impl<T, E> Probe<Result<T, E>> {
    /// Yes.
    pub const IS_RESULT: bool = true;
}
