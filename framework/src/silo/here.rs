//! What is on this very thread: the hosts of its arbiter, and whether code of a host is at work above us on the stack.
//!
//! An ask of an entity on the same arbiter needs no mailbox: its turn can run where the caller is polled. That is sound
//! only while no host holds a borrow, so every entry into a host is marked ([`enter`]), and so is the way out of it into
//! a handler ([`leave`]). It holds no state of a silo, only weak ways to its hosts, found by the door's number.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

thread_local! {
    static HOSTS: RefCell<Vec<(u64, Weak<dyn Any>)>> = const { RefCell::new(Vec::new()) };
    /// Whether the code that runs is a host's own. What runs before any host does, and a handler, is not.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

/// Turns within turns on one stack: past it an ask goes by the mailbox.
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

/// Marks that a host's own code runs, or a handler's, until it is dropped.
pub(crate) struct Mark(bool);

impl Drop for Mark {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// From here on a host is at work.
pub(crate) fn enter() -> Mark {
    Mark(INSIDE.replace(true))
}

/// From here on a handler is at work: the host that polls it holds no borrow.
pub(crate) fn leave() -> Mark {
    Mark(INSIDE.replace(false))
}

/// A place on the stack for one more turn, until it is dropped.
pub(crate) struct Nested(());

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// `None`: a host is at work, or the stack is deep enough.
pub(crate) fn nest() -> Option<Nested> {
    if INSIDE.get() || DEPTH.get() >= DEPTH_MAX {
        return None;
    }
    DEPTH.set(DEPTH.get() + 1);
    Some(Nested(()))
}
