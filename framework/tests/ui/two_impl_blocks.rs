use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
}

#[entity]
impl Account {
    async fn deposit(&mut self, amount: u64) {
        self.balance += amount;
    }
}

fn main() {}
