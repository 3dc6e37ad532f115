use std::fmt;
use std::time::Duration;

use samples::figures::thousands;
use samples::market_spread::{Refusal, Side};

/// What there is to say when all is handed in.
pub(crate) struct Report {
    pub(crate) kept: String,
    pub(crate) symbols: usize,
    pub(crate) quotes: u64,
    pub(crate) orders: u64,
    pub(crate) refusals: Vec<([u8; 4], Refusal)>,
    /// What a loop without entities refuses.
    pub(crate) expected: Vec<([u8; 4], Refusal)>,
    pub(crate) time: Duration,
}

impl Report {
    pub(crate) fn is_as_expected(&self) -> bool {
        self.refusals == self.expected
    }

    fn rate(&self) -> u64 {
        ((self.quotes + self.orders) as f64 / self.time.as_secs_f64()) as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} symbols, {}", self.symbols, self.kept)?;
        writeln!(f, "quotes  {:>14}", thousands(self.quotes))?;
        writeln!(f, "orders  {:>14}", thousands(self.orders))?;
        writeln!(f, "  refused {:>12}", thousands(self.refusals.len() as u64))?;
        if let Some((symbol, refusal)) = self.refusals.first() {
            let (symbol, id) = (symbol.escape_ascii(), refusal.order.id.escape_ascii());
            let does = if refusal.order.side == Side::Buy { "buys" } else { "sells" };
            let Refusal { bid, offer, .. } = refusal;
            writeln!(f, "    such as {id}, which {does} {symbol}: bid {bid:.2}, offered {offer:.2}")?;
        }
        writeln!(f, "time    {:>12.2} s  {} messages a second", self.time.as_secs_f64(), thousands(self.rate()))?;
        match self.is_as_expected() {
            true => f.write_str("The orders that should have been refused were, and no others."),
            false => write!(f, "{} should have been refused, and not these.", thousands(self.expected.len() as u64)),
        }
    }
}
