//! The two sources, which live in the silo, as the original's do: one on each of its arbiters, or both on the only one.

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::time::Duration;

use benchmarks::closed_loop::closed_loop;
use benchmarks::open_loop::beside_other_work;
use benchmarks::{Sample, arbiter};
use futures_util::future::join_all;
use grange::Client;
use samples::market_spread::AnyMarket;

use crate::frames::{Frames, Stream};

/// The markets, and who hands them what comes in.
pub(crate) struct Sources<M> {
    client: Client,
    markets: Vec<M>,
    /// The arbiter's driver of each of the two.
    drivers: [u64; 2],
}

impl<M: AnyMarket> Sources<M> {
    /// Opens the markets.
    pub(crate) async fn start(client: &Client, arbiters: usize) -> Self {
        let frames = Frames::shared();
        let drivers = arbiter::drivers(client, arbiters).await;
        let markets: Vec<M> = frames.symbols.iter().map(|symbol| M::of(client, *symbol)).collect();
        for input in &frames.opening {
            markets[frames.place(input.symbol)].submit(input.message).await.expect("a first quote");
        }
        let drivers = [drivers[0], *drivers.last().expect("at least one")];
        Self { client: client.clone(), markets, drivers }
    }

    /// So many messages, so many of them under way at a time.
    pub(crate) async fn closed_loop(&self, operations: u64, window: usize) -> Sample {
        // The second source makes one more, if they are odd.
        let share = move |calls: &Calls<M>| (operations + calls.number) / 2;
        self.both(move |mut calls| closed_loop(share(&calls), window / 2, move |_| calls.next())).await
    }

    /// So many messages a second.
    pub(crate) async fn open_loop(&self, rate: f64, lasting: Duration, late: Duration) -> Sample {
        let send = move |mut calls: Calls<M>| beside_other_work(rate / 2.0, lasting, late, move |_| calls.next());
        self.both(send).await
    }

    /// So many inputs a second, decoded and dropped.
    pub(crate) async fn nothing(&self, rate: f64, lasting: Duration, late: Duration) -> Sample {
        let send = move |mut calls: Calls<M>| beside_other_work(rate / 2.0, lasting, late, move |_| calls.drop_next());
        self.both(send).await
    }

    /// Both sources at the same time; what they did together.
    async fn both<F: Future<Output = Sample> + 'static>(
        &self,
        work: impl Fn(Calls<M>) -> F + Clone + Send + 'static,
    ) -> Sample {
        let each = (0..).zip(self.drivers).zip(Frames::shared().streams()).map(|((number, driver), stream)| {
            let (work, calls) = (work.clone(), Calls { number, markets: self.markets.clone(), stream });
            arbiter::run_by(&self.client, driver, move || work(calls))
        });
        together(join_all(each).await)
    }
}

/// The calls of one source, one after the other.
struct Calls<M> {
    /// 0 or 1.
    number: u64,
    markets: Vec<M>,
    stream: Stream,
}

impl<M: AnyMarket> Calls<M> {
    /// Decodes the next message, and hands it in.
    fn next(&mut self) -> impl Future<Output = bool> + use<M> {
        let input = self.stream.next();
        let market = self.markets[Frames::shared().place(input.symbol)].clone();
        async move { market.submit(input.message).await.is_ok() }
    }

    fn drop_next(&mut self) -> Ready<bool> {
        black_box(self.stream.next());
        ready(true)
    }
}

fn together(samples: Vec<Sample>) -> Sample {
    let operations = samples.iter().map(|sample| sample.operations).sum();
    let elapsed = samples.iter().map(|sample| sample.elapsed).max().unwrap_or_default();
    let mut all = Sample::new(operations, elapsed);
    for sample in samples {
        all.thrown_away = all.thrown_away.or(sample.thrown_away);
        all.latencies = match (all.latencies, sample.latencies) {
            (Some(mut all), Some(more)) => {
                all.add(&more);
                Some(all)
            }
            (all, more) => all.or(more),
        };
    }
    all
}
