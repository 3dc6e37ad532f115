use grange::prelude::*;

#[entity(nam = "a", idle = "soon", mailbox = -1, colour)]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}
