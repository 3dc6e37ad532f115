//! A remote ask over loopback on one connection, beside a raw echo of frames as long, in the same run: with the frames alone,
//! and with a task for each caller, as any client has it.
//!
//! `cargo bench --bench remote`

#![allow(clippy::disallowed_methods)] // real time is what is measured

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use benchmarks::{ROUNDS, print_row};
use futures_util::future::join_all;
use grange::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

const CALLS_EACH: u32 = 2_000;

/// An ask of `Counter::add` as it travels: length, header, entity, handler, manner, number, arguments.
const FRAME_BYTES: usize = 62;

#[entity(volatile, key = u64)]
#[derive(Default)]
struct Counter {
    count: u64,
}

#[entity]
impl Counter {
    async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let silo = Silo::builder().entity::<Counter>().in_memory().listen("127.0.0.1:0").workers(1);
        let silo = silo.start().await.expect("starts");
        let client = Client::connect([silo.address().expect("it listens")]).await.expect("connects");
        let echo = serve_echo();
        for callers in [1, 100, 1_000] {
            let each = if callers == 1 { CALLS_EACH * 5 } else { CALLS_EACH * 100 / callers };
            let [bare, tasks, grange] = interleaved(callers, each, echo, &client).await;
            let calls = callers * each;
            println!("\n{callers} callers, one connection ({ROUNDS} interleaved rounds of {calls}):");
            print_row("  raw echo, frames alone", &bare, calls, &tasks);
            print_row("  raw echo, a task each", &tasks, calls, &tasks);
            print_row("  grange ask, volatile, `&mut self`", &grange, calls, &tasks);
        }
        silo.shutdown().await.expect("stops");
    });
}

async fn interleaved(callers: u32, each: u32, echo: std::net::SocketAddr, client: &Client) -> [Vec<Duration>; 3] {
    let mut taken: [Vec<Duration>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let times =
            [bare(callers, each, echo).await, with_tasks(callers, each, echo).await, asks(callers, each, client).await];
        // The first one warms up.
        if round > 0 {
            taken.iter_mut().zip(times).for_each(|(taken, time)| taken.push(time));
        }
    }
    taken.iter_mut().for_each(|taken| taken.sort());
    taken
}

/// A server that gives back whatever comes, on a thread of its own.
fn serve_echo() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("a socket");
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                        if socket.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    });
    address
}

/// So many frames on their way at a time, with nobody who waits for each.
async fn bare(callers: u32, each: u32, echo: std::net::SocketAddr) -> Duration {
    let mut socket = TcpStream::connect(echo).await.expect("connects");
    socket.set_nodelay(true).expect("a socket");
    let frames = (callers * each) as usize;
    let started = Instant::now();
    let mut out = vec![7; callers as usize * FRAME_BYTES];
    let (mut sent, mut received, mut buffer) = (callers as usize, 0, vec![0; 64 << 10]);
    while received < frames * FRAME_BYTES {
        if !out.is_empty() {
            socket.write_all(&out).await.expect("writes");
        }
        let before = received / FRAME_BYTES;
        received += socket.read(&mut buffer).await.expect("reads");
        let next = (received / FRAME_BYTES - before).min(frames - sent);
        sent += next;
        out.clear();
        out.resize(next * FRAME_BYTES, 7);
    }
    started.elapsed()
}

/// What the callers share: their frames that wait to be written, and who waits for which.
#[derive(Default)]
struct Shared {
    out: Mutex<Vec<u8>>,
    waiting: Mutex<Vec<Option<oneshot::Sender<()>>>>,
    ready: Notify,
}

async fn with_tasks(callers: u32, each: u32, echo: std::net::SocketAddr) -> Duration {
    let socket = TcpStream::connect(echo).await.expect("connects");
    socket.set_nodelay(true).expect("a socket");
    let (mut reading, mut writing) = socket.into_split();
    let shared = Arc::new(Shared::default());
    shared.waiting.lock().expect("whole").resize_with(callers as usize, || None);
    let writer = shared.clone();
    let writer = tokio::spawn(async move {
        loop {
            writer.ready.notified().await;
            loop {
                let out = std::mem::take(&mut *writer.out.lock().expect("whole"));
                if out.is_empty() {
                    break;
                }
                writing.write_all(&out).await.expect("writes");
            }
        }
    });
    let reader = shared.clone();
    let reader = tokio::spawn(async move {
        let mut frame = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = reading.read(&mut buffer).await {
            frame.extend_from_slice(&buffer[..read]);
            let whole = frame.len() / FRAME_BYTES * FRAME_BYTES;
            let mut waiting = reader.waiting.lock().expect("whole");
            for frame in frame[..whole].chunks(FRAME_BYTES) {
                let caller = u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
                if let Some(answer) = waiting[caller as usize].take() {
                    let _ = answer.send(());
                }
            }
            drop(waiting);
            frame.drain(..whole);
        }
    });
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut frame = [7; FRAME_BYTES];
            frame[..4].copy_from_slice(&caller.to_be_bytes());
            for _ in 0..each {
                let (answer, answered) = oneshot::channel();
                shared.waiting.lock().expect("whole")[caller as usize] = Some(answer);
                shared.out.lock().expect("whole").extend_from_slice(&frame);
                shared.ready.notify_one();
                answered.await.expect("answers");
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.expect("ends well"));
    let elapsed = started.elapsed();
    writer.abort();
    reader.abort();
    elapsed
}

async fn asks(callers: u32, each: u32, client: &Client) -> Duration {
    let counters: Vec<_> = (0..u64::from(callers)).map(|key| client.entity::<Counter>(key)).collect();
    let started = Instant::now();
    let tasks = counters.into_iter().map(|counter| {
        tokio::spawn(async move {
            for _ in 0..each {
                counter.add(1).await.expect("answers");
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.expect("ends well"));
    started.elapsed()
}
