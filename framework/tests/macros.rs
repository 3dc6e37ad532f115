//! What `#[entity]` generates, as far as it shows without a silo: the types of references and calls.

#![allow(unreachable_pub)]

use std::future::Future;

use grange::Reference;
use grange::prelude::*;

mod bank {
    use grange::prelude::*;

    // The derives first, `#[entity]` behind them.
    #[derive(Default, Serialize, Deserialize)]
    #[entity(name = "acct", idle = "10m", placement = "balanced", mailbox = 1_000)]
    pub struct Account {
        balance: u64,
        log: Vec<String>,
    }

    #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
    pub enum AccountError {
        #[error("insufficient")]
        Insufficient,
        #[error("peer: {0}")]
        Peer(String),
    }

    /// A `Result` of one argument.
    pub mod alias {
        pub type Result<T> = std::result::Result<T, super::AccountError>;
    }

    impl Account {
        pub const LIMIT: usize = 4;

        /// A helper, which is nobody's handler.
        pub fn entries(&self) -> usize {
            self.log.len()
        }
    }
}

mod handlers {
    // In another module than the struct.
    use grange::prelude::*;

    use super::bank::{Account, AccountError, AccountRef, alias};

    #[entity]
    impl Account {
        pub const NOTE: &'static str = "left alone";

        pub async fn deposit(&mut self, amount: u64, _note: Option<String>) -> u64 {
            u64::from(self.entries() == 0) * amount
        }
        pub async fn withdraw(&mut self, amount: u64) -> alias::Result<u64> {
            if amount > 0 { Err(AccountError::Insufficient) } else { Ok(amount) }
        }
        // Names that the framework uses, too.
        pub async fn key(&self) -> String {
            "the user's key".into()
        }
        pub async fn id(&self) -> u64 {
            7
        }
        pub async fn clone(&self) -> u64 {
            1
        }
        pub async fn run(&self, state: u64, turn: String) -> (u64, String) {
            (state, turn)
        }
        pub async fn r#type(&self, r#match: u8) -> u8 {
            r#match
        }
        // `Self` in a signature.
        pub async fn copies(&self, _of: Vec<Self>) -> Result<[Self; Self::LIMIT], String> {
            Err("none".into())
        }
        // Patterns.
        pub async fn sum(&self, (left, right): (u8, u8), mut more: u8, _: u8) -> u8 {
            more += left;
            more + right
        }
        pub async fn total(&self, others: Vec<String>, turn: &Turn<Self>) -> Result<u64, AccountError> {
            let mut sum = 0;
            for other in &others {
                let asked = turn.entity::<Account>(other).deposit(1, None).await;
                sum += asked.map_err(|error| AccountError::Peer(error.to_string()))?;
            }
            Ok(sum)
        }
        pub async fn pay_all(&mut self, to: Vec<String>, turn: &mut Turn<Self>) -> Result<(), AccountError> {
            for name in &to {
                turn.send(turn.entity::<Account>(name).deposit(1, None).then(turn.me().paid(name.clone())));
                turn.send(turn.me().id().after(Duration::from_secs(1)).named("tick"));
            }
            let other = turn.entity::<Account>("held across send");
            turn.send(other.withdraw(1_000_000).then(turn.me().refused()));
            Ok(())
        }
        pub(super) async fn paid(&mut self, _who: String, _outcome: Outcome<u64>) {}
        async fn refused(&mut self, turn: &mut Turn<Self>, outcome: Outcome<u64, AccountError>) {
            let _ = (turn.key(), outcome);
        }
        #[handler(name = "old_name")]
        pub async fn new_name(&self) {}
        #[cfg(test)]
        pub async fn conditional(&self) -> u8 {
            1
        }
        #[cfg(not(test))]
        pub async fn conditional(&self) -> DoesNotExist {
            DoesNotExist
        }
        /// A future that is not `Send`, and borrows.
        pub async fn locally(&mut self) -> usize {
            let rc = std::rc::Rc::new(1);
            std::future::ready(()).await;
            *rc + self.entries()
        }
        async fn on_activate(&mut self, turn: &mut Turn<Self>) -> Result<(), String> {
            let _ = turn.key();
            Ok(())
        }
        async fn on_deactivate(&mut self) {}
        pub async fn make() -> Self {
            Self::default()
        }
    }

    pub(super) fn continuation(account: &AccountRef) -> grange::Continuation<Account, u64, AccountError> {
        account.refused()
    }
}

use bank::*;

/// Neither `Send` nor `Serialize`.
#[entity(volatile, key = u64)]
#[derive(Default)]
struct Room {
    seen: std::rc::Rc<std::cell::Cell<u64>>,
}

