//! The benchmarks of Orleans, mirrored: the same shapes (workers, block sizes, payloads), so that what Orleans measures on the
//! same kind of machine can be laid beside it. Each table names the one that it mirrors, in `test/Benchmarks` of dotnet/orleans.
//!
//! `cargo run --release --bin orleans -- [--quick] [--only TEXT]`

mod activation;
mod adaptive;
mod entities;
mod fanout;
mod kills;
mod ping;
mod silos;
mod storage;
mod transfer;

use benchmarks::{Options, Report};

fn main() {
    let options = Options::from_arguments();
    match options.rest.split_first() {
        Some((role, rest)) if role == "silo" => return silos::serve(rest),
        Some((role, rest)) if role == "memory" => return activation::serve(rest),
        _ => {}
    }
    let mut report = Report::new("orleans", options);
    report.fact(
        "Orleans runs silos and client in one process (until recently over loopback TCP, now through memory); here each \
         silo is a process of its own with one arbiter, and the client another, over loopback TCP, but for the hosted client",
    );
    ping::sequential(&mut report);
    ping::concurrent(&mut report);
    adaptive::measure(&mut report);
    fanout::measure(&mut report);
    storage::measure(&mut report);
    transfer::measure(&mut report);
    activation::measure(&mut report);
    kills::measure(&mut report);
    report.finish();
}
