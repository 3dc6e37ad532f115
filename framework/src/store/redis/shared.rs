use std::sync::{Arc, Mutex, PoisonError};

use super::lives::Lives;
use super::sweeps::Sweeps;
use crate::store::Stats;

/// What the store knows without asking Redis.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lives: Arc<Lives>,
    pub(super) sweeps: Sweeps,
    stats: Mutex<Stats>,
}

impl Shared {
    pub(super) fn new(lives: Arc<Lives>) -> Self {
        Self { lives, sweeps: Sweeps::default(), stats: Mutex::default() }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
