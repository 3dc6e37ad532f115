use std::fmt;
use std::path::Path;

/// When the append-only file is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before each reply.
    Always,
    /// Once a second.
    EverySecond,
    /// When the system pleases.
    No,
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
            Self::No => "no",
        })
    }
}

/// What a Redis server is to be.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Whether there is an append-only file, and when it is durable.
    pub append_only: Option<Fsync>,
    /// Refuse writes past so much memory; nothing is ever evicted.
    pub memory_bytes_max: Option<u64>,
    /// Ask clients for this.
    pub password: Option<String>,
    /// A node of a Redis Cluster.
    pub is_cluster_node: bool,
    /// Keep the log on a disk of its own, of so many bytes: for root.
    pub disk_bytes: Option<u64>,
}

impl Default for RedisSettings {
    /// The reference setup: one server that makes everything durable before it answers.
    fn default() -> Self {
        Self {
            append_only: Some(Fsync::Always),
            memory_bytes_max: None,
            password: None,
            is_cluster_node: false,
            disk_bytes: None,
        }
    }
}

impl RedisSettings {
    pub(crate) fn arguments(&self, port: u16, directory: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut set = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        set("port", port.to_string());
        set("bind", "127.0.0.1".into());
        set("dir", directory.display().to_string());
        set("save", String::new());
        set("daemonize", "no".into());
        set("maxmemory-policy", "noeviction".into());
        // A replica that was cut off follows at once when it can.
        set("repl-diskless-sync-delay", "0".into());
        set("appendonly", if self.append_only.is_some() { "yes" } else { "no" }.into());
        if let Some(fsync) = self.append_only {
            set("appendfsync", fsync.to_string());
        }
        if let Some(bytes) = self.memory_bytes_max {
            set("maxmemory", bytes.to_string());
        }
        if let Some(password) = &self.password {
            set("requirepass", password.clone());
            set("masterauth", password.clone());
        }
        if self.is_cluster_node {
            set("cluster-enabled", "yes".into());
            set("cluster-node-timeout", "2000".into());
        }
        arguments
    }
}
