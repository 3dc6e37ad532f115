use std::cell::Cell;

use benchmarks::closed_loop::closed_loop;
use benchmarks::processes::resident_bytes;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Case, Report, Role, Row, Table, Unit, rounds};
use grange::Client;
use tokio::runtime::Runtime;

use crate::entities::{Ping, Purse};
use crate::silos::{host, runtime};

/// `ActivationData/MemoryBenchmark`: so many grains, each called once.
const GRAINS: u64 = 100_000;

/// First calls of ids never seen before, and what they leave behind.
pub(crate) fn measure(report: &mut Report) {
    const RATE: &str = "activations (Orleans: ActivationData/MemoryBenchmark, its rate)";
    const MEMORY: &str = "an idle activation (Orleans: ActivationData/MemoryBenchmark)";
    let runtime = runtime();
    if report.options().wants(RATE) {
        let redis = runtime.block_on(Redis::start(Fsync::NoFile));
        let memory = runtime.block_on(host().workers(1).in_memory().start()).expect("a silo starts");
        let stored = host().workers(1).redis(redis.url()).cluster("activation").listen("127.0.0.1:0");
        let stored = runtime.block_on(stored.start()).expect("a silo starts");
        let fresh = Cell::new(0);
        let cases = vec![
            case("volatile, one after the other", &runtime, &fresh, 1, memory.client(), touch_ping),
            case("volatile, 100 under way", &runtime, &fresh, 100, memory.client(), touch_ping),
            case("durable, memory store, 100 under way", &runtime, &fresh, 100, memory.client(), touch_purse),
            case("durable, Redis, 100 under way", &runtime, &fresh, 100, stored.client(), touch_purse),
        ];
        let mut table = Table::new(RATE, Unit::PerSecond, rounds(report.options(), cases));
        table.note("hosted client, one arbiter; each call is of an id never called before");
        report.show(table);
    }
    if report.options().wants(MEMORY) {
        let silo = runtime.block_on(host().workers(1).in_memory().start()).expect("a silo starts");
        let mut table = Table::new(MEMORY, Unit::BytesEach, Vec::new());
        let grains = report.options().scale(10 * GRAINS, GRAINS);
        for (number, (name, touch)) in
            [("volatile", touch_ping as Touch), ("durable", touch_purse)].into_iter().enumerate()
        {
            let (client, before) = (silo.client(), resident_bytes());
            let first = (number as u64 + 1) << 40;
            let touched = runtime.block_on(closed_loop(grains, 100, |grain| touch(client.clone(), first + grain)));
            assert!(touched.thrown_away.is_none(), "{touched:?}");
            let each = resident_bytes().saturating_sub(before) as f64 / grains as f64;
            table.push(Row::new(Role::Grange, format!("{name}, {grains} of them"), vec![each]));
        }
        table.note("growth of the resident memory; durable includes the record that the memory store keeps");
        report.show(table);
    }
}

type Touch = fn(Client, u64) -> futures_util::future::BoxFuture<'static, bool>;

fn touch_ping(client: Client, id: u64) -> futures_util::future::BoxFuture<'static, bool> {
    Box::pin(async move { client.entity::<Ping>(id).run().await.is_ok() })
}

fn touch_purse(client: Client, id: u64) -> futures_util::future::BoxFuture<'static, bool> {
    Box::pin(async move { client.entity::<Purse>(id).look().await.is_ok() })
}

fn case<'a>(
    name: &str,
    runtime: &'a Runtime,
    fresh: &'a Cell<u64>,
    under_way: usize,
    client: Client,
    touch: Touch,
) -> Case<'a> {
    Case::grange(name, move |operations| {
        let first = fresh.replace(fresh.get() + operations);
        runtime.block_on(closed_loop(operations, under_way, |number| touch(client.clone(), first + number)))
    })
}
