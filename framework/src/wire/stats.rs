use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One line of log for a cause in this time: a stranger must not be able to fill a disk.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Names each cause once, for the counter, the snapshot and the log.
macro_rules! causes { ($($(#[$doc:meta])* $variant:ident $name:literal),* $(,)?) => {
    /// Why a peer was refused, or its connection ended by us.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Cause { $($(#[$doc])* $variant),* }

    impl Cause {
        const ALL: &[(Cause, &str)] = &[$((Cause::$variant, $name)),*];
    }
} }

causes! {
    /// There are as many connections as there may be.
    Connections "connections",
    /// … from this address.
    ConnectionsOfIp "connections_of_ip",
    /// The handshake was not over in time.
    Slow "slow_handshake",
    /// What came was no handshake of grange.
    NotGrange "not_grange",
    /// It could not prove that it knows the secret.
    Untrusted "untrusted",
    /// TLS failed: no certificate, one of another authority, another name.
    Tls "tls",
    /// Another cluster.
    Cluster "cluster",
    /// No protocol version in common.
    Protocol "protocol",
    /// A role that does not exist.
    Role "role",
    /// An incarnation that is dead, and does not come back.
    Dead "dead",
    /// It said goodbye, or was cut, during the handshake.
    Cut "cut",
    /// Bytes or messages that the protocol does not have.
    Violation "violation",
    /// It took no bytes for too long.
    Stalled "stalled",
    /// It sent nothing, nor answered pings.
    Silent "silent",
    /// The operating system would not accept a connection.
    System "system",
}

const CAUSES: usize = Cause::ALL.len();

/// What the wire of this process did since it started.
#[derive(Debug, Default)]
pub(crate) struct WireStats {
    /// Connections accepted, with a handshake that succeeded.
    pub(crate) accepted: AtomicU64,
    /// Connections made.
    pub(crate) connected: AtomicU64,
    /// Connections that ended, whatever the reason.
    pub(crate) closed: AtomicU64,
    /// Frames read, pings included.
    pub(crate) frames_in: AtomicU64,
    /// Frames written.
    pub(crate) frames_out: AtomicU64,
    /// Bytes of frames read.
    pub(crate) bytes_in: AtomicU64,
    /// Bytes of frames written.
    pub(crate) bytes_out: AtomicU64,
    refused: [AtomicU64; CAUSES],
    logged: Mutex<[Option<Logged>; CAUSES]>,
}

#[derive(Debug, Clone, Copy)]
struct Logged {
    at: Instant,
    counted: u64,
}

impl WireStats {
    /// Counts a refusal and tells the log of it: once a second for each cause, with the number of those left out.
    pub(crate) fn refuse(&self, cause: Cause, peer: &dyn Display, why: &dyn Display) {
        let Some(counter) = self.refused.get(cause as usize) else { return };
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let before = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(logged) = logged.get_mut(cause as usize) else { return };
            if logged.is_some_and(|logged| now.duration_since(logged.at) < LOG_EVERY) {
                return;
            }
            logged.replace(Logged { at: now, counted: count })
        };
        let left_out = count.saturating_sub(before.map_or(0, |before| before.counted)).saturating_sub(1);
        tracing::warn!(%peer, ?cause, left_out, "refused: {why}");
    }

    /// How many were refused for this cause.
    pub(crate) fn refused(&self, cause: Cause) -> u64 {
        self.refused.get(cause as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Every counter with its name, for an exporter.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let plain = [
            ("accepted", &self.accepted),
            ("connected", &self.connected),
            ("closed", &self.closed),
            ("frames_in", &self.frames_in),
            ("frames_out", &self.frames_out),
            ("bytes_in", &self.bytes_in),
            ("bytes_out", &self.bytes_out),
        ];
        let plain = plain
            .into_iter()
            .map(|(name, counter)| (format!("grange_wire_{name}_total"), counter.load(Ordering::Relaxed)));
        let refused =
            Cause::ALL.iter().map(|(cause, name)| (format!("grange_wire_refused_{name}_total"), self.refused(*cause)));
        plain.chain(refused)
    }
}
