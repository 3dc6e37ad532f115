use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn paid(&mut self, outcome: Outcome<u64>, amount: u64) {
        drop((outcome, amount));
    }
}

fn main() {}
