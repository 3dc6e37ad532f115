//! What an idle activation costs, with a million of them alive and answering in one silo: resident memory, and time.
//!
//! `cargo xtask bench memory`; each round is a process of its own, because memory that was given back stays resident.

use std::process::Command;
use std::time::Instant;

use actix::Actor;
use benchmarks::processes::resident_bytes;
use benchmarks::raw::{Add, Raw};
use benchmarks::subjects::{Counter, Light};
use benchmarks::{Goal, Options, Report, Role, Row, Table, Unit, Watch};
use futures_util::stream::{FuturesUnordered, StreamExt};
use grange::prelude::*;

/// Calls on their way at a time.
const IN_FLIGHT: usize = 500;

/// How a program is told that it is one round.
const ROUND: &str = "--round-of";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Raw,
    Volatile,
    Durable,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Raw, "actix actor"),
    (Kind::Volatile, "volatile entity"),
    (Kind::Durable, "durable entity, never stored, memory store"),
];

/// What one round found.
struct Found {
    bytes_each: f64,
    activated_per_second: f64,
    answered_per_second: f64,
}

fn main() {
    let options = Options::from_arguments();
    let entities = options.scale(1_000_000, 100_000);
    if let [flag, name] = &options.rest[..]
        && flag == ROUND
    {
        let (kind, _) = KINDS.iter().find(|(kind, _)| format!("{kind:?}") == *name).expect("a kind");
        let Found { bytes_each, activated_per_second, answered_per_second } = round(*kind, entities);
        return println!("{bytes_each} {activated_per_second} {answered_per_second}");
    }
    let mut report = Report::new("memory", options.clone());
    report.show(table(&options, entities));
    report.finish();
}

fn table(options: &Options, entities: u64) -> Table {
    let watch = Watch::begin();
    let mut found: Vec<Vec<Found>> = KINDS.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for ((kind, _), found) in KINDS.iter().zip(&mut found) {
            found.push(in_a_process(*kind, options.quick));
        }
    }
    let mut table = Table::new(format!("{entities} idle activations in one process"), Unit::BytesEach, Vec::new());
    for ((kind, name), found) in KINDS.iter().zip(found) {
        let role = if *kind == Kind::Raw { Role::Limit } else { Role::Grange };
        let mut row = Row::new(role, *name, found.iter().map(|found| found.bytes_each).collect());
        let middle = |figure: fn(&Found) -> f64| Row::new(role, "", found.iter().map(figure).collect()).median();
        row.cells.push(("activated/s".into(), middle(|found| found.activated_per_second)));
        row.cells.push(("answered again/s".into(), middle(|found| found.answered_per_second)));
        table.push(row);
    }
    table.watched(&watch);
    table.goal("volatile entity", Goal::ValueAtMost(512.0));
    table.note("64 B of state each; resident memory, all of them alive, each was called twice; each round a process of its own");
    table
}

/// A round in a fresh process of this program.
fn in_a_process(kind: Kind, quick: bool) -> Found {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([ROUND, &format!("{kind:?}")]).args(quick.then_some("--quick"));
    let said = command.output().expect("a round starts");
    let said = String::from_utf8_lossy(&said.stdout);
    let figures: Vec<f64> = said.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [bytes_each, activated_per_second, answered_per_second] = figures[..] else { panic!("a round said {said:?}") };
    Found { bytes_each, activated_per_second, answered_per_second }
}

fn round(kind: Kind, entities: u64) -> Found {
    if kind == Kind::Raw {
        return actix::System::new().block_on(actors(entities));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let silo = Silo::builder().entity::<Light>().entity::<Counter>().in_memory().start().await.expect("starts");
        let client = silo.client();
        let found = measure(entities, async || touch_all(&client, entities, kind).await).await;
        assert_eq!(silo.activations() as u64, entities, "all of them are alive");
        found
    })
}

async fn measure(entities: u64, touch: impl AsyncFn()) -> Found {
    let (before, started) = (resident_bytes(), Instant::now());
    touch().await;
    let activated = started.elapsed();
    let bytes_each = resident_bytes().saturating_sub(before) as f64 / entities as f64;
    let started = Instant::now();
    touch().await;
    let again = started.elapsed();
    let rate = |took: std::time::Duration| entities as f64 / took.as_secs_f64();
    Found { bytes_each, activated_per_second: rate(activated), answered_per_second: rate(again) }
}

async fn actors(entities: u64) -> Found {
    let alive = std::cell::RefCell::new(Vec::with_capacity(entities as usize));
    measure(entities, async || {
        for number in 0..entities as usize {
            let known = alive.borrow().get(number).cloned();
            let actor: actix::Addr<Raw> = known.unwrap_or_else(|| {
                let actor = Raw::default().start();
                alive.borrow_mut().push(actor.clone());
                actor
            });
            actor.send(Add(1)).await.expect("answers");
        }
    })
    .await
}

async fn touch_all(client: &Client, entities: u64, kind: Kind) {
    let mut calls = FuturesUnordered::new();
    for number in 0..entities {
        if calls.len() >= IN_FLIGHT {
            calls.next().await;
        }
        let (light, kept) = (client.entity::<Light>(number), client.entity::<Counter>(number));
        calls.push(async move {
            let answer = if kind == Kind::Durable { kept.get().await.is_ok() } else { light.add(1).await.is_ok() };
            assert!(answer, "each of them answers");
        });
    }
    while calls.next().await.is_some() {}
}
