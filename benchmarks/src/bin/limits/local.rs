use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, System};
use benchmarks::arbiter::Driver;
use benchmarks::callers::Callers;
use benchmarks::local::{Local, sends};
use benchmarks::raw::{Add, Raw};
use benchmarks::subjects::{Light, asks};
use benchmarks::{Case, Goal, Options, Role, Row, Table, Unit, allocations, rounds};
use grange::prelude::*;

use crate::Bench;

const RAW: &str = "actix Addr::send";
const ASK: &str = "ask, volatile, `&mut self`";
const READ: &str = "ask, volatile, `&self`";

pub(crate) fn alone(bench: &Bench, title: &str) -> Table {
    same_arbiter(bench, title, Callers(1), 1.3)
}

pub(crate) fn together(bench: &Bench, title: &str) -> Table {
    same_arbiter(bench, title, Callers(100), 1.1)
}

fn same_arbiter(bench: &Bench, title: &str, callers: Callers, goal: f64) -> Table {
    let silo = bench.runtime.block_on(silo(1));
    let client = silo.client();
    let run = |local: Local, operations| local.on_arbiter(&bench.runtime, &client, callers, operations);
    let cases = vec![
        Case::limit(RAW, |operations| run(Local::Send, operations)),
        Case::grange(ASK, |operations| run(Local::Ask, operations)),
        Case::grange(READ, |operations| run(Local::AskRead, operations)),
    ];
    let mut table = Table::new(title, Unit::NanosEach, rounds(&bench.options, cases));
    table.goal(ASK, Goal::RatioAtMost(goal));
    for (local, row) in [(Local::Send, RAW), (Local::Ask, ASK), (Local::AskRead, READ)] {
        let (allocated, sample) = allocations::count(|| run(local, 50_000));
        table.cell(row, "allocations", allocated as f64 / sample.operations as f64);
    }
    table.note("goal for allocations of a warm ask: at most 3");
    bench.runtime.block_on(silo.shutdown()).expect("stops");
    table
}

async fn silo(workers: usize) -> Silo {
    let silo = Silo::builder().entity::<Driver>().entity::<Light>().in_memory().workers(workers);
    silo.start().await.expect("starts")
}

pub(crate) fn across(bench: &Bench, title: &str) -> Table {
    let silo = bench.runtime.block_on(silo(2));
    let (client, options, title) = (silo.client(), bench.options.clone(), title.to_owned());
    // A system of its own: raw actors need one, and its arbiters.
    let thread =
        std::thread::spawn(move || System::new().block_on(async { across_in_system(&client, &options, &title) }));
    let table = thread.join().expect("ends well");
    bench.runtime.block_on(silo.shutdown()).expect("stops");
    table
}

fn across_in_system(client: &Client, options: &Options, title: &str) -> Table {
    let callers = Callers(100);
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let actor = |number: u64| on(&arbiters[number as usize % 2].handle(), async || Raw::default().start());
    let actors: Vec<Addr<Raw>> = (0..callers.0).map(actor).collect();
    let caller = Arbiter::new();
    let run = |local: Local, operations| {
        let (client, actors) = (client.clone(), actors.clone());
        on(&caller.handle(), async move || match local {
            Local::Send => sends(&actors, callers, operations).await,
            _ => local.work(&client, callers, operations).await,
        })
    };
    let cases = vec![
        Case::limit(RAW, |operations| run(Local::Send, operations)),
        Case::grange(ASK, |operations| run(Local::Ask, operations)),
        Case::grange(READ, |operations| run(Local::AskRead, operations)),
    ];
    let mut table = Table::new(title, Unit::NanosEach, rounds(options, cases));
    table.goal(ASK, Goal::RatioAtMost(1.0));
    table.note("callers and arbiters are three threads");
    if let Some(hop) = hop(&actors[0], &caller) {
        table.push(hop);
    }
    table
}

/// As from the web server that has the silo in its process.
pub(crate) fn from_outside(bench: &Bench, title: &str) -> Table {
    let callers = Callers(100);
    let silo = bench.runtime.block_on(silo(1));
    let client = silo.client();
    let (started, actors) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        System::new().block_on(async move {
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let actors: Vec<_> = (0..callers.0).map(|_| Raw::default().start()).collect();
            let _ = started.send((actors, stop));
            let _ = stopped.await;
        });
    });
    let (actors, stop) = actors.recv().expect("they start");
    let actors = Arc::new(actors);
    let sends = |operations| {
        let actors = actors.clone();
        let send = move |caller: u64| {
            let actor = actors[caller as usize].clone();
            async move {
                black_box(actor.send(Add(1)).await.expect("answers"));
            }
        };
        bench.runtime.block_on(callers.tasks(operations, send))
    };
    let asks = |operations| bench.runtime.block_on(asks(&client, callers, callers.0, operations));
    let cases = vec![Case::limit(RAW, sends), Case::grange(ASK, asks)];
    let mut table = Table::new(title, Unit::NanosEach, rounds(&bench.options, cases));
    table.note("callers are tasks of a tokio runtime of one thread, all that they call is on one arbiter: two threads");
    let _ = stop.send(());
    thread.join().expect("ends well");
    bench.runtime.block_on(silo.shutdown()).expect("stops");
    table
}

/// One message there and back, with nothing else to do: what waking a thread costs here.
fn hop(actor: &Addr<Raw>, caller: &Arbiter) -> Option<Row> {
    let once = |actor: Addr<Raw>| async move {
        let started = Instant::now();
        actor.send(Add(1)).await.ok()?;
        Some(started.elapsed())
    };
    let hops: Option<Vec<Duration>> = (0..7)
        .map(|_| {
            let actor = actor.clone();
            on(&caller.handle(), move || once(actor))
        })
        .collect();
    let hops = hops?.iter().map(|hop| hop.as_nanos() as f64).collect();
    Some(Row::new(Role::Limit, "one send across arbiters that sleep", hops))
}

/// Runs a future on an arbiter, and waits for it on this thread.
fn on<F, T>(arbiter: &ArbiterHandle, make: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (done, result) = std::sync::mpsc::channel();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            let _ = done.send(make().await);
        });
    });
    result.recv().expect("the arbiter answers")
}
