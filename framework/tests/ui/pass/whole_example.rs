use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum AccountError {
    #[error("insufficient funds: {balance} < {wanted}")]
    Insufficient { balance: u64, wanted: u64 },
}

#[entity]
impl Account {
    /// A read.
    async fn balance(&self) -> u64 {
        self.balance
    }

    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }

    async fn transfer(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> Result<(), AccountError> {
        if self.balance < amount {
            return Err(AccountError::Insufficient { balance: self.balance, wanted: amount });
        }
        self.balance -= amount;
        let payee = turn.entity::<Account>(to);
        turn.send(payee.deposit(amount).then(turn.me().on_deposited(amount)));
        Ok(())
    }

    async fn on_deposited(&mut self, amount: u64, outcome: Outcome<u64>) {
        if outcome.is_err() {
            self.balance += amount;
        }
    }
}

async fn program(client: Client) -> grange::Result<()> {
    let alice = client.entity::<Account>("alice");
    alice.deposit(100).await?;
    alice.transfer("bob".into(), 30).timeout(Duration::from_secs(2)).await?;
    alice.balance().await?;
    Ok(())
}

#[grange::main]
async fn main() -> grange::Result<()> {
    let _ = program;
    Ok(())
}
