//! A local ask beside a raw `actix::Addr::send`, in the same run: sequential on the same arbiter, and 100 callers on 100
//! entities across arbiters.
//!
//! `cargo bench --bench local`

#![allow(clippy::disallowed_methods)] // real time is what is measured

use std::future::Future;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, System};
use benchmarks::{ROUNDS, interleaved, print_row};
use futures_util::future::join_all;
use grange::prelude::*;

/// The client of the first silo: in a static, as a program's own code would have it.
static CLIENT: OnceLock<Client> = OnceLock::new();

const CALLS: u32 = 100_000;
const CALLERS: u32 = 100;
const CALLS_EACH: u32 = 2_000;

#[entity(volatile, key = u64)]
#[derive(Default)]
struct Counter {
    count: u64,
    _ballast: [u64; 7],
}

#[entity]
impl Counter {
    async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }
    async fn get(&self) -> u64 {
        self.count
    }
    /// Asks another entity on this arbiter, from within a turn.
    async fn ask_neighbour(&mut self, neighbour: u64, calls: u32, turn: &mut Turn<Self>) -> Nanos {
        let neighbour = turn.entity::<Counter>(neighbour);
        let started = Instant::now();
        for _ in 0..calls {
            black_box(neighbour.add(1).await.expect("answers"));
        }
        started.elapsed().as_nanos() as Nanos
    }
    /// Asks one as any other code on this arbiter would: through a client.
    async fn ask_from_outside(&mut self, read: bool) -> Nanos {
        let counter = CLIENT.get().expect("set").entity::<Counter>(1);
        let started = Instant::now();
        for _ in 0..CALLS {
            let answer = if read { counter.get().await } else { counter.add(1).await };
            black_box(answer.expect("answers"));
        }
        started.elapsed().as_nanos() as Nanos
    }
    /// Asks a raw actor on this arbiter.
    async fn ask_raw(&mut self) -> Nanos {
        let raw = Raw::default().start();
        let started = Instant::now();
        for _ in 0..CALLS {
            black_box(raw.send(Add(1)).await.expect("answers"));
        }
        started.elapsed().as_nanos() as Nanos
    }
}

type Nanos = u64;

/// The raw actor: the same 64 bytes.
#[derive(Default)]
struct Raw {
    count: u64,
    _ballast: [u64; 7],
}

impl Actor for Raw {
    type Context = Context<Self>;
}

struct Add(u64);

impl Message for Add {
    type Result = u64;
}

impl Handler<Add> for Raw {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
        self.count += n;
        self.count
    }
}

/// Runs a future on an arbiter and waits for it.
fn on<F: Future<Output = T> + 'static, T: Send + 'static>(
    arbiter: &ArbiterHandle,
    make: impl FnOnce() -> F + Send + 'static,
) -> T {
    let (done, result) = std::sync::mpsc::channel();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            let _ = done.send(make().await);
        });
    });
    result.recv().expect("the arbiter answers")
}

const MINUTE: Duration = Duration::from_secs(60);

/// Waits for a call, from a thread that has nothing else to do.
fn wait<F: Future<Output = T> + Send + 'static, T: Send + 'static>(call: F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(call)
}

fn start(workers: usize) -> Silo {
    let builder = Silo::builder().entity::<Counter>().in_memory().workers(workers);
    let silo = wait(builder.start()).expect("starts");
    let client = silo.client();
    CLIENT.get_or_init(|| client);
    silo
}

fn main() {
    // One arbiter: every entity, and the handler that asks, are on it.
    let alone = start(1);
    sequential(&alone);
    wait(alone.shutdown()).expect("stops");
    let wide = start(2);
    let system = System::new();
    system.block_on(async { concurrent(&wide) });
    wait(wide.shutdown()).expect("stops");
}

fn sequential(silo: &Silo) {
    let driver = silo.client().entity::<Counter>(0);
    let taken = interleaved::<4>(ROUNDS, |contender| {
        let nanos = match contender {
            0 => wait(driver.ask_raw().timeout(MINUTE)),
            1 => wait(driver.ask_from_outside(false).timeout(MINUTE)),
            2 => wait(driver.ask_from_outside(true).timeout(MINUTE)),
            _ => wait(driver.ask_neighbour(2, CALLS).timeout(MINUTE)),
        };
        Duration::from_nanos(nanos.expect("answers"))
    });
    println!("one caller, same arbiter, each ask ({ROUNDS} interleaved rounds of {CALLS}):");
    print_row("  actix::Addr::send", &taken[0], CALLS, &taken[0]);
    print_row("  grange ask, volatile, `&mut self`", &taken[1], CALLS, &taken[0]);
    print_row("  grange ask, volatile, `&self`", &taken[2], CALLS, &taken[0]);
    print_row("  grange ask from a turn (deadline, chain)", &taken[3], CALLS, &taken[0]);
}

fn concurrent(silo: &Silo) {
    let client = silo.client();
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let raws: Vec<Addr<Raw>> =
        (0..CALLERS).map(|n| on(&arbiters[n as usize % 2].handle(), || async { Raw::default().start() })).collect();
    let counters: Vec<_> = (0..u64::from(CALLERS)).map(|n| client.entity::<Counter>(n)).collect();
    let callers = Arbiter::new();
    let taken = interleaved::<2>(ROUNDS, |contender| {
        let (raws, counters) = (raws.clone(), counters.clone());
        on(&callers.handle(), move || async move {
            let started = std::time::Instant::now();
            if contender == 0 {
                join_all(raws.iter().map(|raw| async move {
                    for _ in 0..CALLS_EACH {
                        raw.send(Add(1)).await.expect("answers");
                    }
                }))
                .await;
            } else {
                join_all(counters.iter().map(|counter| async move {
                    for _ in 0..CALLS_EACH {
                        counter.add(1).await.expect("answers");
                    }
                }))
                .await;
            }
            started.elapsed()
        })
    });
    let calls = CALLERS * CALLS_EACH;
    println!("\n{CALLERS} callers on {CALLERS} entities across 2 arbiters ({ROUNDS} interleaved rounds of {calls}):");
    print_row("  actix::Addr::send", &taken[0], calls, &taken[0]);
    print_row("  grange ask, volatile, `&mut self`", &taken[1], calls, &taken[0]);
}