#[entity]
impl Room {
    async fn touch(&mut self) -> u64 {
        self.seen.set(self.seen.get() + 1);
        self.seen.get()
    }
}

#[entity(volatile, key = (String, u64))]
#[derive(Default)]
struct Seat;

#[entity]
impl Seat {
    async fn who(&self, turn: &Turn<Self>) -> (String, u64) {
        turn.key().clone()
    }
    async fn stringly(&self) -> Result<(), String> {
        Err("no".into())
    }
}

/// Everything that a runtime may ask of a future.
fn anywhere<F: Future + Send + Sync + Unpin + 'static>(call: F) -> F {
    call
}

fn shared<T: Send + Sync + Clone + 'static>(value: T) -> T {
    value
}

/// Compiled, and not run: it needs a silo.
#[allow(dead_code)]
async fn uses(client: Client) -> grange::Result<()> {
    let alice: AccountRef = shared(shared(client.clone()).entity::<Account>("alice"));
    let name = String::from("alice");
    let _: AccountRef = client.entity::<Account>(&name);
    let room = client.entity::<Room>(7);
    let number = 7_u64;
    let _ = client.entity::<Room>(&number);
    let seat = client.entity::<Seat>(("row", 7));

    let _: (String, u64) = anywhere(seat.who()).await?;
    seat.stringly().await?;
    let _: u64 = anywhere(alice.deposit(1, None)).await?;
    let _: u64 = anywhere(alice.deposit(1, Some("hi".into())).timeout(Duration::from_secs(1))).await?;
    let _: u64 = alice.deposit(1, None).idempotent(Uuid::now_v7()).await?;
    alice.deposit(1, None).notify();
    let _: u64 = room.touch().await?;
    match alice.withdraw(1).await {
        Err(CallError::Rejected(AccountError::Insufficient)) => {}
        other => drop(other),
    }

    // The handlers win; what the framework has is behind the trait.
    let _: String = alice.key().await?;
    let _: &str = Reference::key(&alice);
    let _: String = Reference::id(&alice);
    let _: u64 = Clone::clone(&alice).clone().await?;
    let _: &(String, u64) = seat.key();

    tokio::spawn(alice.id()).await.ok();
    futures_util::future::join_all((0..3).map(|_| alice.id())).await;
    tokio::time::timeout(Duration::from_secs(1), alice.sum((1, 2), 3, 4)).await.ok();
    alice.run(1, "x".into()).await?;
    alice.r#type(1).await?;
    alice.new_name().await?;
    alice.conditional().await?;
    alice.locally().await?;
    drop(alice.copies(Vec::new()).await);
    drop(alice.paid("bob".into()));
    drop(handlers::continuation(&alice));
    anyhow_too(&alice).await.ok();
    Ok(())
}

async fn anyhow_too(alice: &AccountRef) -> anyhow::Result<u64> {
    Ok(alice.withdraw(1).await?)
}

#[test]
fn a_kind_is_what_its_attribute_says() {
    use grange::Entity;
    assert_eq!((Account::KIND, Room::KIND, Seat::KIND), ("acct", "Room", "Seat"));
    assert_eq!((Account::SETTINGS.idle_ms, Account::SETTINGS.mailbox), (Some(600_000), Some(1_000)));
    assert_eq!(Account::SETTINGS.placement, grange::rt::Placement::Balanced);
    assert_eq!((Room::SETTINGS.idle_ms, Room::SETTINGS.mailbox), (None, None));
    assert!(Account::STATE.is_some() && Room::STATE.is_none());
}

#[grange::test]
async fn a_handler_stays_a_plain_method() {
    let mut account = Account::default();
    assert_eq!(account.deposit(3, None).await, 3);
    assert_eq!(account.sum((1, 2), 3, 4).await, 6);
    assert!(matches!(account.withdraw(3).await, Err(AccountError::Insufficient)));
    assert_eq!(Account::make().await.entries(), 0);
    assert_eq!(Account::NOTE, "left alone");
}

#[grange::test]
async fn a_test_may_return_a_result() -> Result<(), std::num::ParseIntError> {
    let number: u8 = "7".parse()?;
    assert_eq!(number, 7);
    Ok(())
}

#[grange::test]
#[should_panic(expected = "as it should")]
async fn a_test_may_panic() {
    tokio::task::yield_now().await;
    panic!("as it should");
}

#[test]
fn an_entity_may_be_local_to_a_function() {
    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    struct Local {
        count: u64,
    }

    #[entity]
    impl Local {
        async fn count(&mut self) -> u64 {
            self.count += 1;
            self.count
        }
    }

    assert_eq!(<Local as grange::Entity>::KIND, "Local");
    let _ = |client: Client| drop(client.entity::<Local>("x").count());
}
