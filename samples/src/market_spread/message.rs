use serde::{Deserialize, Serialize};

/// What is bid and offered for a symbol, nation-wide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// The highest price that somebody pays.
    pub bid: f64,
    /// The lowest price at which somebody sells.
    pub offer: f64,
    /// When, as `YYYYMMDDhhmmssmmm`.
    pub time: u64,
}

/// Somebody wants to trade.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Buys or sells.
    pub side: Side,
    /// Who.
    pub account: u32,
    /// Six characters.
    pub id: [u8; 6],
    /// How much.
    pub quantity: f64,
    /// At which price.
    pub price: f64,
    /// When, as `YYYYMMDDhhmmssmmm`.
    pub time: u64,
}

/// Of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Buys.
    Buy,
    /// Sells.
    Sell,
}

/// An order was refused, because of this quote.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The order.
    pub order: Order,
    /// What was bid; 0 if there was no quote yet.
    pub bid: f64,
    /// What was offered; 0 if there was no quote yet.
    pub offer: f64,
}

/// A message of one of the two streams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Message {
    /// Of the stream of quotes.
    Quote(Quote),
    /// Of the stream of orders.
    Order(Order),
}

/// A message, and the symbol that it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input {
    /// Its four characters.
    pub symbol: [u8; 4],
    /// What came.
    pub message: Message,
}
