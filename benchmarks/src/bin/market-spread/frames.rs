use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::OnceLock;

use benchmarks::Sample;
use samples::market_spread::{Feed, Input, Message, SYMBOLS, Spread, frame};

/// More than the caches hold, so that each frame is read from memory, as from a socket's buffer.
const INPUTS: usize = 200_000;

/// The streams as bytes, as they would come in from outside: what a source decodes is part of what is measured.
pub(crate) struct Frames {
    /// One narrow quote for each symbol.
    pub(crate) opening: Vec<Input>,
    /// Quotes only, orders only.
    streams: [Vec<u8>; 2],
    pub(crate) symbols: Vec<[u8; 4]>,
}

impl Frames {
    /// Made once: they are the same for all.
    pub(crate) fn shared() -> &'static Self {
        static FRAMES: OnceLock<Frames> = OnceLock::new();
        FRAMES.get_or_init(|| {
            let mut feed = Feed::new(1, SYMBOLS);
            let (opening, symbols) = (feed.opening(), feed.symbols().to_vec());
            let mut streams = [Vec::new(), Vec::new()];
            for input in feed.take(INPUTS) {
                frame::encode(&input, &mut streams[usize::from(matches!(input.message, Message::Order(_)))]);
            }
            Self { opening, streams, symbols }
        })
    }

    /// Both streams, from their beginnings.
    pub(crate) fn streams(&'static self) -> [Stream; 2] {
        [0, 1].map(|number| Stream { bytes: &self.streams[number], at: 0 })
    }

    /// The place of a symbol among all.
    pub(crate) fn place(&self, symbol: [u8; 4]) -> usize {
        self.symbols.binary_search(&symbol).expect("a symbol of the feed")
    }

    /// The same work with nothing around it: frames decoded, the rule applied to a map.
    pub(crate) fn without_entities(&'static self, operations: u64) -> Sample {
        let mut markets: BTreeMap<[u8; 4], Spread> = BTreeMap::new();
        let [mut quotes, mut orders] = self.streams();
        Sample::timed(operations, || {
            for number in 0..operations {
                let input = if number % 2 == 0 { quotes.next() } else { orders.next() };
                let market = markets.entry(input.symbol).or_default();
                match input.message {
                    Message::Quote(quote) => market.quote(&quote),
                    Message::Order(order) => drop(black_box(market.order(order))),
                }
            }
        })
    }
}

/// One of the two streams, over and over.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    bytes: &'static [u8],
    at: usize,
}

impl Stream {
    /// Decodes the next frame.
    pub(crate) fn next(&mut self) -> Input {
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        let (input, next) = frame::decode(self.bytes, self.at).expect("frames of our own");
        self.at = next;
        input
    }
}
