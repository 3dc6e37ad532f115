//! Prints the transfers that the bank sample ships, always the same:
//! `cargo run -p samples --bin make-transfers > samples/data/transfers.csv`.

use samples::random::Random;

const ACCOUNTS: u64 = 1_000;
const TRANSFERS: u64 = 10_000;

/// Of these, one account in twenty is popular: it gets half of the money.
const POPULAR: u64 = ACCOUNTS / 20;

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn main() {
    let mut random = Random::new(20_261_124);
    println!("id,from,to,amount");
    for id in 1..=TRANSFERS {
        let from = random.below(ACCOUNTS);
        let to = loop {
            let to = if random.below(2) == 0 { random.below(POPULAR) } else { random.below(ACCOUNTS) };
            if to != from {
                break to;
            }
        };
        // Accounts are opened with 1,000 and pay ten times: some will not have enough. One in a hundred asks for
        // more than there can be.
        let amount = if id % 100 == 0 { 1_000_000 + random.below(1_000) } else { 1 + random.below(200) };
        println!("T{id:05},A{from:04},A{to:04},{amount}");
    }
}
