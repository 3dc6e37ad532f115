use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
    async fn withdraw(&mut self, amount: u64) -> Result<u64, String> {
        self.balance.checked_sub(amount).ok_or_else(|| "insufficient".to_owned())
    }
    async fn on_balance(&mut self, outcome: Outcome<u64>) {
        drop(outcome);
    }
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Sender;

#[entity]
impl Sender {
    async fn go(&mut self, turn: &mut Turn<Self>) {
        let account = turn.entity::<Account>("alice");
        turn.send(account.withdraw(1).idempotent(Uuid::now_v7()));
    }
}

fn main() {}
