//! A `redis-server` of one's own: the same launcher as in the framework's tests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[allow(clippy::all, missing_docs, missing_debug_implementations)]
#[path = "../../framework/tests/redis_server/mod.rs"]
mod launcher;

use launcher::RedisServer;

/// When what Redis answered is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Never: there is no append-only file.
    NoFile,
    /// Once a second.
    EverySecond,
    /// Before each answer.
    Always,
}

/// A Redis that lives as long as this value, in a directory of its own.
pub struct Redis {
    server: RedisServer,
    fsync: Fsync,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("port", &self.server.port).field("fsync", &self.fsync).finish()
    }
}

impl Redis {
    /// Starts one, and waits until it answers.
    pub async fn start(fsync: Fsync) -> Self {
        let arguments: &[&str] = match fsync {
            Fsync::NoFile => &["--appendonly", "no"],
            Fsync::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Fsync::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        };
        Self { server: RedisServer::start(arguments).await, fsync }
    }

    /// What a silo is told.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// How often each command ran since the counts were reset, those that scripts called included.
    pub fn commands(&self) -> BTreeMap<String, u64> {
        let info: String = self.server.command(&["INFO", "commandstats"]);
        let count = |line: &str| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), figures.split(',').next()?.parse().ok()?))
        };
        info.lines().filter_map(count).collect()
    }

    /// Counts commands from zero.
    pub fn reset_commands(&self) {
        self.server.command::<()>(&["CONFIG", "RESETSTAT"]);
    }

    /// Removes every key.
    pub fn clear(&self) {
        self.server.command::<()>(&["FLUSHALL"]);
    }

    /// What a report says of it: version, settings, and how long one command takes there and back.
    pub fn description(&self) -> String {
        let info: String = self.server.command(&["INFO", "server"]);
        let version =
            info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?").trim().to_owned();
        let settings = match self.fsync {
            Fsync::NoFile => "no append-only file",
            Fsync::EverySecond => "appendfsync everysec",
            Fsync::Always => "appendfsync always",
        };
        let trip = self.round_trip();
        format!(
            "Redis {version}, {settings}, on loopback; a PING takes {:.0} µs there and back",
            trip.as_secs_f64() * 1e6
        )
    }

    /// The median of many PINGs, one after the other.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn round_trip(&self) -> Duration {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("Redis answers");
        let mut trips: Vec<Duration> = (0..1_000)
            .map(|_| {
                let started = Instant::now();
                redis::cmd("PING").query::<String>(&mut connection).expect("Redis answers");
                started.elapsed()
            })
            .collect();
        trips.sort();
        trips[trips.len() / 2]
    }
}
