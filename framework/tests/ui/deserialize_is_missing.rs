use grange::prelude::*;

#[entity]
#[derive(Default, Serialize)]
struct Account {
    balance: u64,
}

fn main() {}
