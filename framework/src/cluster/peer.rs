use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use crate::clock::Tick;
use crate::cluster::trip::Trip;
use crate::wire::{ConnectError, Link};

/// Another process, by its address: the connection to it, and the calls that wait for its answers.
pub(crate) struct Peer {
    pub(crate) address: String,
    state: Mutex<State>,
    /// Why it could not be reached the last time; and whether trying again is of no use.
    trouble: Mutex<Option<(String, bool)>>,
}

pub(crate) enum State {
    /// No connection; not tried again before then.
    Down {
        failures: u32,
        retry_at: Tick,
    },
    /// What waits for it goes when it is there.
    Connecting {
        failures: u32,
        waiting: Vec<Trip>,
        posts: Vec<Posted>,
    },
    Up(Up),
}

/// A frame that nobody answers.
pub(crate) struct Posted {
    pub(crate) kind: u8,
    pub(crate) hops: u8,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Up {
    pub(crate) link: Link,
    /// By correlations that this process gave. What is gone through has an order that a seed repeats.
    pub(crate) pending: HashMap<u64, Trip, FixedState>,
    pub(crate) next: u64,
    /// How often the connection had been polled, since when that is so, and how often it was looked at since.
    pub(crate) polls: u64,
    pub(crate) still_since: Tick,
    pub(crate) still_looks: u32,
    /// The last of these looks.
    pub(crate) looked: Tick,
}

impl Up {
    pub(crate) fn new(link: Link, now: Tick) -> Self {
        Self { link, pending: HashMap::default(), next: 1, polls: 0, still_since: now, still_looks: 0, looked: now }
    }
}

impl Peer {
    pub(crate) fn new(address: String) -> Self {
        Self { address, state: Mutex::new(State::Down { failures: 0, retry_at: 0 }), trouble: Mutex::default() }
    }

    /// It could not be reached.
    pub(crate) fn note(&self, error: &ConnectError) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.to_string(), error.is_final()));
    }

    /// Whether it was reached and wants nothing of us.
    pub(crate) fn refused(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|(_, is_final)| *is_final)
    }

    /// Why it can't be reached, for people.
    pub(crate) fn trouble(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map_or_else(|| format!("{} did not answer yet", self.address), |(trouble, _)| trouble.clone())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> Option<Link> {
        match &*self.state() {
            State::Up(up) => Some(up.link.clone()),
            _ => None,
        }
    }
}
