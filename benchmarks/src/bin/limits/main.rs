//! grange beside the limits of the machine and of Redis, in the same run, with the project's targets as goals.
//!
//! `cargo xtask bench limits`; `--only remote` for the tables whose titles contain that.

mod activations;
mod fairness;
mod hot;
mod local;
mod messages;
mod remote;
mod scaling;
mod turns;

use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Options, Report, Table};
use tokio::runtime::Runtime;

benchmarks::count_allocations!();

/// What every table here needs.
struct Bench {
    runtime: Runtime,
    redis: Redis,
    options: Options,
}

/// A table: its title, by which it is chosen, and how it is made.
type Topic = (&'static str, fn(&Bench, &str) -> Table);

const TOPICS: [Topic; 18] = [
    ("local ask, same arbiter, one caller", local::alone),
    ("local ask, same arbiter, 100 callers on 100 entities", local::together),
    ("local ask, across 2 arbiters, 100 callers on 100 entities", local::across),
    ("local ask, from tasks of another runtime, 100 callers on 100 entities", local::from_outside),
    ("remote ask, one connection, 1 caller", remote::one),
    ("remote ask, one connection, 100 callers", remote::hundred),
    ("remote ask, one connection, 1,000 callers", remote::thousand),
    ("durable turns over 10,000 entities on Redis, 1 in flight", turns::one),
    ("durable turns over 10,000 entities on Redis, 100 in flight", turns::hundred),
    ("durable turns over 10,000 entities on Redis, 1,000 in flight", turns::thousand),
    ("one hot durable entity on Redis, no append-only file", hot::without_file),
    ("one hot durable entity on Redis, appendfsync always", hot::always),
    ("durable messages across silos on Redis, 100 in flight", messages::hundred),
    ("activations, volatile, one arbiter, 500 in flight", activations::volatile),
    ("activations, durable on Redis, 100 in flight", activations::hundred),
    ("activations, durable on Redis, 1,000 in flight", activations::thousand),
    ("fairness: p99 of 1,000 cool entities beside a hot one", fairness::table),
    ("1, 2 and 4 silos: processor time of an ask over uniform keys", scaling::table),
];

fn main() {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let redis = runtime.block_on(Redis::start(Fsync::NoFile));
    let mut report = Report::new("limits", options.clone());
    report.fact(redis.description());
    let bench = Bench { runtime, redis, options };
    for (title, table) in TOPICS {
        if bench.options.wants(title) {
            report.show(table(&bench, title));
            bench.redis.clear();
        }
    }
    report.finish();
}
