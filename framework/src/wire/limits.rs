use std::time::Duration;

/// Bounds on what a connection may take, and for how long it may take it.
#[derive(Debug, Clone)]
pub(crate) struct WireLimits {
    /// The largest frame that is sent or read, header included. Each side tells the other its own; the smaller holds.
    /// Larger ones would hold up all the others on the connection.
    pub(crate) frame_bytes_max: usize,
    /// What may wait for a slow reader in one connection. Past it `send` says `Full`.
    pub(crate) queued_bytes_max: usize,
    /// How much is read at once.
    pub(crate) read_chunk_bytes: usize,
    /// How long a host has to accept the connection.
    pub(crate) connect_timeout: Duration,
    /// How long the whole handshake may take, TLS included: a peer that drips bytes is gone after it.
    pub(crate) handshake_timeout: Duration,
    /// Silence of this length is asked about with a ping.
    pub(crate) ping_every: Duration,
    /// The connection ends when so many pings in a row brought nothing back, of any kind.
    pub(crate) pings_missed_max: u32,
    /// The connection ends when bytes wait and the peer has taken none for so long.
    pub(crate) write_stall_max: Duration,
    /// How long one frame may take to arrive, once it has begun.
    pub(crate) frame_time_max: Duration,
    /// How long a closing connection may take to hand over what is queued.
    pub(crate) linger: Duration,
    /// Accepted connections that there may be at once.
    pub(crate) connections_max: usize,
    /// … and from one address.
    pub(crate) connections_per_ip_max: usize,
    /// Handshakes under way from one address.
    pub(crate) handshakes_per_ip_max: usize,
    /// Failed authentications of one address in [`penalty_window`](Self::penalty_window) after which its handshakes wait.
    pub(crate) failures_per_ip_max: u32,
    /// How long failures are remembered.
    pub(crate) penalty_window: Duration,
    /// How long a handshake waits that comes from an address with too many failures. It waits and is not refused:
    /// behind one address may be a whole rack, and one of its programs with the wrong secret.
    pub(crate) penalty: Duration,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 4 << 20,
            queued_bytes_max: 16 << 20,
            read_chunk_bytes: 32 << 10,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            ping_every: Duration::from_secs(1),
            pings_missed_max: 3,
            write_stall_max: Duration::from_secs(10),
            frame_time_max: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            connections_max: 10_000,
            connections_per_ip_max: 1_000,
            handshakes_per_ip_max: 100,
            failures_per_ip_max: 10,
            penalty_window: Duration::from_secs(10),
            penalty: Duration::from_secs(1),
        }
    }
}
