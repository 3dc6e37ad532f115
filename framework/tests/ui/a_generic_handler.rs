use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay<T>(&mut self, amount: T) {
        drop(amount);
    }
}

fn main() {}
