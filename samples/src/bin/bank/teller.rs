use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use grange::prelude::*;
use samples::bank::{Account, AccountRef, Conflict, Register, Statement, Status, Transfer, TransferRef};
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::input::Entry;

/// What every account is opened with.
pub(crate) const OPENING_BALANCE: u64 = 1_000;

/// How long to wait for what is under way; nothing is lost if it takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The client's side: calls entities, many at a time, and knows nothing of how they are kept.
pub(crate) struct Teller {
    client: Client,
    in_flight: usize,
    accounts: Vec<String>,
}

impl Teller {
    pub(crate) fn new(client: Client, in_flight: usize) -> Self {
        Self { client, in_flight, accounts: Vec::new() }
    }

    /// How far these transfers are, in the order of the entries: earlier runs may have known some of them.
    pub(crate) async fn look_up(&self, entries: &[Entry]) -> Result<Vec<Result<Status, Conflict>>, Failure> {
        let answers = entries.iter().map(|entry| ask(|| self.transfer(entry).progress(entry.order.clone())));
        stream::iter(answers)
            .buffered(self.in_flight)
            .map(|answer| match answer {
                Ok(status) => Ok(Ok(status)),
                Err(CallError::Rejected(conflict)) => Ok(Err(conflict)),
                Err(error) => Err(error.into()),
            })
            .try_collect()
            .await
    }

    /// Opens the accounts that these entries name, and any that an earlier run was about to open.
    pub(crate) async fn open_accounts(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let named: BTreeSet<&String> =
            entries.iter().flat_map(|Entry { order, .. }| [&order.from, &order.to]).collect();
        // The names first: an account that has money and is not in the register would be missing from the sum.
        let register = self.client.entity::<Register>("accounts");
        let names: Vec<String> = named.into_iter().cloned().collect();
        self.accounts = ask(|| register.add(names.clone())).await?;
        self.ask_all(|account| account.open(OPENING_BALANCE)).await?;
        Ok(())
    }

    /// Makes these transfers. What has ended comes as it ends, in whatever order; together what ended together.
    pub(crate) fn make<'a>(
        &'a self,
        entries: impl Iterator<Item = &'a Entry> + 'a,
    ) -> impl Stream<Item = Vec<Result<(&'a Entry, Status), Failure>>> + 'a {
        let made = stream::iter(entries).map(|entry| self.make_one(entry)).buffer_unordered(self.in_flight);
        made.ready_chunks(self.in_flight)
    }

    async fn make_one<'a>(&self, entry: &'a Entry) -> Result<(&'a Entry, Status), Failure> {
        let transfer = self.transfer(entry);
        let mut status = ask(|| transfer.submit(entry.order.clone())).await?;
        // Accepted: from here on it ends by itself, and this program only wants to know how.
        let mut pauses = Pauses::new();
        while status == Status::Underway {
            if !pauses.pause().await {
                return Err(Failure::Slow(format!("transfer {} is under way", entry.id)));
            }
            status = ask(|| transfer.progress(entry.order.clone())).await?;
        }
        Ok((entry, status))
    }

    /// What the bank has paid in: there is no other money.
    pub(crate) fn paid_in(&self) -> u64 {
        OPENING_BALANCE * self.accounts.len() as u64
    }

    /// The statements of all accounts at one moment at which no money is under way.
    ///
    /// No lock stops the bank. Two rounds of reads that found the same have seen, between them, a moment at which all
    /// of it was true.
    pub(crate) async fn audit(&self) -> Result<BTreeMap<&str, Statement>, Failure> {
        let mut pauses = Pauses::new();
        let mut first = self.ask_all(|account| account.statement()).await?;
        loop {
            let second = self.ask_all(|account| account.statement()).await?;
            if first == second && second.iter().all(|statement| statement.held == 0) {
                return Ok(self.accounts.iter().map(String::as_str).zip(second).collect());
            }
            if !pauses.pause().await {
                let held: u64 = second.iter().map(|statement| statement.held).sum();
                return Err(Failure::Slow(format!("{held} of money is under way")));
            }
            first = second;
        }
    }

    fn transfer(&self, entry: &Entry) -> TransferRef {
        self.client.entity::<Transfer>(&entry.id)
    }

    /// Asks every account the same, in the order of the names.
    async fn ask_all<T: Send + 'static>(
        &self,
        call: impl Fn(AccountRef) -> grange::Call<Account, T>,
    ) -> Result<Vec<T>, Failure> {
        let call = &call;
        let calls = self.accounts.iter().map(|name| ask(move || call(self.client.entity::<Account>(name))));
        Ok(stream::iter(calls).buffered(self.in_flight).try_collect().await?)
    }
}

/// Asks until there is an answer, for as long as there is patience: silos may die and others take over meanwhile.
///
/// All tries have the same key, so that together they have one effect, and one outcome.
async fn ask<E: grange::Durable, T: Send + 'static, X: Send + 'static>(
    call: impl Fn() -> grange::Call<E, T, X>,
) -> Result<T, CallError<X>> {
    let key = Uuid::now_v7();
    let mut pauses = Pauses::new();
    loop {
        match call().idempotent(key).await {
            Err(error) if error.is_retryable() && pauses.pause().await => {}
            answer => return answer,
        }
    }
}

/// Growing pauses between two looks, and an end to them.
struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    fn new() -> Self {
        Self { next: PAUSE_MIN, until: Instant::now() + PATIENCE }
    }

    /// Whether there is still patience.
    async fn pause(&mut self) -> bool {
        sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
        Instant::now() < self.until
    }
}
