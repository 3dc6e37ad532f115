use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use uuid::Uuid;

use crate::client::Call;
use crate::entity::{Durable, Entity};
use crate::{CallError, Never};

/// A call that can only be awaited: it has a timeout or an idempotency key.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<E: Entity, T, X = Never>(pub(crate) Call<E, T, X>);

impl<E: Entity, T, X> fmt::Debug for Ask<E, T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: Entity, T, X> Ask<E, T, X> {
    /// Ask with this much time.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.timeout(timeout)
    }

    /// Ask under this key: see [`Call::idempotent`].
    pub fn idempotent(self, key: Uuid) -> Self
    where
        E: Durable,
    {
        self.0.idempotent(key)
    }
}

impl<E: Entity, T: Send + 'static, X: Send + 'static> Future for Ask<E, T, X> {
    type Output = Result<T, CallError<X>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}
