use benchmarks::closed_loop::closed_loop;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Case, Report, Table, Unit, rounds};

use crate::entities::transfer;
use crate::silos::{host, runtime};

/// `TransactionBenchmark`: so many transactions, so many of them under way.
const TRANSFERS: u64 = 20_000;
const UNDER_WAY: usize = 5_000;

/// From one entity to another, each pair used by one transfer at a time.
pub(crate) fn measure(report: &mut Report) {
    const TITLE: &str = "transfers between two entities (Orleans: Transactions.Memory, Transactions.Azure)";
    if !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let start = async |fsync: Fsync| {
        let redis = Redis::start(fsync).await;
        let silo = host().workers(1).redis(redis.url()).cluster("transfer").listen("127.0.0.1:0").start().await;
        (silo.expect("a silo starts"), redis)
    };
    let (memory, none, always) = runtime.block_on(async {
        let memory = host().workers(1).in_memory().start().await.expect("a silo starts");
        (memory, start(Fsync::NoFile).await, start(Fsync::Always).await)
    });
    let transfers = report.options().scale(TRANSFERS, TRANSFERS / 10);
    let rows = [("memory store", &memory), ("Redis without a file", &none.0), ("Redis, appendfsync always", &always.0)];
    let cases = rows.map(|(name, silo)| {
        let (client, runtime) = (silo.client(), &runtime);
        Case::grange(name, move |_| {
            runtime.block_on(closed_loop(transfers, UNDER_WAY, |number| {
                let client = client.clone();
                async move { transfer(&client, number * 2, number * 2 + 1).await }
            }))
        })
    });
    let mut table = Table::new(TITLE, Unit::PerSecond, rounds(report.options(), cases.into()));
    table.note(format!(
        "{transfers} transfers, {UNDER_WAY} under way, each over two entities of its own. One has ended when the payee has \
         committed and the payer's continuation runs: three turns, each with a commit, and two durable messages."
    ));
    table.note(
        "Not a transaction: between the first turn and the second the amount is in a message. Orleans' transactions lock \
         both grains, may abort, and are seen by nobody half-way.",
    );
    report.show(table);
}
