use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

fn host<E: grange::Handlers>() {}

fn main() {
    host::<Account>();
}
