use std::collections::BTreeSet;

use grange::prelude::*;

/// The names of all accounts that were ever opened: how the bank knows what its money must add up to.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Register {
    accounts: BTreeSet<String>,
}

#[entity]
impl Register {
    /// Adds what is new, and answers with all.
    pub async fn add(&mut self, accounts: Vec<String>) -> Vec<String> {
        self.accounts.extend(accounts);
        self.accounts.iter().cloned().collect()
    }
}
