use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity(volatile)]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}
