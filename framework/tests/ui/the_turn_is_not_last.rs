use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn pay(&mut self, turn: &mut Turn<Self>, amount: u64) {
        drop((turn.key(), amount));
    }
}

fn main() {}
