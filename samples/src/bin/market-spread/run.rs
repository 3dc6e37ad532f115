use futures_util::future::try_join_all;
use grange::prelude::*;
use samples::market_spread::{AnyMarket, Feed, Input, Message, Refusal, SYMBOLS, Spread};
use tokio::time::Instant;

use crate::options::Job;
use crate::report::Report;

/// The inputs, market by market: each market's come in their order, and markets do not wait for each other.
pub(crate) struct Streams {
    markets: Vec<([u8; 4], Vec<Message>)>,
}

impl Streams {
    pub(crate) fn of(job: &Job) -> Self {
        let mut feed = Feed::new(job.seed, SYMBOLS);
        let mut markets: Vec<_> = feed.symbols().iter().map(|symbol| (*symbol, Vec::new())).collect();
        let opening = feed.opening();
        for Input { symbol, message } in opening.into_iter().chain(feed.take(job.inputs)) {
            let market = markets.partition_point(|(other, _)| *other < symbol);
            markets[market].1.push(message);
        }
        Self { markets }
    }

    /// What has to be refused: the same without entities.
    fn refusals(&self) -> Vec<([u8; 4], Refusal)> {
        let mut refusals = Vec::new();
        for (symbol, messages) in &self.markets {
            let mut spread = Spread::default();
            for message in messages {
                match message {
                    Message::Quote(quote) => spread.quote(quote),
                    Message::Order(order) => refusals.extend(spread.order(*order).map(|refusal| (*symbol, refusal))),
                }
            }
        }
        refusals
    }

    fn orders(&self) -> u64 {
        self.messages().filter(|message| matches!(message, Message::Order(_))).count() as u64
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        self.markets.iter().flat_map(|(_, messages)| messages)
    }
}

/// Hands all of them in.
pub(crate) async fn run<M: AnyMarket>(client: &Client, job: &Job, streams: &Streams) -> grange::Result<Report> {
    let started = Instant::now();
    let traders = streams.markets.iter().map(|(symbol, messages)| trade(M::of(client, *symbol), *symbol, messages));
    let refusals: Vec<_> = try_join_all(traders).await?.into_iter().flatten().collect();
    let time = started.elapsed();
    let orders = streams.orders();
    Ok(Report {
        kept: job.kept.to_string(),
        symbols: streams.markets.len(),
        quotes: streams.messages().count() as u64 - orders,
        orders,
        expected: streams.refusals(),
        refusals,
        time,
    })
}

/// One market's, one after the other.
async fn trade<M: AnyMarket>(
    market: M,
    symbol: [u8; 4],
    messages: &[Message],
) -> Result<Vec<([u8; 4], Refusal)>, CallError> {
    let mut refusals = Vec::new();
    for message in messages {
        refusals.extend(market.submit(*message).await?.map(|refusal| (symbol, refusal)));
    }
    Ok(refusals)
}
