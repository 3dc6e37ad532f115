//! Whether a bank did what it acknowledged: from what went in and what came out, in whatever order it worked.

use std::collections::{BTreeMap, HashMap};

const OPENING_BALANCE: u64 = 1_000;
const PROBLEMS_MAX: usize = 20;

/// What was seen from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording {
    /// The files of transfers, each with its header.
    pub(crate) files: Vec<String>,
    /// `id,outcome`, a line for each acknowledgement, repeated by later runs.
    pub(crate) journal: String,
    /// `account,balance`, with a header.
    pub(crate) balances: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) done: usize,
    pub(crate) refused: usize,
    /// Transfers whose outcome did not depend on the order, and was checked.
    pub(crate) determined: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// Every possible amount that anybody asked to move, done or not.
    asked_in: u64,
    asked_out: u64,
    done_in: u64,
    done_out: u64,
}

struct Transfer<'a> {
    from: &'a str,
    to: &'a str,
    amount: u64,
}

/// Checks all of it, or says what is wrong.
pub(crate) fn verify(recording: &Recording) -> Result<Verified, String> {
    let mut problems = Vec::new();
    let transfers = transfers(&recording.files)?;
    let outcomes = outcomes(&recording.journal, &mut problems);

    let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
    for transfer in transfers.values() {
        accounts.entry(transfer.from).or_default();
        accounts.entry(transfer.to).or_default();
    }
    let paid_in = OPENING_BALANCE * accounts.len() as u64;
    for (id, transfer) in &transfers {
        // What is more than all the money there is can't be paid, and can't arrive.
        if transfer.amount <= paid_in {
            accounts.entry(transfer.from).or_default().asked_out += transfer.amount;
            accounts.entry(transfer.to).or_default().asked_in += transfer.amount;
        }
        match outcomes.get(id) {
            Some(&"done") => {
                accounts.entry(transfer.from).or_default().done_out += transfer.amount;
                accounts.entry(transfer.to).or_default().done_in += transfer.amount;
            }
            Some(&"insufficient") => {}
            Some(other) => problems.push(format!("transfer {id} ended as {other}")),
            None => problems.push(format!("transfer {id} has no outcome")),
        }
    }
    for id in outcomes.keys().filter(|id| !transfers.contains_key(*id)) {
        problems.push(format!("transfer {id} was acknowledged and never asked for"));
    }

    let mut determined = 0;
    for (id, transfer) in &transfers {
        let payer = &accounts[transfer.from];
        // In no order does the payer have more than its opening balance and everything that was meant for it, and in
        // every order it can pay all if the opening balance is enough for all.
        let expected = if transfer.amount > OPENING_BALANCE + payer.asked_in {
            "insufficient"
        } else if payer.asked_out <= OPENING_BALANCE {
            "done"
        } else {
            continue;
        };
        determined += 1;
        if outcomes.get(id).is_some_and(|outcome| *outcome != expected) {
            problems.push(format!("transfer {id} is {}, and is {expected} in every order", outcomes[id]));
        }
    }

    let balances = balances(&recording.balances)?;
    for (name, account) in &accounts {
        let expected = (OPENING_BALANCE + account.done_in).checked_sub(account.done_out);
        let found = balances.get(name).copied();
        if found.is_none() || found != expected {
            problems.push(format!("account {name} has {found:?}, and its transfers make it {expected:?}"));
        }
    }
    for name in balances.keys().filter(|name| !accounts.contains_key(*name)) {
        problems.push(format!("account {name} is in no transfer"));
    }
    let money: u64 = balances.values().sum();
    if money != paid_in {
        problems.push(format!("there is {money} of money, and {paid_in} was paid in"));
    }

    if problems.is_empty() {
        let done = outcomes.values().filter(|outcome| **outcome == "done").count();
        return Ok(Verified { done, refused: outcomes.len() - done, determined });
    }
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    Err(format!("{}\n… and {more} more", problems.join("\n")))
}

fn transfers(files: &[String]) -> Result<HashMap<&str, Transfer<'_>>, String> {
    let mut transfers = HashMap::new();
    for line in files.iter().flat_map(|file| file.lines().skip(1)) {
        let [id, from, to, amount] = line.split(',').collect::<Vec<_>>()[..] else {
            return Err(format!("a transfer is {line:?}"));
        };
        let amount = amount.parse().map_err(|error| format!("a transfer is {line:?}: {error}"))?;
        if transfers.insert(id, Transfer { from, to, amount }).is_some() {
            return Err(format!("transfer {id} is there twice"));
        }
    }
    Ok(transfers)
}

/// The one outcome of each transfer: an acknowledgement holds for ever, so a later one must say the same.
fn outcomes<'a>(journal: &'a str, problems: &mut Vec<String>) -> HashMap<&'a str, &'a str> {
    let mut outcomes = HashMap::new();
    for line in journal.split_inclusive('\n') {
        let Some((id, outcome)) = line.strip_suffix('\n').and_then(|line| line.split_once(',')) else {
            problems.push(format!("the journal has {line:?}"));
            continue;
        };
        if let Some(before) = outcomes.insert(id, outcome).filter(|before| *before != outcome) {
            problems.push(format!("transfer {id} was acknowledged as {before}, then as {outcome}"));
        }
    }
    outcomes
}

fn balances(text: &str) -> Result<BTreeMap<&str, u64>, String> {
    let mut balances = BTreeMap::new();
    for line in text.lines().skip(1) {
        let (name, balance) = line.split_once(',').ok_or_else(|| format!("a balance is {line:?}"))?;
        let balance = balance.parse().map_err(|error| format!("a balance is {line:?}: {error}"))?;
        if balances.insert(name, balance).is_some() {
            return Err(format!("account {name} is there twice"));
        }
    }
    Ok(balances)
}
