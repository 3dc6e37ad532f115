use crate::random::Random;

use super::message::{Input, Message, Order, Quote, Side};

/// As many symbols as the original's default.
pub const SYMBOLS: usize = 350;

/// One quote in so many is wide. Half of the inputs are orders, and a quote is good for some one order: so one input in
/// 70,000 is an order that is refused, as in the original.
const WIDE_ONE_IN: u64 = 35_000;

/// 2015-12-04, the day of the original's data, at 14:30.
const TIME: u64 = 20_151_204_143_000_000;

/// Synthetic streams: a quote and an order in turn, each for a symbol by chance. Never ends.
#[derive(Debug, Clone)]
pub struct Feed {
    symbols: Vec<[u8; 4]>,
    random: Random,
    count: u64,
}

impl Feed {
    /// The same inputs for the same seed.
    #[must_use]
    pub fn new(seed: u64, symbols: usize) -> Self {
        Self { symbols: (0..symbols).map(symbol).collect(), random: Random::new(seed), count: 0 }
    }

    /// The symbols that it is about, in the order of their characters.
    #[must_use]
    pub fn symbols(&self) -> &[[u8; 4]] {
        &self.symbols
    }

    /// A narrow quote for each symbol: without it every order is refused, so it goes first.
    pub fn opening(&mut self) -> Vec<Input> {
        let symbols = self.symbols.clone();
        symbols.into_iter().map(|symbol| Input { symbol, message: Message::Quote(self.quote(false)) }).collect()
    }

    fn quote(&mut self, is_wide: bool) -> Quote {
        // Of 64 a dollar, so that all are exact: 2/64 is less than five cents, 4/64 is more.
        let bid = f64::from(u32::try_from(self.random.below(200 * 64)).unwrap_or_default()) / 64.0 + 10.0;
        let spread = if is_wide { 4.0 } else { 2.0 } / 64.0;
        Quote { bid, offer: bid + spread, time: TIME }
    }

    fn order(&mut self) -> Order {
        let mut id = *b"000000";
        let mut number = self.count / 2;
        for digit in id.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let mut below = |bound: u64| u32::try_from(self.random.below(bound)).unwrap_or_default();
        let (account, lots, cents) = (below(10_000), below(50), below(20_000));
        let (quantity, price) = (f64::from(lots + 1) * 100.0, f64::from(cents + 1_000) / 100.0);
        Order { side, account, id, quantity, price, time: TIME }
    }
}

impl Iterator for Feed {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        let symbol = self.symbols[self.random.below(self.symbols.len() as u64) as usize];
        self.count += 1;
        let message = if self.count % 2 == 1 {
            let is_wide = self.random.below(WIDE_ONE_IN) == 0;
            Message::Quote(self.quote(is_wide))
        } else {
            Message::Order(self.order())
        };
        Some(Input { symbol, message })
    }
}

/// `AAAA`, `AAAB`, and so on.
fn symbol(number: usize) -> [u8; 4] {
    let letter = |above: usize| b'A' + (number / above % 26) as u8;
    [letter(26 * 26 * 26), letter(26 * 26), letter(26), letter(1)]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::market_spread::Spread;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let of = |seed| Feed::new(seed, SYMBOLS).take(1_000).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn each_symbol_is_one() {
        let feed = Feed::new(1, SYMBOLS);
        assert_eq!(feed.symbols().iter().collect::<BTreeSet<_>>().len(), SYMBOLS);
    }

    #[test]
    fn some_one_input_in_70_000_is_refused() {
        const INPUTS: usize = 3_500_000;
        let mut feed = Feed::new(1, SYMBOLS);
        let mut markets: BTreeMap<[u8; 4], Spread> = BTreeMap::new();
        let mut refused = 0;
        for input in feed.opening().into_iter().chain(feed.take(INPUTS)) {
            let market = markets.entry(input.symbol).or_default();
            match input.message {
                Message::Quote(quote) => market.quote(&quote),
                Message::Order(order) => refused += usize::from(market.order(order).is_some()),
            }
        }
        assert!((25..=100).contains(&refused), "{refused} refusals, and 50 were expected");
    }
}
