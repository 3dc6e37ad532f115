//! The verifier of the bank, tried with recordings of a bank that did wrong.

mod bank_common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bank_common::verify::{Recording, verify};
use integration_tests::random::Random;

/// What a bank that works through the file from top to bottom leaves.
struct Bank {
    transfers: Vec<(String, String, String, u64)>,
    outcomes: Vec<&'static str>,
    balances: BTreeMap<String, u64>,
}

fn bank() -> Bank {
    let mut random = Random::new(7);
    let mut bank = Bank { transfers: Vec::new(), outcomes: Vec::new(), balances: BTreeMap::new() };
    for id in 0..300 {
        let from = random.below(20);
        let to = (from + 1 + random.below(19)) % 20;
        let amount = if id % 50 == 0 { 1_000_000 } else { 1 + random.below(300) };
        bank.transfers.push((format!("t{id}"), format!("a{from}"), format!("a{to}"), amount));
    }
    for (_, from, to, amount) in &bank.transfers {
        bank.balances.entry(to.clone()).or_insert(1_000);
        let payer = bank.balances.entry(from.clone()).or_insert(1_000);
        if *payer < *amount {
            bank.outcomes.push("insufficient");
            continue;
        }
        *payer -= amount;
        *bank.balances.get_mut(to).expect("opened above") += amount;
        bank.outcomes.push("done");
    }
    bank
}

impl Bank {
    fn recording(&self) -> Recording {
        let (mut file, mut journal) = (String::from("id,from,to,amount\n"), String::new());
        for ((id, from, to, amount), outcome) in self.transfers.iter().zip(&self.outcomes) {
            let _ = writeln!(file, "{id},{from},{to},{amount}");
            let _ = writeln!(journal, "{id},{outcome}");
        }
        let mut balances = String::from("account,balance\n");
        for (name, balance) in &self.balances {
            let _ = writeln!(balances, "{name},{balance}");
        }
        Recording { files: vec![file], journal, balances }
    }

    fn first(&self, outcome: &str) -> usize {
        self.outcomes.iter().position(|found| *found == outcome).expect("one of each")
    }

    fn apply(&mut self, transfer: usize, times: i64) {
        let (_, from, to, amount) = self.transfers[transfer].clone();
        let moved = times * i64::try_from(amount).expect("a small amount");
        for (name, change) in [(from, -moved), (to, moved)] {
            let balance = self.balances.get_mut(&name).expect("an account");
            *balance = balance.checked_add_signed(change).unwrap_or(0);
        }
    }
}

#[track_caller]
fn check(recording: &Recording, problem: &str) {
    let found = verify(recording).expect_err("it should be found");
    assert!(found.contains(problem), "it should say {problem:?}, and says:\n{found}");
}

#[test]
fn what_a_good_bank_leaves_is_accepted() {
    let bank = bank();
    let mut recording = bank.recording();
    let verified = verify(&recording).expect("a good recording");
    assert_eq!(verified.done + verified.refused, 300);
    assert!(verified.refused > 6 && verified.determined >= 6, "{verified:?}");
    // Later runs acknowledge again, and may come to it in another order.
    recording.journal = recording.journal.lines().rev().flat_map(|line| [line, "\n", line, "\n"]).collect();
    assert_eq!(verify(&recording), Ok(verified));
}

#[test]
fn a_transfer_that_was_acknowledged_and_lost_is_found() {
    let mut bank = bank();
    bank.apply(bank.first("done"), -1);
    check(&bank.recording(), "and its transfers make it");
}

#[test]
fn a_transfer_that_was_made_twice_is_found() {
    let mut bank = bank();
    bank.apply(bank.first("done"), 1);
    check(&bank.recording(), "and its transfers make it");
}

#[test]
fn a_half_of_a_transfer_is_found() {
    for half in [1, 2] {
        let mut bank = bank();
        let (_, from, to, amount) = bank.transfers[bank.first("done")].clone();
        let (name, change) = if half == 1 { (from, amount) } else { (to, amount) };
        *bank.balances.get_mut(&name).expect("an account") += change;
        check(&bank.recording(), "was paid in");
    }
}

#[test]
fn a_refused_transfer_with_an_effect_is_found() {
    let mut bank = bank();
    let refused = bank.outcomes.iter().rposition(|outcome| *outcome == "insufficient").expect("one");
    bank.apply(refused, 1);
    check(&bank.recording(), "and its transfers make it");
}

#[test]
fn an_altered_amount_is_found() {
    let mut bank = bank();
    let done = bank.first("done");
    bank.apply(done, -1);
    bank.transfers[done].3 += 1;
    bank.apply(done, 1);
    bank.transfers[done].3 -= 1;
    check(&bank.recording(), "and its transfers make it");
}

#[test]
fn a_transfer_to_another_account_is_found() {
    let mut bank = bank();
    let done = bank.first("done");
    bank.apply(done, -1);
    let to = std::mem::replace(&mut bank.transfers[done].2, "a19".into());
    bank.apply(done, 1);
    assert_ne!(to, "a19");
    bank.transfers[done].2 = to;
    check(&bank.recording(), "and its transfers make it");
}

#[test]
fn a_transfer_without_an_outcome_is_found() {
    let mut recording = bank().recording();
    recording.journal = recording.journal.lines().skip(1).flat_map(|line| [line, "\n"]).collect();
    check(&recording, "transfer t0 has no outcome");
}

#[test]
fn an_outcome_that_changed_is_found() {
    let bank = bank();
    let mut recording = bank.recording();
    let id = &bank.transfers[bank.first("done")].0;
    recording.journal = format!("{id},insufficient\n{}", recording.journal);
    check(&recording, &format!("transfer {id} was acknowledged as insufficient, then as done"));
}

#[test]
fn an_outcome_that_no_order_gives_is_found() {
    let mut bank = bank();
    let refused = bank.first("insufficient");
    assert_eq!(bank.transfers[refused].3, 1_000_000);
    bank.outcomes[refused] = "done";
    check(&bank.recording(), "is done, and is insufficient in every order");
}

#[test]
fn what_nobody_asked_for_is_found() {
    let bank = bank();
    let mut recording = bank.recording();
    recording.journal.push_str("t999,done\n");
    check(&recording, "transfer t999 was acknowledged and never asked for");
    let mut recording = bank.recording();
    recording.balances.push_str("a999,1000\n");
    check(&recording, "account a999 is in no transfer");
    let mut recording = bank.recording();
    recording.journal.push_str("t1,do");
    check(&recording, "the journal has \"t1,do\"");
}
