//! A bank in one process: makes the transfers of a CSV file between accounts, each exactly once, whatever happens to
//! the process meanwhile.
//!
//! * [`account`], [`transfer`], [`register`]: the entities. This is the bank.
//! * [`teller`]: the client that calls them.
//! * [`input`], [`options`], [`journal`], [`report`], [`failure`]: what any program has.

mod account;
mod failure;
mod input;
mod journal;
mod options;
mod register;
mod report;
mod teller;
mod transfer;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;
use grange::prelude::*;
use tokio::time::Instant;

use crate::account::{Account, Statement};
use crate::failure::Failure;
use crate::input::{Entry, Mistakes};
use crate::journal::Journal;
use crate::options::{Command, HELP, Options};
use crate::register::Register;
use crate::report::{Progress, Report, Tally};
use crate::teller::Teller;
use crate::transfer::{Status, Transfer};

#[grange::main]
async fn main() -> ExitCode {
    let level = tracing_subscriber::filter::LevelFilter::WARN;
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    match program().await {
        Ok(exit_code) => exit_code,
        Err(failure) => {
            eprintln!("bank: {failure}");
            failure.exit_code()
        }
    }
}

#[expect(clippy::print_stdout, reason = "the help and the report are what this program is for")]
async fn program() -> Result<ExitCode, Failure> {
    let options = match options::parse(std::env::args_os().skip(1))? {
        Command::Help => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Command::Run(options) => options,
    };
    let entries = input::read(&options.file).map_err(Failure::Input)?;

    let silo = Silo::builder().entity::<Account>().entity::<Transfer>().entity::<Register>();
    let silo = silo.embedded(&options.data).start().await?;
    let report = run(silo.client(), &options, &entries).await;
    silo.shutdown().await?;

    let report = report?;
    println!("{report}");
    Ok(if report.adds_up() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Everything that the bank's client does: all it needs is a client, from wherever.
async fn run(client: Client, options: &Options, entries: &[Entry]) -> Result<Report, Failure> {
    let mut journal = Journal::open(options.journal.as_deref())?;
    let mut teller = Teller::new(client, options.in_flight);
    let known = look_up(&teller, &options.file, entries).await?;
    teller.open_accounts(entries).await?;
    let before = teller.audit().await?;

    let (open, ended): (Vec<_>, Vec<_>) =
        entries.iter().zip(known).partition(|(_, status)| matches!(status, Status::New | Status::Underway));
    journal.record(&ended)?;
    let earlier = Tally::default().and(&ended);
    let start = Instant::now();
    let now = make(&teller, &open, earlier, &mut journal).await?;
    let took = start.elapsed();

    let after = teller.audit().await?;
    if let Some(path) = &options.balances {
        let lines: String = after.iter().map(|(name, statement)| format!("{name},{}\n", statement.balance)).collect();
        fs::write(path, format!("account,balance\n{lines}")).map_err(Failure::file(path))?;
    }
    Ok(Report {
        file: options.file.clone(),
        data: options.data.clone(),
        earlier,
        now,
        took,
        accounts: after.len(),
        money_paid_in: teller.paid_in(),
        money_before: money(&before),
        money_after: money(&after),
    })
}

/// How far earlier runs were; and whether an id of the file means something else in this bank: then nothing is made.
async fn look_up(teller: &Teller, file: &Path, entries: &[Entry]) -> Result<Vec<Status>, Failure> {
    let (mut statuses, mut conflicts) = (Vec::new(), Vec::new());
    for (entry, known) in entries.iter().zip(teller.look_up(entries).await?) {
        match known {
            Ok(status) => statuses.push(status),
            Err(conflict) => conflicts.push((entry.line, format!("`{}`: {conflict}", entry.id))),
        }
    }
    if conflicts.is_empty() { Ok(statuses) } else { Err(Failure::Input(Mistakes::new(file, conflicts))) }
}

/// Makes the transfers that have not ended, and counts how they do.
async fn make(
    teller: &Teller,
    open: &[(&Entry, Status)],
    earlier: Tally,
    journal: &mut Journal,
) -> Result<Tally, Failure> {
    let mut progress = Progress::new(earlier.sum() + open.len());
    let mut now = Tally::default();
    let mut made = pin!(teller.make(open.iter().map(|(entry, _)| *entry)));
    while let Some(ended) = made.next().await {
        let ended = ended.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Recorded first: what is counted and shown is in the journal.
        journal.record(&ended)?;
        now = now.and(&ended);
        progress.show(earlier.sum() + now.sum());
    }
    Ok(now)
}

fn money(statements: &BTreeMap<&str, Statement>) -> u64 {
    statements.values().map(|statement| statement.balance + statement.held).sum()
}
