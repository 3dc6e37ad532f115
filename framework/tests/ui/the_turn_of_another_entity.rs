use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Other;

#[entity]
impl Account {
    async fn pay(&mut self, turn: &mut Turn<Other>) {
        drop(turn.key());
    }
}

fn main() {}
