use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account<T> {
    balance: T,
}

fn main() {}
