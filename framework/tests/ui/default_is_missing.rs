use grange::prelude::*;

#[entity]
#[derive(Serialize, Deserialize)]
struct Account {
    balance: u64,
}

fn main() {}
