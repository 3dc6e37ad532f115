use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use grange::prelude::*;
use samples::bank::{Statement, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::input::{Entry, Mistakes};
use crate::journal::Journal;
use crate::options::Job;
use crate::report::{Progress, Report, Tally};
use crate::teller::Teller;

/// How many transfers this run has made so far, for whoever wants to watch.
pub(crate) type Made = watch::Sender<usize>;

/// Everything that the bank's client does with a file: all it needs is a client, from wherever.
pub(crate) async fn run(
    client: Client,
    place: &str,
    job: &Job,
    entries: &[Entry],
    made: &Made,
) -> Result<Report, Failure> {
    let mut journal = Journal::open(job.journal.as_deref())?;
    let mut teller = Teller::new(client, job.in_flight);
    let known = look_up(&teller, &job.file, entries).await?;
    teller.open_accounts(entries).await?;
    let before = teller.audit().await?;

    let (open, ended): (Vec<_>, Vec<_>) =
        entries.iter().zip(known).partition(|(_, status)| matches!(status, Status::New | Status::Underway));
    journal.record(&ended)?;
    let earlier = Tally::default().and(&ended);
    let start = Instant::now();
    let now = make(&teller, &open, earlier, &mut journal, made).await?;
    let took = start.elapsed();

    let after = teller.audit().await?;
    if let Some(path) = &job.balances {
        let lines: String = after.iter().map(|(name, statement)| format!("{name},{}\n", statement.balance)).collect();
        fs::write(path, format!("account,balance\n{lines}")).map_err(Failure::file(path))?;
    }
    Ok(Report {
        file: job.file.clone(),
        place: place.to_owned(),
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
    made: &Made,
) -> Result<Tally, Failure> {
    let mut progress = Progress::new(earlier.sum() + open.len());
    let mut now = Tally::default();
    let mut ending = pin!(teller.make(open.iter().map(|(entry, _)| *entry)));
    while let Some(ended) = ending.next().await {
        let ended = ended.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Recorded first: what is counted and shown is in the journal.
        journal.record(&ended)?;
        now = now.and(&ended);
        made.send_replace(now.sum());
        progress.show(earlier.sum() + now.sum());
    }
    Ok(now)
}

fn money(statements: &BTreeMap<&str, Statement>) -> u64 {
    statements.values().map(|statement| statement.balance + statement.held).sum()
}
