use grange::prelude::*;

/// An account: what it has, and what has left it and has not arrived yet.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Account {
    opened: bool,
    statement: Statement,
}

/// What an account says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What can be spent.
    pub balance: u64,
    /// What a transfer has taken from the balance and not yet brought to its payee.
    pub held: u64,
    /// How often either has changed: two equal statements are one, with nothing between them.
    pub entries: u64,
}

/// Why a transfer was refused: definite, it has no effect and never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The payer has less than the amount.
    #[error("insufficient funds")]
    Insufficient,
    /// The framework gave one of its messages up after many attempts; the payer has the money.
    #[error("given up")]
    GivenUp,
}

#[entity]
impl Account {
    /// Opens the account with this much, unless it is open: safe to repeat.
    pub async fn open(&mut self, amount: u64) {
        if !self.opened {
            self.opened = true;
            self.deposit(amount).await;
        }
    }

    /// A read: it changes nothing, and sees only what is committed when its answer arrives.
    pub async fn statement(&self) -> Statement {
        self.statement
    }

    /// Takes the amount from the balance and holds it, or refuses.
    pub async fn hold(&mut self, amount: u64) -> Result<(), Refusal> {
        let account = &mut self.statement;
        account.balance = account.balance.checked_sub(amount).ok_or(Refusal::Insufficient)?;
        account.held += amount;
        account.entries += 1;
        Ok(())
    }

    /// Lets go of what was held: it has arrived at the payee, or goes back to the balance.
    pub async fn release(&mut self, amount: u64, arrived: bool) {
        let account = &mut self.statement;
        account.held -= amount;
        if !arrived {
            account.balance += amount;
        }
        account.entries += 1;
    }

    /// Pays this much in.
    pub async fn deposit(&mut self, amount: u64) {
        self.statement.balance += amount;
        self.statement.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Handlers stay plain methods: no silo, no runtime but the test's own.
    #[grange::test]
    async fn what_is_held_goes_on_or_comes_back() {
        let mut account = Account::default();
        account.open(100).await;
        account.open(100).await;
        assert_eq!(account.hold(101).await, Err(Refusal::Insufficient));
        assert_eq!(account.hold(70).await, Ok(()));
        account.release(30, true).await;
        account.release(40, false).await;
        assert_eq!(account.statement().await, Statement { balance: 70, held: 0, entries: 4 });
    }
}
