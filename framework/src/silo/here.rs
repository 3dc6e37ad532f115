//! What is on this very thread: the hosts of its arbiter, and whether code of a host is at work above us on the stack.
//!
//! An ask of an entity on the same arbiter needs no inbox: its turn can run where the caller is polled. That is sound
//! only while no host holds a borrow, so every entry into a host is marked ([`enter`]), and so is the way out of it into
//! a handler ([`leave`]). It holds no state of a silo, only weak ways to its hosts, found by the door's number.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::cluster::{begin_gathering, wake_gathered};

thread_local! {
    static HOSTS: RefCell<Vec<(u64, Weak<dyn Any>)>> = const { RefCell::new(Vec::new()) };
    static CODE: Cell<Code> = const { Cell::new(Code::Other) };
    /// Turns run on the stack of a task that may be outside of the arbiter's `LocalSet`, where nothing local can be spawned.
    static OUTSIDE: Cell<bool> = const { Cell::new(false) };
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

/// Turns within turns on one stack: past it an ask waits in its host.
const DEPTH_MAX: u8 = 8;

/// Makes a host known on its thread.
pub(crate) fn register(door: u64, host: Weak<dyn Any>) {
    HOSTS.with_borrow_mut(|hosts| {
        hosts.retain(|(_, host)| host.strong_count() > 0);
        hosts.push((door, host));
    });
}

/// This thread's host behind that door.
pub(crate) fn find<H: 'static>(door: u64) -> Option<Rc<H>> {
    HOSTS.with_borrow(|hosts| {
        let (_, host) = hosts.iter().find(|(number, _)| *number == door)?;
        host.upgrade()?.downcast().ok()
    })
}

/// Whose code runs on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    /// None of ours, as far as is known: a connection's, or a task that a handler gave to `tokio::spawn`.
    Other,
    Host,
    Handler,
}

/// Marks that a host's own code runs, or a handler's, until it is dropped.
pub(crate) struct Mark(Code);

impl Drop for Mark {
    fn drop(&mut self) {
        CODE.set(self.0);
        if self.0 == Code::Other {
            wake_gathered();
        }
    }
}

/// From here on a host is at work. Whom it answers is woken when it has done, unless a handler called it.
pub(crate) fn enter() -> Mark {
    let before = CODE.replace(Code::Host);
    if before == Code::Other {
        begin_gathering();
    }
    Mark(before)
}

/// From here on a handler is at work: the host that polls it holds no borrow.
pub(crate) fn leave() -> Mark {
    Mark(CODE.replace(Code::Handler))
}

/// A place on the stack for one more turn, until it is dropped.
pub(crate) struct Nested {
    outside: bool,
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        OUTSIDE.set(self.outside);
    }
}

/// `None`: a host is at work, or the stack is deep enough. What is `local` is known to be a task of the arbiter's `LocalSet`.
pub(crate) fn nest(local: bool) -> Option<Nested> {
    if CODE.get() == Code::Host || DEPTH.get() >= DEPTH_MAX {
        return None;
    }
    DEPTH.set(DEPTH.get() + 1);
    Some(Nested { outside: OUTSIDE.replace(OUTSIDE.get() || (CODE.get() == Code::Other && !local)) })
}

/// Whether `spawn_local` might find no `LocalSet`.
pub(crate) fn is_outside() -> bool {
    OUTSIDE.get()
}
