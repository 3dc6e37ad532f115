use grange::prelude::*;

#[entity(idle = 10)]
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

fn main() {}
