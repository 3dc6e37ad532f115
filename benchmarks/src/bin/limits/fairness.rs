use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use benchmarks::callers::Callers;
use benchmarks::open_loop::open_loop;
use benchmarks::subjects::{Light, asks};
use benchmarks::{Case, Goal, Role, Row, Sample, Table, Unit, arbiter, rounds};
use grange::prelude::*;

use crate::Bench;

const COOL: u64 = 1_000;
const PER_SECOND: f64 = 5_000.0;

/// What else the silo is asked, while the cool entities are measured.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nothing,
    Spread,
    Hot,
}

pub(crate) fn table(bench: &Bench, title: &str) -> Table {
    const HOT: &str = "beside one hot entity with 100 callers";
    let Bench { runtime, options, .. } = bench;
    let silo = runtime.block_on(Silo::builder().entity::<Light>().in_memory().workers(1).start()).expect("starts");
    let client = silo.client();
    let lasting = options.round() * 5;
    let cases =
        [("alone", Beside::Nothing), ("beside 100 callers on 1,000 others", Beside::Spread), (HOT, Beside::Hot)];
    let cases = cases.map(|(name, beside)| {
        let client = &client;
        Case::grange(name, move |_| {
            let load = beside.start(client);
            let cool = client.clone();
            let sample =
                arbiter::outside(move || open_loop(PER_SECOND, lasting, move |number| cool_ask(&cool, number)));
            load.stop();
            sample
        })
    });
    let measured = rounds(options, cases.into());
    let millis = |sample: &Sample| sample.latencies.as_ref().map_or(f64::NAN, |l| l.quantile(0.99).as_secs_f64() * 1e3);
    let rows: Vec<Row> = measured
        .iter()
        .map(|row| {
            let mut shown = Row::new(Role::Grange, row.name.clone(), row.samples.iter().map(millis).collect());
            shown.thrown_away = row.thrown_away.clone();
            shown
        })
        .collect();
    // The quantiles of all rounds come with the measured rows; the figure of a row is the p99 of each round.
    let mut table = Table::new(title, Unit::Millis, measured);
    for (row, shown) in table.rows.iter_mut().zip(rows) {
        row.values = shown.values;
    }
    table.goal(HOT, Goal::RatioAtMost(3.0));
    table.note(format!(
        "{PER_SECOND} asks a second of the cool ones, open loop, latencies from the intended send time; one arbiter"
    ));
    runtime.block_on(silo.shutdown()).expect("stops");
    table
}

fn cool_ask(client: &Client, number: u64) -> impl Future<Output = bool> + use<> {
    // A step that visits all of them, far from each other.
    let call = client.entity::<Light>(10_000 + number * 617 % COOL).add(1);
    async move { call.await.is_ok() }
}

/// Callers on a thread of their own, until they are stopped.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    fn start(self, client: &Client) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let entities = match self {
            Self::Nothing => return Load { over, thread: None },
            Self::Spread => 1_000,
            Self::Hot => 1,
        };
        let (client, until) = (client.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            arbiter::outside(async move || {
                while !until.load(Ordering::Relaxed) {
                    asks(&client, Callers(100), entities, 5_000).await;
                }
            });
        });
        Load { over, thread: Some(thread) }
    }
}

impl Load {
    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            thread.join().expect("the load ends well");
        }
    }
}
