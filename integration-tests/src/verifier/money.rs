use std::collections::BTreeMap;

use crate::recording::{Operation, Recording};
use crate::verifier::{FinalState, Invariant, Verdict};

/// What clients know of an account: the least and the most that was taken out of it.
#[derive(Default)]
struct Known {
    least: u64,
    most: u64,
}

pub(crate) fn check(recording: &Recording, state: &FinalState, verdict: &mut Verdict) {
    let sum = |part: fn(&crate::application::Books) -> u64| state.ledgers.values().map(part).sum::<u64>();
    let (opening, balance) = (sum(|books| books.opening), sum(|books| books.balance));
    let (debited, underway) = (sum(|books| books.debited), sum(|books| books.underway));
    let arrived = sum(|books| books.credited + books.refunded);
    if balance > opening || balance + underway < opening || (underway == 0 && balance != opening) {
        verdict.add(
            Invariant::Conservation,
            format!("there is {balance} of money, {underway} under way; {opening} was paid in"),
        );
    }
    if arrived > debited || (underway == 0 && arrived != debited) {
        verdict.add(Invariant::Conservation, format!("{debited} was taken out, {arrived} has arrived or come back"));
    }
    if underway > 0 {
        verdict.add(Invariant::Drained, format!("{underway} of money is under way"));
    }
    for (name, books) in &state.ledgers {
        let made = books.opening + books.credited + books.refunded;
        if made.checked_sub(books.debited) != Some(books.balance) {
            verdict.add(Invariant::Conservation, format!("the books of {name} don't add up: {books:?}"));
        }
    }
    for (name, Known { least, most }) in known(recording) {
        let debited = state.ledgers.get(&name).map_or(0, |books| books.debited);
        if debited < least {
            verdict.figures.lost += 1;
            let what = format!("{name} paid {debited}, and transfers of {least} were acknowledged");
            verdict.add(Invariant::AcknowledgedLost, what);
        }
        if debited > most {
            verdict.figures.duplicated += 1;
            let what = format!("{name} paid {debited}, and transfers of at most {most} were asked for");
            verdict.add(Invariant::ExactlyOnce, what);
        }
    }
}

fn known(recording: &Recording) -> BTreeMap<String, Known> {
    let mut accounts: BTreeMap<String, Known> = BTreeMap::new();
    for (ask, outcome) in super::replies::outcomes(recording) {
        if let Operation::Transfer { from, amount, .. } = &ask.operation {
            let known = accounts.entry(from.clone()).or_default();
            known.least += if outcome.is_applied() { *amount } else { 0 };
            known.most += if outcome.is_refused() { 0 } else { *amount };
        }
    }
    accounts
}
