use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use benchmarks::Sample;
use benchmarks::callers::Callers;
use benchmarks::processes::Running;

/// Another framework, and how it is run.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Its driver, in the workspace of peers.
    program: &'static str,
    /// What its driver is told before the port; `true`: and the address of a Redis after it.
    settings: &'static [&'static str],
    needs_redis: bool,
    /// What it does not do, of what grange does.
    pub(crate) note: &'static str,
    /// Its rate is to be no more than this share of grange's.
    pub(crate) share_at_most: Option<f64>,
}

pub(crate) const PEERS: [Peer; 7] = [
    Peer {
        name: "rio-rs, placement in memory",
        program: "peer-rio",
        settings: &["memory"],
        needs_redis: false,
        note: "virtual. A client, and so a connection, for each caller: a shared one holds a lock while it waits. With this \
               placement there can be one server only. No deadlines, no recognition of repeats.",
        share_at_most: Some(1.0 / 4.0),
    },
    Peer {
        name: "rio-rs, placement in Redis",
        program: "peer-rio",
        settings: &["redis"],
        needs_redis: true,
        note: "virtual, and asks Redis for each message where its entity is. The same client; an id can have two \
               activations, because placement is read and then written.",
        share_at_most: Some(1.0 / 20.0),
    },
    Peer {
        name: "elfo",
        program: "peer-elfo",
        settings: &[],
        needs_redis: false,
        note: "not virtual: an actor is where its group is, and nothing moves it. One connection for all callers. No \
               placement, no stored state, no recognition of repeats.",
        share_at_most: Some(0.667),
    },
    Peer {
        name: "ractor_cluster",
        program: "peer-ractor",
        settings: &[],
        needs_redis: false,
        note: "not virtual: the server spawned all actors, and each is mirrored in the client's node. One connection. No \
               placement, no stored state, no recognition of repeats.",
        share_at_most: None,
    },
    Peer {
        name: "kameo, over TCP",
        program: "peer-kameo",
        settings: &["tcp"],
        needs_redis: false,
        note: "not virtual: the server spawned all actors, and the client looked each up once, by name. One connection, \
               encrypted, and a stream in it for each ask. No placement, no stored state, no recognition of repeats.",
        share_at_most: None,
    },
    Peer {
        name: "kameo, over QUIC",
        program: "peer-kameo",
        settings: &["quic"],
        needs_redis: false,
        note: "the same but for the transport.",
        share_at_most: None,
    },
    Peer {
        name: "orlando",
        program: "peer-orlando",
        settings: &[],
        needs_redis: false,
        note: "virtual, placed by a ring of hashes, over gRPC. A caller joins the ring and owns entities, too; only those of \
               the other process are asked. It repeats what timed out without recognising it.",
        share_at_most: None,
    },
];

impl Peer {
    /// Starts its two processes; nothing if they were not built.
    pub(crate) fn start(&self, redis: &str) -> Option<Driver> {
        let program = self.program().filter(|_| self.is_built())?;
        let port = free_ports().to_string();
        let process = |role: &str| {
            let mut command = Command::new(&program);
            command.arg(role).args(self.settings).arg(&port);
            if self.needs_redis {
                command.arg(redis);
            }
            Running::start(&mut command)
        };
        let server = process("server");
        Some(Driver { _server: server, client: process("client") })
    }

    pub(crate) fn is_built(&self) -> bool {
        self.program().is_some_and(|program| program.is_file())
    }

    fn program(&self) -> Option<PathBuf> {
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release").join(self.program))
    }
}

/// A port that is free, and so is the next one.
fn free_ports() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        if TcpListener::bind(("127.0.0.1", port.saturating_add(1))).is_ok() {
            return port;
        }
    }
}

/// A framework's server and client, each a process.
pub(crate) struct Driver {
    _server: Running,
    client: Running,
}

impl Driver {
    /// grange itself, in the same way.
    pub(crate) fn grange() -> Self {
        let server = Running::again(&["server"]);
        let client = Running::again(&["client", server.said()]);
        Self { _server: server, client }
    }

    /// Has the client make so many asks.
    pub(crate) fn round(&mut self, callers: Callers, operations: u64) -> Sample {
        let each = callers.each(operations);
        let said = self.client.ask(&format!("{} {each}", callers.0));
        let nanos = said.parse().unwrap_or_else(|_| panic!("nanoseconds, and not `{said}`"));
        Sample::new(each * callers.0, Duration::from_nanos(nanos))
    }
}

/// Of the peers' crates, as their lock file has them.
pub(crate) fn versions() -> String {
    const LOCK: &str = include_str!("../../../peers/Cargo.lock");
    let names = ["elfo", "kameo", "libp2p", "orlando-cluster", "ractor_cluster", "rio-rs", "tokio"];
    let version = |name: &str| {
        let package = LOCK.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
        Some(format!("{name} {}", package.lines().find_map(|line| line.strip_prefix("version = "))?.trim_matches('"')))
    };
    format!("peers: {}", names.into_iter().filter_map(version).collect::<Vec<_>>().join(", "))
}
