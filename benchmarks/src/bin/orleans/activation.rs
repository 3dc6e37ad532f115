use std::cell::Cell;

use benchmarks::closed_loop::closed_loop;
use benchmarks::processes::{Running, resident_bytes};
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
        let mut table = Table::new(MEMORY, Unit::BytesEach, Vec::new());
        let grains = report.options().scale(10 * GRAINS, GRAINS);
        for kind in ["volatile", "durable"] {
            let each = (0..report.options().rounds).map(|_| {
                // A process of its own: memory that was given back stays resident.
                let process = Running::again(&["memory", kind, &grains.to_string()]);
                process.said().parse().expect("bytes")
            });
            table.push(Row::new(Role::Grange, format!("{kind}, {grains} of them"), each.collect()));
        }
        table.note("growth of the resident memory; durable includes the record that the memory store keeps");
        report.show(table);
    }
}

/// In a process of its own: says how many bytes of resident memory each activation takes.
pub(crate) fn serve(arguments: &[String]) {
    let [kind, grains] = arguments else { panic!("memory KIND GRAINS") };
    let grains: u64 = grains.parse().expect("a number");
    let touch = if kind == "volatile" { touch_ping as Touch } else { touch_purse };
    let runtime = runtime();
    let silo = runtime.block_on(host().workers(1).in_memory().start()).expect("a silo starts");
    let (client, before) = (silo.client(), resident_bytes());
    let touched = runtime.block_on(closed_loop(grains, 100, |grain| touch(client.clone(), grain)));
    assert!(touched.thrown_away.is_none(), "{touched:?}");
    println!("{}", resident_bytes().saturating_sub(before) as f64 / grains as f64);
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
