use grange::prelude::*;

use crate::bank::{Account, Refusal};

/// One transfer, by its id: the memory that makes it happen once, however often it is submitted.
///
/// It spans two accounts, and no transaction does. So it goes step by step, each step a durable message whose outcome
/// comes back to a continuation: the payer holds the amount, the payee gets it, the payer lets go of it. A crash between
/// any two steps changes nothing but the time it takes.
#[entity(idle = "10s")]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Transfer {
    order: Option<Order>,
    status: Status,
}

/// Who pays whom, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who pays.
    pub from: String,
    /// Who is paid.
    pub to: String,
    /// How much.
    pub amount: u64,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Nobody has submitted it.
    #[default]
    New,
    /// Accepted: it will end, even if nobody asks again.
    Underway,
    /// The payee has the money.
    Done,
    /// It had no effect, and never will.
    Refused(Refusal),
}

/// The id stands for another transfer already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("this id was used before, for {} from `{}` to `{}`", .0.amount, .0.from, .0.to)]
pub struct Conflict(pub Order);

#[entity]
impl Transfer {
    /// Accepts the transfer. Safe to repeat at any time, also years later: what is known is answered, not done again.
    pub async fn submit(&mut self, order: Order, turn: &mut Turn<Self>) -> Result<Status, Conflict> {
        if self.progress(order.clone()).await? == Status::New {
            let payer = turn.entity::<Account>(&order.from);
            turn.send(payer.hold(order.amount).then(turn.me().on_held(order.clone())));
            self.order = Some(order);
            self.status = Status::Underway;
        }
        Ok(self.status)
    }

    /// How far the transfer is: a read.
    pub async fn progress(&self, order: Order) -> Result<Status, Conflict> {
        match &self.order {
            Some(known) if *known != order => Err(Conflict(known.clone())),
            _ => Ok(self.status),
        }
    }

    /// The payer holds the amount, or has refused.
    async fn on_held(&mut self, order: Order, turn: &mut Turn<Self>, outcome: Outcome<(), Refusal>) {
        match outcome {
            Ok(()) => {
                let payee = turn.entity::<Account>(&order.to);
                turn.send(payee.deposit(order.amount).then(turn.me().on_deposited(order)));
            }
            Err(Failed::Rejected(refusal)) => self.status = Status::Refused(refusal),
            Err(_) => self.status = Status::Refused(Refusal::GivenUp),
        }
    }

    /// The payee has the money, or never will.
    async fn on_deposited(&mut self, order: Order, turn: &mut Turn<Self>, outcome: Outcome<()>) {
        let arrived = outcome.is_ok();
        self.status = if arrived { Status::Done } else { Status::Refused(Refusal::GivenUp) };
        turn.send(turn.entity::<Account>(order.from).release(order.amount, arrived));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A whole silo in memory, for what only several entities show together.
    #[grange::test]
    async fn a_transfer_that_is_submitted_again_and_again_happens_once() -> grange::Result<()> {
        let silo = Silo::builder().entity::<Account>().entity::<Transfer>().in_memory().start().await?;
        let client = silo.client();
        let (payer, payee) = (client.entity::<Account>("alice"), client.entity::<Account>("bob"));
        payer.open(100).await?;
        let order = Order { from: "alice".into(), to: "bob".into(), amount: 30 };
        let transfer = client.entity::<Transfer>("1");
        let ended = async {
            while transfer.submit(order.clone()).await? == Status::Underway {
                tokio::task::yield_now().await;
            }
            Ok::<_, CallError<Conflict>>(())
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it should end")?;
        assert_eq!(transfer.progress(order).await?, Status::Done);
        assert_eq!((payer.statement().await?.balance, payee.statement().await?.balance), (70, 30));
        silo.shutdown().await?;
        Ok(())
    }
}
