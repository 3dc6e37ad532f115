use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use slab::Slab;

use crate::entity::Tick;

/// Leaves room for the shard's index and for all the numbers that a process can give, below 2⁶².
const NUMBERS_SHIFT: u32 = 7;

/// Something that ends by itself when its time has come.
pub(crate) trait Expire: Send + Sync {
    /// The time has come.
    fn expire(&self);
}

/// How many shards there are: more than threads that call at a time, on most machines.
const SHARDS: usize = 16;

/// Every wait that has a deadline, in one place that a thread of its own looks at: so a call ends by its deadline also
/// when the arbiter that should have answered it is blocked, and costs no timer.
///
/// Sharded by thread, so that callers don't meet; entering and leaving are an uncontended lock each.
pub(crate) struct Deadlines {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Waits in one shard: past it, a call is refused before it is made.
    shard_waits_max: usize,
}

#[derive(Default)]
struct Shard {
    waits: Slab<(Tick, Arc<dyn Expire>)>,
    /// Not later than the earliest deadline in the shard: most sweeps end here.
    earliest: Tick,
    /// Numbers given so far.
    numbers: u64,
    /// Nobody sweeps any more: nothing may wait.
    closed: bool,
}

/// Why nothing may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// As many as may wait do.
    Full,
    /// The silo has stopped.
    Closed,
}

/// A place in [`Deadlines`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    shard: usize,
    place: usize,
    /// The number of what waits, unique in its realm; about the later the greater.
    pub(crate) number: u64,
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadlines({} waiting)", self.len())
    }
}

impl Deadlines {
    /// Numbers begin at a random place, so that no two processes of a cluster give the same.
    pub(crate) fn new(shard_waits_max: usize, random: u64) -> Self {
        let numbers = random >> NUMBERS_SHIFT;
        let shard = |_| Mutex::new(Shard { numbers, ..Shard::default() }).into();
        Self { shards: (0..SHARDS).map(shard).collect(), shard_waits_max }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        // A poisoned shard is a slab between two whole operations: still good.
        self.shards[index % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends `wait` at `deadline`, unless it leaves before.
    pub(crate) fn enter(&self, deadline: Tick, wait: Arc<dyn Expire>) -> Result<Ticket, NoEntry> {
        self.enter_below(self.shard_waits_max, deadline, wait)
    }

    /// The same for what has started already: it can't be refused any more.
    pub(crate) fn enter_started(&self, deadline: Tick, wait: Arc<dyn Expire>) -> Result<Ticket, NoEntry> {
        self.enter_below(usize::MAX, deadline, wait)
    }

    fn enter_below(&self, limit: usize, deadline: Tick, wait: Arc<dyn Expire>) -> Result<Ticket, NoEntry> {
        let index = shard_of_this_thread();
        let mut shard = self.shard(index);
        if shard.closed {
            return Err(NoEntry::Closed);
        }
        if shard.waits.len() >= limit {
            return Err(NoEntry::Full);
        }
        shard.earliest = if shard.waits.is_empty() { deadline } else { shard.earliest.min(deadline) };
        let place = shard.waits.insert((deadline, wait));
        Ok(Ticket { shard: index, place, number: shard.next_number(index) })
    }

    /// A number for something that does not wait here, from the same sequence.
    pub(crate) fn next_number(&self) -> u64 {
        let index = shard_of_this_thread();
        self.shard(index).next_number(index)
    }

    /// How many may wait in a shard.
    pub(crate) fn shard_waits_max(&self) -> usize {
        self.shard_waits_max
    }

    /// Takes a wait back. `wait` proves that the place still is its own: an expired one was given away.
    pub(crate) fn leave(&self, ticket: Ticket, wait: *const ()) {
        let left = {
            let mut shard = self.shard(ticket.shard);
            match shard.waits.get(ticket.place) {
                Some((_, held)) if Arc::as_ptr(held).cast::<()>() == wait => shard.waits.try_remove(ticket.place),
                _ => None,
            }
        };
        drop(left); // outside the lock: it may be the last handle of a reply
    }

    /// Nobody will sweep any more: everything that waits ends now, and nothing enters.
    pub(crate) fn close(&self) {
        for index in 0..SHARDS {
            self.shard(index).closed = true;
        }
        self.sweep(Tick::MAX);
    }

    /// Ends everything whose deadline has come.
    pub(crate) fn sweep(&self, now: Tick) {
        for index in 0..SHARDS {
            let mut expired = Vec::new();
            {
                let mut shard = self.shard(index);
                if shard.waits.is_empty() || shard.earliest > now {
                    continue;
                }
                let due: Vec<usize> =
                    shard.waits.iter().filter(|(_, (deadline, _))| *deadline <= now).map(|(place, _)| place).collect();
                expired.extend(due.into_iter().filter_map(|place| shard.waits.try_remove(place)));
                shard.earliest = shard.waits.iter().map(|(_, (deadline, _))| *deadline).min().unwrap_or(Tick::MAX);
            }
            // Outside the lock: a waker runs code of the caller's runtime.
            for (_, wait) in expired {
                wait.expire();
            }
        }
    }

    /// How many are waiting.
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|index| self.shard(index).waits.len()).sum()
    }
}

impl Shard {
    /// Shards take turns: no two give the same number.
    fn next_number(&mut self, index: usize) -> u64 {
        self.numbers += 1;
        self.numbers * SHARDS as u64 + index as u64
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
}
