use grange::prelude::*;

#[entity]
#[derive(Default, Deserialize)]
struct Account {
    balance: u64,
}

fn main() {}
