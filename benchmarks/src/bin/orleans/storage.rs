use benchmarks::callers::Callers;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Case, Report, Table, Unit, rounds};
use grange::{Client, Silo};
use tokio::runtime::Runtime;

use crate::entities::Document;
use crate::silos::{host, runtime};

/// `GrainStorageBenchmark`: the payload, and how many write at a time; 10 in memory, 100 on Azure tables and SQL.
const PAYLOAD_BYTES: u64 = 10_000;
const WRITERS: [u64; 2] = [10, 100];

/// Each operation writes the payload, and reads it.
pub(crate) fn measure(report: &mut Report) {
    const TITLE: &str = "state of 10,000 bytes, written and read (Orleans: GrainStorage)";
    if !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let stores = [None, Some(Fsync::NoFile), Some(Fsync::Always)].map(|fsync| runtime.block_on(Stored::start(fsync)));
    let cases = stores.iter().flat_map(|stored| WRITERS.map(|writers| stored.case(&runtime, writers))).collect();
    let mut table = Table::new(TITLE, Unit::PerSecond, rounds(report.options(), cases));
    table.note(
        "hosted client. An operation is a turn that changes one byte, committed whole, then a read of all of it.",
    );
    table.note("Orleans reads from its store after each write; here a claim proves that memory is right, so a read needs none.");
    report.show(table);
}

struct Stored {
    name: &'static str,
    silo: Silo,
    _redis: Option<Redis>,
}

impl Stored {
    async fn start(fsync: Option<Fsync>) -> Self {
        let (silo, name) = (host().workers(1), name(fsync));
        let Some(fsync) = fsync else {
            let silo = silo.in_memory().start().await.expect("a silo starts");
            return Self { name, silo, _redis: None };
        };
        let redis = Redis::start(fsync).await;
        let silo = silo.redis(redis.url()).cluster("storage").listen("127.0.0.1:0").start().await;
        Self { name, silo: silo.expect("a silo starts"), _redis: Some(redis) }
    }

    fn case<'a>(&'a self, runtime: &'a Runtime, writers: u64) -> Case<'a> {
        let client = self.silo.client();
        runtime.block_on(async {
            for writer in 0..writers {
                client.entity::<Document>(writer).init(PAYLOAD_BYTES).await.expect("a first write");
            }
        });
        Case::grange(format!("{}, {writers} writers", self.name), move |operations| {
            let client = client.clone();
            runtime.block_on(Callers(writers).tasks(operations, move |writer| persist(client.clone(), writer)))
        })
    }
}

fn name(fsync: Option<Fsync>) -> &'static str {
    match fsync {
        None => "memory store",
        Some(Fsync::Always) => "Redis, appendfsync always",
        Some(_) => "Redis without a file",
    }
}

async fn persist(client: Client, writer: u64) {
    let document = client.entity::<Document>(writer);
    document.set(writer % PAYLOAD_BYTES).await.expect("a write");
    let payload = document.get().await.expect("a read");
    assert_eq!(payload.len() as u64, PAYLOAD_BYTES);
}
