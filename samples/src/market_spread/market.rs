use grange::prelude::*;

use super::message::{Message, Order, Quote, Refusal};
use super::spread::Spread;

/// The market of a symbol, whose four characters are its key. Each quote that changes it is committed to the store before it is
/// answered.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Market {
    spread: Spread,
}

#[entity]
impl Market {
    /// The market moves.
    pub async fn quote(&mut self, quote: Quote) {
        self.spread.quote(&quote);
    }

    /// Whether the order has to be refused. A read: what it sees is committed when its answer leaves.
    pub async fn order(&self, order: Order) -> Option<Refusal> {
        self.spread.order(order)
    }
}

/// The same, in memory only: what the original measured.
#[entity(volatile)]
#[derive(Debug, Default)]
pub struct LiveMarket {
    spread: Spread,
}

#[entity]
impl LiveMarket {
    /// The market moves.
    pub async fn quote(&mut self, quote: Quote) {
        self.spread.quote(&quote);
    }

    /// Whether the order has to be refused.
    pub async fn order(&self, order: Order) -> Option<Refusal> {
        self.spread.order(order)
    }
}

/// A market, wherever it is kept.
pub trait AnyMarket: Clone + Send + Sync + 'static {
    /// The market of a symbol.
    fn of(client: &Client, symbol: [u8; 4]) -> Self;

    /// Hands a message in; of an order that is refused, why.
    fn submit(&self, message: Message) -> impl Future<Output = Result<Option<Refusal>, CallError>> + Send;
}

impl AnyMarket for MarketRef {
    fn of(client: &Client, symbol: [u8; 4]) -> Self {
        client.entity::<Market>(String::from_utf8_lossy(&symbol).into_owned())
    }

    async fn submit(&self, message: Message) -> Result<Option<Refusal>, CallError> {
        match message {
            Message::Quote(quote) => self.quote(quote).await.map(|()| None),
            Message::Order(order) => self.order(order).await,
        }
    }
}

impl AnyMarket for LiveMarketRef {
    fn of(client: &Client, symbol: [u8; 4]) -> Self {
        client.entity::<LiveMarket>(String::from_utf8_lossy(&symbol).into_owned())
    }

    async fn submit(&self, message: Message) -> Result<Option<Refusal>, CallError> {
        match message {
            Message::Quote(quote) => self.quote(quote).await.map(|()| None),
            Message::Order(order) => self.order(order).await,
        }
    }
}
