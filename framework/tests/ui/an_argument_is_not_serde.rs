use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

struct Payee;

#[entity]
impl Account {
    async fn pay(&mut self, amount: u64, to: Payee) {
        drop((amount, to));
    }
}

fn main() {}
