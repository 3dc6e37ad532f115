use std::time::Duration;

use grange::Client;
use grange::prelude::*;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::application::{Ledger, OPENING, Once, Register, Source};
use crate::load::persist::{ended, persist};
use crate::load::{Keys, Population};
use crate::random::Random;
use crate::recording::{Ended, Journal, Operation};

/// How long one ask may take; a plain one is not made again.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// One of the tasks of a load: one operation after the other.
pub(crate) struct Worker {
    pub(crate) clients: Vec<Client>,
    pub(crate) journal: Journal,
    pub(crate) population: Population,
    pub(crate) random: Random,
    pub(crate) task: u64,
    /// How many values it wrote: no two writes of a run write the same.
    pub(crate) written: u64,
    pub(crate) keys: Keys,
}

impl Worker {
    pub(crate) async fn work(mut self, stopped: watch::Receiver<bool>, pause_us_max: u64) {
        while !*stopped.borrow() {
            let operation = self.next();
            self.perform(operation).await;
            sleep(Duration::from_micros(self.random.below(pause_us_max + 1))).await;
        }
    }

    fn next(&mut self) -> Operation {
        let (random, all) = (&mut self.random, &self.population);
        let mut pick = |names: &[String]| names[random.index(names.len())].clone();
        let (register, list) = (pick(&all.registers), pick(&all.lists));
        let (from, to) = (pick(&all.ledgers), pick(&all.ledgers));
        let (source, window) = (pick(&all.sources), pick(&all.windows));
        match random.below(10) {
            // An account may pay itself: a message to oneself.
            // Now and then more than there may be.
            0 => Operation::Transfer { from, to, amount: 1 + random.below(OPENING) },
            1..3 => Operation::Transfer { from, to, amount: 1 + random.below(90) },
            3..5 => Operation::Emit { source, window, count: 1 + random.below(4) },
            5 => {
                self.written += 1;
                Operation::Write { register, value: (self.task + 1) << 32 | self.written }
            }
            6..8 => Operation::Read { register },
            _ => Operation::Add { list, id: self.keys.fresh() },
        }
    }

    async fn perform(&mut self, operation: Operation) {
        let key = match operation {
            Operation::Read { .. } => None,
            // Some writes are plain asks: their outcome may stay unknown.
            Operation::Write { .. } if self.random.below(2) == 0 => None,
            _ => Some(self.keys.fresh()),
        };
        let number = self.journal.ask(operation.clone(), key);
        let (ended, retries) = self.ask(&operation, key).await;
        let known = matches!(ended, Ended::Answered(_) | Ended::Rejected);
        self.journal.end(number, ended, retries).await;
        // What was answered is asked again now and then: the answer must be the same.
        if let Some(key) = key.filter(|_| known && self.random.below(8) == 0) {
            self.journal.ask_again(number, operation.clone(), key);
            let (ended, retries) = self.ask(&operation, Some(key)).await;
            self.journal.end(number, ended, retries).await;
        }
    }

    async fn ask(&mut self, operation: &Operation, key: Option<Uuid>) -> (Ended, u32) {
        let mut next = self.random.index(self.clients.len());
        let clients = &self.clients;
        let mut client = || {
            next += 1;
            &clients[next % clients.len()]
        };
        match (operation, key) {
            (Operation::Transfer { from, to, amount }, Some(key)) => {
                let mut call = || client().entity::<Ledger>(from).transfer(to.clone(), *amount);
                persist(|| call().timeout(TIMEOUT).idempotent(key)).await
            }
            (Operation::Emit { source, window, count }, Some(key)) => {
                let mut call = || client().entity::<Source>(source).emit(window.clone(), *count);
                persist(|| call().timeout(TIMEOUT).idempotent(key)).await
            }
            (Operation::Write { register, value }, Some(key)) => {
                let mut call = || client().entity::<Register>(register).write(*value);
                persist(|| call().timeout(TIMEOUT).idempotent(key)).await
            }
            (Operation::Add { list, id }, Some(key)) => {
                let mut call = || client().entity::<Once>(list).add(*id);
                persist(|| call().timeout(TIMEOUT).idempotent(key)).await
            }
            (Operation::Write { register, value }, None) => {
                (ended(client().entity::<Register>(register).write(*value).timeout(TIMEOUT).await), 0)
            }
            (Operation::Read { register }, _) => {
                (ended(client().entity::<Register>(register).read().timeout(TIMEOUT).await), 0)
            }
            (other, None) => panic!("{other:?} without a key"),
        }
    }
}
