use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}
