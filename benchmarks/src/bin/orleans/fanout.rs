use benchmarks::{Case, Report, Sample, Table, Unit, rounds};
use grange::Client;
use tokio::runtime::Runtime;

use crate::entities::{FAN_OUT, Tree, tree_size};
use crate::silos::{Cluster, host, runtime};

/// One ping of the root: every grain of the tree is asked by its parent, and answers when its children have.
pub(crate) fn measure(report: &mut Report) {
    const TITLE: &str = "fan-out tree, factor 16, depth 4 (Orleans: Fanout)";
    if !report.options().wants(TITLE) {
        return;
    }
    let runtime = runtime();
    let two = runtime.block_on(Cluster::start(2));
    let one = runtime.block_on(Cluster::start(1));
    let hosted = runtime.block_on(host().workers(2).in_memory().start()).expect("a silo starts");
    let cases = vec![
        case("client to 2 silos", &runtime, two.client),
        case("client to silo", &runtime, one.client),
        case("hosted client", &runtime, hosted.client()),
    ];
    let mut table = Table::new(TITLE, Unit::Millis, rounds(report.options(), cases));
    let asks = tree_size(0);
    for row in table.rows.clone() {
        table.cell(&row.name, "asks/s", asks as f64 / row.median() * 1e3);
    }
    table.note(format!("a tree has {asks} grains, {FAN_OUT} children each; milliseconds for one ping of its root"));
    report.show(table);
}

fn case<'a>(name: &str, runtime: &'a Runtime, client: Client) -> Case<'a> {
    Case::grange(name, move |pings| {
        runtime.block_on(async {
            let root = client.entity::<Tree>(0);
            let started = std::time::Instant::now();
            for _ in 0..pings {
                assert_eq!(root.ping().await, Ok(true), "the whole tree answers");
            }
            Sample::new(pings, started.elapsed())
        })
    })
}
