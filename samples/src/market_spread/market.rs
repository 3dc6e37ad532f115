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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market_spread::Side;

    fn quote(spread: f64) -> Message {
        Message::Quote(Quote { bid: 20.0, offer: 20.0 + spread, time: 0 })
    }

    fn order(id: &[u8; 6]) -> Message {
        Message::Order(Order { side: Side::Sell, account: 7, id: *id, quantity: 100.0, price: 20.0, time: 0 })
    }

    /// The ids of the orders that are refused, before any quote, in a narrow market, in a wide one, and in the narrow one of
    /// another symbol.
    async fn refused<M: AnyMarket>(client: &Client) -> Vec<[u8; 6]> {
        let (ours, other) = (M::of(client, *b"AAAA"), M::of(client, *b"BBBB"));
        other.submit(quote(0.03125)).await.expect("answers");
        let mut refused = Vec::new();
        let messages = [order(b"before"), quote(0.03125), order(b"narrow"), quote(0.0625), order(b"wide  ")];
        for message in messages {
            refused.extend(ours.submit(message).await.expect("answers").map(|refusal| refusal.order.id));
        }
        refused.extend(other.submit(order(b"other ")).await.expect("answers").map(|refusal| refusal.order.id));
        refused
    }

    #[grange::test]
    async fn each_symbols_market_refuses_by_its_last_quote_kept_or_not() {
        let silo = Silo::builder().entity::<Market>().entity::<LiveMarket>().in_memory().start().await.expect("starts");
        let client = silo.client();
        assert_eq!(refused::<LiveMarketRef>(&client).await, [*b"before", *b"wide  "]);
        assert_eq!(refused::<MarketRef>(&client).await, [*b"before", *b"wide  "]);
        silo.shutdown().await.expect("stops");
    }
}
