//! Market Spread, the application with which Wallaroo showed its speed: orders are refused while the market of their symbol is
//! too uncertain, that is, while what is bid and what is asked are too far apart.
//!
//! Two streams come in. *Quotes* (NBBO, the national best bid and offer) change what is known of a symbol; *orders* are checked
//! against it. One entity for each symbol, 350 of them; one input in some 70,000 has an output, the refusal of an order.
//!
//! * `message.rs`: what comes in and goes out; [`frame`]: its bytes, as the original has them.
//! * `spread.rs`: what is known of a symbol, and the rule. It is all of the business logic, and knows nothing of grange.
//! * `market.rs`: it as an entity, once kept in a store and once in memory only.
//! * `feed.rs`: synthetic streams, the same for the same seed.

mod feed;
pub mod frame;
mod market;
mod message;
mod spread;

pub use feed::{Feed, SYMBOLS};
pub use market::{AnyMarket, LiveMarket, LiveMarketRef, Market, MarketRef};
pub use message::{Input, Message, Order, Quote, Refusal, Side};
pub use spread::Spread;
