//! A turn for the unit test of a handler: nothing runs but the handler.

use grange::prelude::*;
use grange::testing::{Data, Effect, turn, turn_with};

struct Fee(u64);

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[entity]
impl Account {
    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }
    async fn transfer(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> Result<(), String> {
        let fee = turn.data::<Fee>().0;
        self.balance = self.balance.checked_sub(amount + fee).ok_or("insufficient funds")?;
        turn.send(turn.entity::<Account>(to).deposit(amount).then(turn.me().on_deposited(amount)));
        turn.send(turn.me().deposit(0).after(Duration::from_secs(60)).named("interest"));
        turn.cancel("warning");
        Ok(())
    }
    async fn on_deposited(&mut self, amount: u64, outcome: Outcome<u64>) {
        if outcome.is_err() {
            self.balance += amount;
        }
    }
    async fn ask(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, CallError> {
        turn.entity::<Account>(whom).deposit(1).await
    }
}

#[tokio::test]
async fn a_test_sees_what_a_turn_staged() {
    let mut turn = turn_with::<Account>("alice", Data::default().with(Fee(1)));
    let mut account = Account { balance: 100 };
    account.transfer("bob".into(), 30, &mut turn).await.unwrap();
    assert_eq!(account.balance, 69);
    let [Effect::Sent(deposit), Effect::Sent(interest), Effect::Cancelled(warning)] = &turn.staged()[..] else {
        panic!("{:?}", turn.staged())
    };
    assert_eq!((&*deposit.to, &*deposit.method, deposit.arguments()), ("Account/bob", "deposit", Some((30_u64,))));
    assert_eq!(deposit.then, Some(("Account/alice".into(), "on_deposited".into())));
    assert_eq!((interest.after, interest.name.as_deref()), (Some(Duration::from_secs(60)), Some("interest")));
    assert_eq!(warning, "warning");
}

#[tokio::test]
async fn nobody_answers_an_ask_in_a_unit_test() {
    let asked = Account::default().ask("bob".into(), &mut turn::<Account>("alice")).await;
    assert!(matches!(asked, Err(CallError::Unavailable { .. })), "{asked:?}");
}

#[tokio::test]
#[should_panic(expected = "turn_with")]
async fn data_that_was_not_given_says_how_to_give_it() {
    let _ = Account::default().transfer("bob".into(), 1, &mut turn::<Account>("alice")).await;
}
