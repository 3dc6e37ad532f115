use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, FromRedisValue, RedisError};

use crate::servers::Process;
use crate::servers::RedisSettings;
use crate::servers::SmallDisk;
use crate::servers::free_port;
use crate::wait::{LIMIT, eventually};

/// How long one question to a Redis under test may take.
const ANSWER: Duration = Duration::from_secs(2);

/// A `redis-server` with a directory and a port of its own. Dropping it kills it and removes the directory.
#[derive(Debug)]
pub struct Redis {
    settings: RedisSettings,
    // Before the directory, so that it is dead when that is removed.
    process: Process,
    disk: Option<SmallDisk>,
    directory: tempfile::TempDir,
    port: u16,
}

impl Redis {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not on the path, or does not answer, or its disk can't be mounted.
    pub async fn start(settings: RedisSettings) -> Self {
        let (directory, port) = (tempfile::tempdir().expect("a directory for Redis"), free_port());
        let disk = settings.disk_bytes.map(|bytes| SmallDisk::mount(directory.path(), bytes));
        let process = spawn(&settings, port, &directory);
        let mut redis = Self { settings, process, disk, directory, port };
        redis.ready().await;
        redis
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a silo is told.
    pub fn url(&self) -> String {
        self.url_at(&self.address())
    }

    /// The same by way of another address, such as that of a proxy.
    pub fn url_at(&self, address: &str) -> String {
        match &self.settings.password {
            Some(password) => format!("redis://:{password}@{address}"),
            None => format!("redis://{address}"),
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, after a kill, on what it has on disk.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.settings, self.port, &self.directory);
        self.ready().await;
    }

    /// What it writes to, where that is small.
    ///
    /// # Panics
    /// When its settings say nothing of it.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a disk of its own")
    }

    /// Takes everything from its disk; it is dead before, and stays so.
    ///
    /// # Panics
    /// When the directory can't be emptied.
    pub fn lose_disk(&mut self) {
        self.kill();
        for path in self.log_files() {
            fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// Cuts the last bytes from its log, as a crash of the machine could; it is dead before, and stays so. Says how many
    /// there were to cut from.
    ///
    /// # Panics
    /// When there is no log.
    pub fn cut_log_tail(&mut self, bytes: u64) -> u64 {
        self.kill();
        let path = self.log_files().into_iter().filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max();
        let path = path.unwrap_or_else(|| panic!("no append-only file in {}", self.directory.path().display()));
        let file = OpenOptions::new().write(true).open(&path).expect("opening the log");
        let length = file.metadata().expect("the log's length").len();
        file.set_len(length.saturating_sub(bytes)).expect("cutting the log");
        length
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.directory.path().join("appendonlydir"));
        files.map(|files| files.flatten().map(|file| file.path()).collect()).unwrap_or_default()
    }

    /// One command, on a connection of its own.
    ///
    /// # Errors
    /// What Redis said, or that it can't be reached.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, RedisError> {
        let mut connection = self.connect().await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }

    /// One command that has to succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn tell(&self, words: &[&str]) {
        let said: Result<redis::Value, RedisError> = self.ask(words).await;
        said.unwrap_or_else(|error| panic!("{}: {words:?}: {error}", self.address()));
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
        redis::Client::open(self.url())?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Removes every key.
    pub async fn flush_all(&self) {
        self.tell(&["FLUSHALL"]).await;
    }

    /// Forgets every script that was loaded.
    pub async fn flush_scripts(&self) {
        self.tell(&["SCRIPT", "FLUSH"]).await;
    }

    /// Refuses writes past so much memory, from now on; 0: never.
    pub async fn limit_memory(&self, bytes: u64) {
        self.tell(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]).await;
    }

    /// How much memory it uses.
    pub async fn memory_bytes(&self) -> u64 {
        self.figure("memory", "used_memory").await
    }

    /// Follows the server at this address, which may be that of a proxy before it, and waits until it is in step.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn follow(&self, address: &str) {
        let (host, port) = address.rsplit_once(':').expect("host:port");
        self.tell(&["REPLICAOF", host, port]).await;
        let link = || async { self.info("replication").await.unwrap_or_default() };
        eventually("the replica in step", LIMIT, link, |info| info.contains("master_link_status:up")).await;
    }

    /// Becomes a primary with what it has.
    pub async fn promote(&self) {
        self.tell(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// How often each command was run since it started.
    pub async fn command_counts(&self) -> BTreeMap<String, u64> {
        let info = self.info("commandstats").await.unwrap_or_default();
        let count = |line: &str| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = figures.strip_prefix("calls=")?.split(',').next()?;
            Some((name.to_owned(), calls.parse().ok()?))
        };
        info.lines().filter_map(count).collect()
    }

    /// The entities that the agendas of this cluster name here, those that have something undelivered or a reminder; each
    /// with its wake time and what its record holds.
    ///
    /// # Panics
    /// When Redis does not answer.
    pub async fn due(&self, cluster: &str) -> Vec<String> {
        let mut connection = self.connect().await.unwrap_or_else(|error| panic!("{}: {error}", self.address()));
        let (pattern, mut cursor, mut due) = (format!("*{{{cluster}:*}}:agenda"), 0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1_000);
            let (next, agendas): (u64, Vec<String>) = scan.query_async(&mut connection).await.expect("SCAN");
            for agenda in agendas {
                let entities: Vec<(Vec<u8>, f64)> =
                    connection.zrange_withscores(&agenda, 0, -1).await.expect("ZRANGE of an agenda");
                for (entity, wake) in entities {
                    let record = [agenda.trim_end_matches("agenda").as_bytes(), b"e:", &entity].concat();
                    let fields: Vec<(Vec<u8>, Vec<u8>)> = connection.hgetall(&record).await.expect("a record");
                    let fields: Vec<_> = fields.iter().map(|(name, value)| shown(name, value)).collect();
                    due.push(format!("{} at {wake}: {}", entity.escape_ascii(), fields.join(" ")));
                }
            }
            if next == 0 {
                return due;
            }
            cursor = next;
        }
    }

    async fn figure(&self, section: &str, name: &str) -> u64 {
        let info = self.info(section).await.unwrap_or_default();
        let mut lines = info.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        lines.next().and_then(|figure| figure.parse().ok()).unwrap_or_default()
    }

    /// A section of INFO.
    ///
    /// # Errors
    /// When Redis can't be reached.
    pub async fn info(&self, section: &str) -> Result<String, RedisError> {
        self.ask(&["INFO", section]).await
    }

    async fn ready(&mut self) {
        let what = format!("an answer of Redis at {}", self.address());
        let answers = || async {
            let said: Result<String, RedisError> = self.ask(&["PING"]).await;
            said.map_err(|error| error.to_string())
        };
        let _pong = eventually(&what, LIMIT, answers, Result::is_ok).await;
    }
}

/// A field of a record, for people: short values as they are.
fn shown(name: &[u8], value: &[u8]) -> String {
    const SHOWN_BYTES: usize = 40;
    match value.len() {
        ..=SHOWN_BYTES => format!("{}={}", name.escape_ascii(), value.escape_ascii()),
        length => format!("{}=({length} bytes)", name.escape_ascii()),
    }
}

fn spawn(settings: &RedisSettings, port: u16, directory: &tempfile::TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command.args(settings.arguments(port, directory.path()));
    Process::start("redis", directory.path(), &mut command)
}
