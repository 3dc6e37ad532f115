use grange::prelude::*;

/// An account. Money moves by durable messages, and comes back if it can't arrive: none is made or lost.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    opened: bool,
    books: Books,
}

/// What an account has written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// What it was opened with.
    pub opening: u64,
    /// What can be spent.
    pub balance: u64,
    /// All that was ever taken out.
    pub debited: u64,
    /// All that ever came in.
    pub credited: u64,
    /// All that came back.
    pub refunded: u64,
    /// What was taken out and is not known to have arrived.
    pub underway: u64,
}

/// The account has less than the amount: nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("insufficient funds")]
pub struct Insufficient;

#[entity]
impl Ledger {
    /// Opens the account, once.
    pub async fn open(&mut self, amount: u64) {
        if !self.opened {
            self.opened = true;
            self.books.opening = amount;
            self.books.balance += amount;
        }
    }

    /// A read.
    pub async fn books(&self) -> Books {
        self.books
    }

    /// Takes the amount and sends it.
    pub async fn transfer(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> Result<(), Insufficient> {
        let books = &mut self.books;
        // Before it is known whether that is possible: what is refused must leave nothing.
        books.debited += amount;
        books.underway += amount;
        books.balance = books.balance.checked_sub(amount).ok_or(Insufficient)?;
        let payee = turn.entity::<Ledger>(to);
        turn.send(payee.deposit(amount).then(turn.me().on_deposited(amount)));
        Ok(())
    }

    /// What another account sent.
    pub async fn deposit(&mut self, amount: u64) {
        self.books.balance += amount;
        self.books.credited += amount;
    }

    async fn on_deposited(&mut self, amount: u64, outcome: Outcome<()>) {
        // What comes twice is to show in the books, and not to end the turn.
        self.books.underway = self.books.underway.wrapping_sub(amount);
        if outcome.is_err() {
            self.books.balance += amount;
            self.books.refunded += amount;
        }
    }
}
