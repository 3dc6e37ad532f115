//! Nothing of what is generated offends a strict crate.
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic)]
#![forbid(unsafe_code)]

/// The public face.
pub mod bank {
    use grange::prelude::{Deserialize, Outcome, Serialize, Turn, entity};

    /// An account.
    #[entity]
    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Account {
        balance: u64,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Private;

    #[entity]
    impl Account {
        /// Reads.
        pub async fn balance(&self) -> u64 {
            self.balance
        }
        /// Changes.
        #[deprecated = "use `credit`"]
        pub async fn deposit(&mut self, amount: u64, _note: Option<String>) -> Result<u64, String> {
            self.balance += amount;
            Ok(self.balance)
        }
        /// Changes.
        pub async fn credit(&mut self, amounts: Vec<u64>, turn: &mut Turn<Self>) {
            for amount in amounts {
                turn.send(turn.me().internal(Private).after(std::time::Duration::from_millis(amount)));
            }
        }
        async fn internal(&mut self, private: Private) -> Private {
            private
        }
        async fn never_called(&mut self, _outcome: Outcome<(), String>) {}
    }
}

fn main() {}
