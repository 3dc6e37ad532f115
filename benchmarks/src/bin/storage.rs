//! Durable turns on each store, beside what the disk and Redis allow: one at a time, over many entities, and on one that is
//! hot.
//!
//! `cargo xtask bench storage`

use std::fs::File;
use std::io::Write;

use benchmarks::bare::Bare;
use benchmarks::callers::Callers;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::subjects::{Counter, turns};
use benchmarks::{Case, Options, Report, Sample, Table, Unit, rounds};
use grange::prelude::*;
use tokio::runtime::Runtime;

/// As long as a commit is in the embedded store's journal, more or less.
const APPENDED: [u8; 400] = [7; 400];

const SYNCED: &str = "append 400 B and fdatasync";
const EMBEDDED: &str = "embedded, synced";
const FSYNCS: [(Fsync, &str, &str); 3] = [
    (Fsync::NoFile, "Redis, no append-only file", "bare script, no append-only file"),
    (Fsync::EverySecond, "Redis, appendfsync everysec", "bare script, appendfsync everysec"),
    (Fsync::Always, "Redis, appendfsync always", "bare script, appendfsync always"),
];

/// A silo on each store.
struct Stores {
    runtime: Runtime,
    memory: Silo,
    embedded: Silo,
    on_redis: Vec<(Redis, Silo, Bare)>,
    directory: tempfile::TempDir,
}

/// How turns come: the title, how many callers, on how many entities.
type Shape = (&'static str, Callers, u64);

const SHAPES: [Shape; 3] = [
    ("one caller, one turn at a time", Callers(1), 1_000),
    ("900 callers on 1,000 entities", Callers(900), 1_000),
    ("900 callers on one hot entity", Callers(900), 1),
];

fn main() {
    let options = Options::from_arguments();
    let stores = Stores::start();
    let mut report = Report::new("storage", options.clone());
    for (redis, ..) in &stores.on_redis {
        report.fact(redis.description());
    }
    for shape in SHAPES.into_iter().filter(|(title, ..)| options.wants(title)) {
        report.show(table(&options, &stores, shape));
    }
    stores.stop();
    report.finish();
}

fn table(options: &Options, stores: &Stores, (title, callers, entities): Shape) -> Table {
    let on = |silo: &Silo| {
        let client = silo.client();
        move |operations| stores.runtime.block_on(turns(&client, callers, entities, operations))
    };
    let mut cases = vec![
        Case::limit(SYNCED, |operations| append(stores, operations)),
        Case::grange(EMBEDDED, on(&stores.embedded)),
        Case::grange("in memory", on(&stores.memory)),
    ];
    for ((_, silo, bare), (_, name, limit)) in stores.on_redis.iter().zip(FSYNCS) {
        cases.push(Case::limit(limit, |operations| stores.runtime.block_on(bare.commits(callers, operations))));
        cases.push(Case::grange(name, on(silo)));
    }
    let mut table = Table::new(title, Unit::PerSecond, rounds(options, cases));
    FSYNCS.iter().for_each(|(_, name, limit)| table.compare(name, limit));
    table.note(
        "each on Redis is compared with the bare script on the same one, over 1,000 entities; the others with the disk",
    );
    table
}

/// One write to the disk after the other, each synced, at the end of a file.
fn append(stores: &Stores, operations: u64) -> Sample {
    let mut file = File::create(stores.directory.path().join("appended")).expect("a file");
    Sample::timed(operations, || {
        for _ in 0..operations {
            file.write_all(&APPENDED).and_then(|()| file.sync_data()).expect("a disk that works");
        }
    })
}

impl Stores {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let silo = || Silo::builder().entity::<Counter>();
        let (memory, embedded, on_redis) = runtime.block_on(async {
            let mut on_redis = Vec::new();
            for (fsync, ..) in FSYNCS {
                let redis = Redis::start(fsync).await;
                let silo = silo().redis(redis.url()).listen("127.0.0.1:0").start().await.expect("starts");
                let bare = Bare::prepare(&redis, 1_000).await;
                on_redis.push((redis, silo, bare));
            }
            let embedded = silo().embedded(directory.path().join("embedded")).start().await.expect("starts");
            (silo().in_memory().start().await.expect("starts"), embedded, on_redis)
        });
        Self { runtime, memory, embedded, on_redis, directory }
    }

    fn stop(self) {
        self.runtime.block_on(async {
            // Each Redis is there until its silo has given everything back.
            for (_redis, silo, _bare) in self.on_redis {
                silo.shutdown().await.expect("stops");
            }
            for silo in [self.memory, self.embedded] {
                silo.shutdown().await.expect("stops");
            }
        });
    }
}
