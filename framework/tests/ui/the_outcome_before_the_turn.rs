use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn paid(&mut self, outcome: Outcome<u64>, turn: &mut Turn<Self>) {
        drop((outcome, turn.key()));
    }
}

fn main() {}
