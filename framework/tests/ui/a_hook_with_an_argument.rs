use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn on_activate(&mut self, reason: String) {
        drop(reason);
    }
}

fn main() {}
