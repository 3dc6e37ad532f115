use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self, turn: Turn<Self>) {
        drop(turn);
    }
}

fn main() {}
