use benchmarks::{Role, Row, Table, Unit};

/// What has to be said beside the figures of the original.
pub(crate) const CAVEATS: [&str; 6] = [
    "Of the published figures: not measured here, on 8 times as many cores. Logic is simple, state constant in size, messages \
     50 to 60 bytes, and one input in 70,000 has an output.",
    "Their percentiles are upper edges of bins whose width doubles (33, 66, 131, 262, 524 µs, 1 ms): `p99.99 in bins` is ours, \
     counted so. P1 and P2 disagree on p99 at the same rate.",
    "They count from the ingestion inside the process, on the worker's own clock; what waits in a sender is outside. Ours \
     count from when the message should have been sent to when its answer was there.",
    "None of their sources says that resilience, a build flag that is off by default, was on: take P1 to P5 as not durable. \
     They can be laid beside our memory mode in one silo, and beside nothing else.",
    "Their machine was prepared: hyperthreads and turbo off, governor `performance`, interrupts placed, threads pinned, \
     real-time priority, dedicated tenancy. Ours is as it is.",
    "Their sources read from sockets, which senders on other processes fill; ours decode the same frames from memory.",
];

/// What Wallaroo published of the original.
pub(crate) fn table() -> Table {
    let mut table = Table::new("Market Spread, as published of Wallaroo", Unit::PerSecond, Vec::new());
    let rows = [
        ("P1 Pony, 16 cores of an AWS m4 (2017)", 3.0e6, [66.0, 500.0, 500.0, 1_000.0]),
        ("P2 Pony, machine not stated (2018)", 3.0e6, [66.0, 260.0, f64::NAN, 1_000.0]),
        ("P3 Pony, 16 cores of an Azure F48s v2", 2.6e6, [32.0, 260.0, 500.0, 2_000.0]),
        ("P4 Python, 1 thread, AWS m4", 86e3, [500.0, 2_000.0, 2_000.0, 4_000.0]),
        ("P5 Pony, 1 thread, the same machine", 240e3, [f64::NAN; 4]),
    ];
    for (name, rate, quantiles) in rows {
        table.push(Row::new(Role::Peer, name, vec![rate]));
        for (column, value) in ["p50 µs", "p99 µs", "p99.9 µs", "p99.99 µs"].iter().zip(quantiles) {
            table.cell(name, column, value);
        }
    }
    table.note("upper bounds; `?` was not stated");
    table
}
