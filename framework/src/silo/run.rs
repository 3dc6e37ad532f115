//! A handler at work: polled once where it is, by its own task when it has to wait.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use crate::CallError;
use crate::entity::{Entity, MethodInfo, Named, Ran, Run};
use crate::silo::activation::{Activation, FutureSlot, Suspended};
use crate::silo::here;
use crate::silo::host::Host;
use crate::silo::pump::{Place, Start};
use crate::silo::turn::Context;

impl<E: Entity> Host<E> {
    /// Polls the handler once where it is; only one that has to wait gets a task.
    pub(crate) fn run(self: &Rc<Self>, activation: &Rc<Activation<E>>, place: &mut Place<E>) {
        let Some(Start { call, context }) = place else { return };
        let Some((job, turn)) = call.take() else { return };
        let mut future = job.start(activation.state.clone(), turn);
        // The waker that does nothing loses nothing: a pending future is polled again by its task at once.
        let polled = {
            let _entered = context.span.enter();
            self.poll(&mut future, context.method, &mut TaskContext::from_waker(Waker::noop()))
        };
        match polled {
            Poll::Ready(ran) => {
                drop(future);
                self.finish(activation, context, ran);
            }
            Poll::Pending => {
                if let Some(Start { context, .. }) = place.take() {
                    self.suspend(activation, context, future);
                }
            }
        }
    }

    /// A handler's turn to run: whoever watches knows which it is, and it may ask entities on this thread.
    fn poll(
        &self,
        future: &mut Pin<Box<dyn Run>>,
        method: &'static MethodInfo,
        task: &mut TaskContext<'_>,
    ) -> Poll<Ran> {
        let _outside = here::leave();
        let before = self.pulse().before();
        self.pulse().enter(method, self.now());
        let polled = future.as_mut().poll(task);
        self.pulse().leave(before);
        polled
    }

    fn suspend(self: &Rc<Self>, activation: &Rc<Activation<E>>, context: Context, future: Pin<Box<dyn Run>>) {
        let (turn, caller) = (context.number, future.caller());
        let future: FutureSlot = Rc::new(RefCell::new(Some(future)));
        let (host, owner, slot, span, method) =
            (self.clone(), activation.clone(), future.clone(), context.span.clone(), context.method);
        let task = self.crew.spawn(async move {
            let ran: Option<Ran> = std::future::poll_fn(|task| {
                let mut slot = slot.borrow_mut();
                let Some(future) = slot.as_mut() else { return Poll::Ready(None) };
                let _entered = span.enter();
                host.poll(future, method, task).map(Some)
            })
            .await;
            let _inside = here::enter();
            let future = slot.borrow_mut().take();
            drop(future);
            if let Some(ran) = ran {
                host.resume(&owner, turn, ran);
            }
        });
        activation.control.borrow_mut().crowd().suspended.push(Suspended { context, caller, future, task });
        self.catalog.borrow_mut().suspended.insert(activation.place.get());
    }

    fn resume(self: &Rc<Self>, activation: &Rc<Activation<E>>, turn: u64, ran: Ran) {
        let suspended = {
            let mut control = activation.control.borrow_mut();
            control.take_suspended(|suspended| suspended.context.number == turn)
        };
        match suspended {
            Some(suspended) => {
                self.finish(activation, &suspended.context, ran);
                self.pump(activation);
            }
            // The activation fell while the handler was at work, and its caller has been told.
            None => ran.answer.fail(CallError::NotApplied { reason: format!("{} was dropped", activation.to.id()) }),
        }
    }
}
