use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::entity::Expire;

/// Wakes a caller between two tries.
#[derive(Default)]
pub(crate) struct Alarm(Mutex<(bool, Option<Waker>)>);

impl Alarm {
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Expire for Alarm {
    fn expire(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
