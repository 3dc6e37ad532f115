//! Real servers for tests: each in a directory of its own, killed when its value is dropped.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One `redis-server`.
pub struct RedisServer {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    pub port: u16,
    /// The password that its own commands need.
    pub password: Option<String>,
    /// It listens with TLS only: then no command can be sent from here.
    pub encrypted: bool,
}

impl RedisServer {
    /// With an append-only file that is synced before each answer.
    pub async fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    pub async fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepare(arguments);
        server.run().await;
        server
    }

    /// Without starting it: files can be put beside its data first.
    pub fn prepare(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { directory, arguments, child: None, port: free_port(), password: None, encrypted: false }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn argue(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Starts it and waits until it answers.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new("redis-server");
        let port = if self.encrypted { "--tls-port" } else { "--port" };
        command.args([port, &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.directory.path()).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("redis-server has to be installed"));
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(Instant::now() < until, "no answer from Redis:\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn answers(&mut self) -> bool {
        if self.encrypted {
            return std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        }
        let pong = self.try_command::<String>(&["PING"]);
        pong.is_ok_and(|pong| pong == "PONG")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Stops its process, or lets it go on.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    pub fn url(&self) -> String {
        let scheme = if self.encrypted { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub fn try_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let password = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{password}127.0.0.1:{}", self.port))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection)
    }

    pub fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", self.log()))
    }

    /// How often a command was called, from `INFO commandstats`.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = self.command(&["INFO", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// The append-only files, those with the latest commands last.
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path("appendonlydir")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with(".incr.aof"));
        files.sort();
        files
    }

    /// Takes bytes off the end of the latest append-only file, as a loss of power does.
    pub fn cut(&self, bytes: u64) {
        let logs = self.logs();
        let file = File::options().write(true).open(logs.last().unwrap()).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes)).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis Cluster of three primaries.
pub async fn cluster() -> [RedisServer; 3] {
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    let mut servers = [(); 3].map(|()| RedisServer::prepare(&arguments));
    for server in &mut servers {
        // The default is the port and 10,000, which may be no port.
        let bus = free_port().to_string();
        server.argue(&["--cluster-port", &bus]);
        server.run().await;
    }
    for (server, (from, to)) in servers.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        server.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
    }
    for other in &servers[1..] {
        let bus = other.arguments.last().unwrap().as_str();
        servers[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string(), bus]);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let states: Vec<String> = servers.iter().map(|server| server.command(&["CLUSTER", "INFO"])).collect();
        if states.iter().all(|s| s.contains("cluster_state:ok") && s.contains("cluster_known_nodes:3")) {
            return servers;
        }
        assert!(Instant::now() < until, "the cluster does not come about: {states:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Moves a slot from one server of the cluster to another, with what is in it.
pub fn move_slot(servers: &[RedisServer; 3], slot: u16, from: usize, to: usize) {
    let ids: Vec<String> = servers.iter().map(|server| server.command(&["CLUSTER", "MYID"])).collect();
    let (slot, port) = (slot.to_string(), servers[to].port.to_string());
    servers[to].command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]);
    servers[from].command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]);
    loop {
        let keys: Vec<String> = servers[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        if keys.is_empty() {
            break;
        }
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        servers[from].command::<()>(&words);
    }
    for server in [&servers[to], &servers[from], &servers[3 - from - to]] {
        server.command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]);
    }
}

/// None that was given before, and none that the system gives to whoever connects: a server asks for it later.
fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
