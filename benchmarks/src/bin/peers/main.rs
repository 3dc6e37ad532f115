//! Remote asks over loopback: grange beside other frameworks, each in its best honest configuration, doing the same work in the
//! same run: callers, each with an entity of its own that holds a counter, ask one after the other. What is not the same is
//! said below each table.
//!
//! `cargo xtask bench peers` builds them and runs this; a peer that was not built is left out, and that is said.

mod grange_driver;
mod peer;

use std::cell::RefCell;

use benchmarks::callers::Callers;
use benchmarks::servers::{Fsync, Redis};
use benchmarks::{Case, Goal, Options, Report, Role, Sample, Table, Unit, echo, rounds};
use tokio::runtime::Runtime;

use crate::peer::{Driver, PEERS, Peer};

/// How many callers there are, a table each.
const CALLERS: [u64; 3] = [1, 100, 1_000];

const GRANGE: &str = "volatile entities";

fn main() {
    let options = Options::from_arguments();
    match options.rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server"] => return grange_driver::serve(),
        ["client", silo] => return grange_driver::ask(silo),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let redis = runtime.block_on(Redis::start(Fsync::NoFile));
    let mut report = Report::new("peers", options);
    report.fact(redis.description());
    report.fact(peer::versions());
    let echo = echo::serve();
    for callers in CALLERS {
        let title = format!("remote ask, {callers} callers");
        if !report.options().wants(&title) {
            continue;
        }
        // Anew for each table, so that nothing of an earlier one is left.
        redis.clear();
        let grange = RefCell::new(Driver::grange());
        let peers: Vec<(&Peer, RefCell<Driver>)> =
            PEERS.iter().filter_map(|peer| Some((peer, RefCell::new(peer.start(&redis.url())?)))).collect();
        let mut cases = vec![case(Role::Grange, GRANGE, &grange, callers)];
        cases.extend(peers.iter().map(|(peer, driver)| case(Role::Peer, peer.name, driver, callers)));
        cases.push(Case::limit("raw echo of frames as long, a task each", |operations| {
            raw(&runtime, echo, callers, operations)
        }));
        let mut table = Table::new(title, Unit::PerSecond, rounds(report.options(), cases));
        for (peer, _) in &peers {
            table.note(format!("{}: {}", peer.name, peer.note));
            if let (Some(share), true) = (peer.share_at_most, callers > 1) {
                table.goal(peer.name, Goal::RatioAtMost(share));
            }
        }
        for peer in PEERS.iter().filter(|peer| !peer.is_built()) {
            table.note(format!("{}: left out, it was not built", peer.name));
        }
        table.note(
            "ratios are shares of grange's rate. grange: one connection; virtual, placed by the cluster's table, one \
             activation at a time, a deadline for each ask; no stored state here, as none of the others has",
        );
        report.show(table);
    }
    report.finish();
}

fn case<'a>(role: Role, name: &str, driver: &'a RefCell<Driver>, callers: u64) -> Case<'a> {
    Case::new(role, name, move |operations| driver.borrow_mut().round(Callers(callers), operations))
}

fn raw(runtime: &Runtime, echo: std::net::SocketAddr, callers: u64, operations: u64) -> Sample {
    runtime.block_on(echo::with_tasks(echo, Callers(callers), operations))
}
