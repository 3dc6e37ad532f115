use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

mod game {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Outcome<T>(pub T);
}

#[entity]
impl Account {
    async fn paid(&mut self, outcome: game::Outcome<u64>) {
        drop(outcome);
    }
}

fn main() {}
