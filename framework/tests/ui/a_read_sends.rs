use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn balance(&self, turn: &Turn<Self>) -> u64 {
        turn.send(turn.me().balance());
        self.balance
    }
}

fn main() {}
