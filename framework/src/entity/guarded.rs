use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::entity::panic_text;

/// Runs code of the user's that is no handler (`Default`, `Serialize`, `Deserialize`, `Drop`): a panic is its failure,
/// not ours.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_text(&*panic).to_owned())
}

/// A value of the user's whose `Drop` may panic wherever we let go of it: that fails nobody.
#[derive(Debug)]
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
    /// Takes it out for good; `None`: it is out.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
    pub(crate) fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // Every call passes here, with its arguments and its answer.
        if !std::mem::needs_drop::<T>() {
            return;
        }
        if let Some(value) = self.0.take()
            && let Err(panic) = guarded(|| drop(value))
        {
            tracing::error!(target: "grange", panic, r#type = std::any::type_name::<T>(), "a `Drop` panicked");
        }
    }
}

/// Of a state: it is there as long as its cell.
impl<T> Deref for Guarded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a state is in its cell")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("a state is in its cell")
    }
}
