//! A client that keeps many operations under way and records each of them.

mod persist;
mod population;
mod settle;
mod worker;

use std::fmt;
use std::sync::Arc;

use grange::Client;
use grange::prelude::Uuid;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use persist::PATIENCE;
pub use population::Population;
pub use settle::{open_accounts, read_state, settle};
pub(crate) use worker::TIMEOUT;
use worker::Worker;

use crate::random::Random;
use crate::recording::Journal;
use crate::wait::{LIMIT, within};

/// Where idempotency keys come from.
#[derive(Clone)]
pub struct Keys(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl Keys {
    /// From here.
    pub fn new(keys: impl Fn() -> Uuid + Send + Sync + 'static) -> Self {
        Self(Arc::new(keys))
    }

    /// A fresh one.
    pub fn fresh(&self) -> Uuid {
        (self.0)()
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new(Uuid::now_v7)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// How much work there is.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Operations under way at a time.
    pub tasks: usize,
    /// The longest pause of a task between two operations, in microseconds.
    pub pause_us_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { tasks: 16, pause_us_max: 40_000 }
    }
}

/// Work that goes on until it is stopped.
pub struct Load {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Load({} tasks)", self.tasks.len())
    }
}

impl Load {
    /// Begins. Each task asks through one client after the other.
    pub fn start(
        clients: &[Client],
        journal: &Journal,
        population: &Population,
        random: &mut Random,
        pace: &Pace,
        keys: &Keys,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for task in 0..pace.tasks {
            let worker = Worker {
                clients: clients.to_vec(),
                journal: journal.clone(),
                population: population.clone(),
                random: random.fork(),
                task: task as u64,
                written: 0,
                keys: keys.clone(),
            };
            tasks.spawn(worker.work(stopped.clone(), pace.pause_us_max));
        }
        Self { tasks, stop }
    }

    /// Begins nothing new, and waits for what is under way.
    ///
    /// # Panics
    /// When that does not end, or a task has failed.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let ends = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("a task of the load");
            }
        };
        within("the end of the operations under way", persist::PATIENCE + LIMIT, ends).await;
    }
}
