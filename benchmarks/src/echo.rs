//! A raw echo over loopback of frames as long as an ask: what the machine's TCP allows on one connection. With the frames
//! alone, and with a task for each caller, as any client has it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use crate::Sample;
use crate::callers::Callers;

/// An ask of `Light::add` as it travels: length, header, entity, handler, manner, number, arguments.
pub const FRAME_BYTES: usize = 62;

/// A server that gives back whatever comes, on a thread of its own.
/// # Panics
/// When there is no port.
pub fn serve() -> std::net::SocketAddr {
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
///
/// # Panics
/// When the server is not there.
pub async fn frames_alone(echo: std::net::SocketAddr, callers: Callers, operations: u64) -> Sample {
    let (callers, each) = (callers.0, callers.each(operations));
    Sample::new(callers * each, bare(callers, each, echo).await)
}

async fn bare(callers: u64, each: u64, echo: std::net::SocketAddr) -> Duration {
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

/// A task for each caller, one that writes and one that reads.
///
/// # Panics
/// When the server is not there.
pub async fn with_tasks(echo: std::net::SocketAddr, callers: Callers, operations: u64) -> Sample {
    let (callers, each) = (callers.0, callers.each(operations));
    Sample::new(callers * each, tasks(callers, each, echo).await)
}

async fn tasks(callers: u64, each: u64, echo: std::net::SocketAddr) -> Duration {
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
                let caller = u64::from_be_bytes(frame[..8].try_into().expect("eight bytes"));
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
            frame[..8].copy_from_slice(&caller.to_be_bytes());
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
