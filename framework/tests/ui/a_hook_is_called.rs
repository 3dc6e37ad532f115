use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn on_activate(&mut self) {}
    async fn again(&mut self, turn: &mut Turn<Self>) {
        turn.send(turn.me().on_activate());
    }
}

fn main() {}
