use serde::{Deserialize, Serialize};

use super::message::{Order, Quote, Refusal};

/// Of prices: from this spread on, orders are refused.
const SPREAD_MAX: f64 = 0.05;

/// Of the middle of bid and offer: from this share on, orders are refused.
const SHARE_MAX: f64 = 0.05;

/// What is known of a symbol's market. Of one that was never quoted, nothing: its orders are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    bid: f64,
    offer: f64,
    accepts: bool,
}

impl Spread {
    /// The market moves.
    pub fn quote(&mut self, quote: &Quote) {
        let spread = quote.offer - quote.bid;
        let middle = f64::midpoint(quote.bid, quote.offer);
        // As the original's code has it, either is enough. One of its documents says that both are needed.
        let rejects = spread >= SPREAD_MAX || spread / middle >= SHARE_MAX;
        *self = Self { bid: quote.bid, offer: quote.offer, accepts: !rejects };
    }

    /// Nothing, or why the order can't be let through.
    #[must_use]
    pub fn order(&self, order: Order) -> Option<Refusal> {
        (!self.accepts).then_some(Refusal { order, bid: self.bid, offer: self.offer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market_spread::Side;

    const ORDER: Order = Order {
        side: Side::Buy,
        account: 7,
        id: *b"000001",
        quantity: 100.0,
        price: 20.0,
        time: 20_151_204_143_000_000,
    };

    fn after(bid: f64, offer: f64) -> Spread {
        let mut spread = Spread::default();
        spread.quote(&Quote { bid, offer, time: 0 });
        spread
    }

    #[test]
    fn orders_are_refused_until_the_first_quote() {
        assert_eq!(Spread::default().order(ORDER), Some(Refusal { order: ORDER, bid: 0.0, offer: 0.0 }));
    }

    #[test]
    fn a_narrow_market_lets_orders_through() {
        assert_eq!(after(20.00, 20.04).order(ORDER), None);
    }

    #[test]
    fn five_cents_are_too_much() {
        // Prices that are exact in binary: 0.0625 is above the limit, 0.03125 is below it.
        assert_eq!(after(20.0, 20.0625).order(ORDER), Some(Refusal { order: ORDER, bid: 20.0, offer: 20.0625 }));
        assert_eq!(after(20.0, 20.03125).order(ORDER), None);
        assert!(after(0.0, SPREAD_MAX).order(ORDER).is_some(), "the limit itself refuses");
    }

    #[test]
    fn five_in_a_hundred_are_too_much_however_few_cents() {
        assert!(after(0.25, 0.28125).order(ORDER).is_some());
        assert!(after(2.5, 2.53125).order(ORDER).is_none());
    }

    #[test]
    fn the_last_quote_counts() {
        let mut spread = after(20.0, 20.0625);
        spread.quote(&Quote { bid: 20.0, offer: 20.03125, time: 1 });
        assert_eq!(spread.order(ORDER), None);
    }
}
