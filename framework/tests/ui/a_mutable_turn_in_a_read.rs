use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn balance(&self, turn: &mut Turn<Self>) -> u64 {
        drop(turn);
        self.balance
    }
}

fn main() {}
