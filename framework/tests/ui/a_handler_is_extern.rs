use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async extern "C" fn pay(&mut self) {}
}

fn main() {}
