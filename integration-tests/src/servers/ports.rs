//! Ports for servers that are stopped and started again at the same address.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system takes ports for outgoing connections: else one of those could sit on the port
/// of a server while it is down.
const FIRST: u16 = 10_000;
const COUNT: u16 = 12_000;

/// How far above its port a Redis Cluster node listens for the others.
pub(crate) const BUS: u16 = 10_000;

/// How far into the range this process is.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens at, and the one so far above it that a cluster node uses for its bus likewise.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // Processes that run at the same time begin at different places.
    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if is_free(port) && is_free(port + BUS) {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
