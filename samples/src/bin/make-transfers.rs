//! Prints the transfers that the bank sample ships, always the same:
//! `cargo run -p samples --bin make-transfers > samples/data/transfers.csv`.

const ACCOUNTS: u64 = 1_000;
const TRANSFERS: u64 = 10_000;

/// Of these, one account in twenty is popular: it gets half of the money.
const POPULAR: u64 = ACCOUNTS / 20;

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn main() {
    let mut random = Random(20_261_124);
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

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
