//! grange's own scripts through the redis crate, with nothing around them: what Redis allows at so many in flight.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Script, Value, cmd};

use crate::Sample;
use crate::callers::Callers;
use crate::servers::Redis;

const COMMIT: &str = include_str!("../../framework/src/store/redis/scripts/commit.lua");
const CLAIM: &str = include_str!("../../framework/src/store/redis/scripts/claim.lua");

/// As long as a `Counter` in MessagePack.
const STATE: [u8; 26] = [b'='; 26];
const OWNER: &str = "0192f0c1-0000-7000-8000-000000000001";
const NONCE: &str = "00000000000000000000000000000001";
const GENERATION: &str = "1764427200000";

/// Records of entities, as grange keeps them, in a cluster of their own.
#[derive(Debug, Clone)]
pub struct Bare {
    connection: MultiplexedConnection,
    entities: u64,
    commits: Arc<AtomicU64>,
    /// The version of each.
    versions: Arc<Vec<AtomicU64>>,
}

impl Bare {
    /// One connection, the scripts, and so many entities that are claimed.
    ///
    /// # Panics
    /// When Redis does not answer.
    pub async fn prepare(redis: &Redis, entities: u64) -> Self {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let client = Client::open(redis.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("Redis answers");
        for script in [COMMIT, CLAIM] {
            let _: Value = cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut connection).await.expect("loads");
        }
        let mut life = cmd("HSET");
        life.arg("grange:{bare}:life").arg("g").arg(GENERATION);
        let _: Value = life.query_async(&mut connection).await.expect("Redis answers");
        for entity in 0..entities {
            let _: Value = claim(&key(entity)).query_async(&mut connection).await.expect("Redis answers");
            let mut epoch = cmd("HSET");
            epoch.arg(key(entity)).arg("e").arg(GENERATION);
            let _: Value = epoch.query_async(&mut connection).await.expect("Redis answers");
        }
        let mut words = repeatable_commit();
        words[3] = key(0);
        let life: String = cmd(&words[0]).arg(&words[1..]).query_async(&mut connection).await.expect("it is applied");
        assert_eq!(life, GENERATION, "the commit that redis-benchmark repeats");
        let versions = Arc::new((0..entities).map(|_| AtomicU64::new(0)).collect());
        Self { connection, entities, commits: Arc::default(), versions }
    }

    /// So many commits in flight, each caller on entities of its own, one after the other.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn commits(&self, callers: Callers, operations: u64) -> Sample {
        let (bare, next) = (self.clone(), Arc::new((0..callers.0).map(AtomicU64::new).collect::<Vec<_>>()));
        let work = move |caller: u64| {
            let entity = next[caller as usize].fetch_add(callers.0, Ordering::Relaxed) % bare.entities;
            let bare = bare.clone();
            async move { bare.commit(entity).await }
        };
        callers.tasks(operations, work).await
    }

    async fn commit(mut self, entity: u64) {
        let version = self.versions[entity as usize].fetch_add(1, Ordering::Relaxed);
        let commit = format!("{:032x}", self.commits.fetch_add(1, Ordering::Relaxed) + 1);
        let command = commit_of(entity, version, &commit);
        let life: String = command.query_async(&mut self.connection).await.expect("it is applied");
        assert_eq!(life, GENERATION, "a commit of entity {entity}, version {version}");
    }

    /// So many claims in flight, each of an entity that nobody has claimed before.
    ///
    /// # Panics
    /// When Redis does not answer.
    pub async fn claims(&self, callers: Callers, operations: u64) -> Sample {
        let bare = self.clone();
        let work = move |_| {
            let new = bare.entities + bare.commits.fetch_add(1, Ordering::Relaxed);
            let mut connection = bare.connection.clone();
            async move {
                let _: Value = claim(&key(new)).query_async(&mut connection).await.expect("answers");
            }
        };
        callers.tasks(operations, work).await
    }
}

/// The same commits by `redis-benchmark`, written in C, so many in flight: as fast as Redis can be asked. `None`: it is not
/// installed. They leave version and commit as they are, so that they can be repeated.
///
/// # Panics
/// When it says nothing that can be read.
pub fn by_redis_benchmark(redis: &Redis, bare: &Bare, callers: Callers, operations: u64) -> Option<Sample> {
    let (connections, pipeline) = if callers.0 < 10 { (callers.0, 1) } else { (10, callers.0 / 10) };
    let operations = operations.max(callers.0);
    let mut command = Command::new("redis-benchmark");
    command.arg("-p").arg(redis.port().to_string()).arg("-n").arg(operations.to_string());
    command.arg("-c").arg(connections.to_string()).arg("-P").arg(pipeline.to_string());
    command.arg("-r").arg(bare.entities.to_string()).arg("--csv").args(repeatable_commit());
    let said = command.output().ok()?.stdout;
    let said = String::from_utf8_lossy(&said);
    // "test","rps",… and a line of figures
    let rate = said.lines().last().and_then(|line| line.split("\",\"").nth(1)?.trim_matches('"').parse::<f64>().ok());
    let rate = rate.unwrap_or_else(|| panic!("redis-benchmark said {said:?}"));
    Some(Sample::new(operations, Duration::from_secs_f64(operations as f64 / rate)))
}

/// The words of a commit of any of the entities.
fn repeatable_commit() -> Vec<String> {
    let key = "grange:{bare}:e:7:Counter__rand_int__";
    let state = String::from_utf8_lossy(&STATE).into_owned();
    let words = [
        "EVALSHA",
        digest(COMMIT),
        "2",
        key,
        "grange:{bare}:life",
        OWNER,
        NONCE,
        GENERATION,
        GENERATION,
        "0",
        "V",
        "1",
        "C",
        NONCE,
        "w",
        "",
        "s",
        &state,
    ];
    words.map(str::to_owned).to_vec()
}

fn digest(script: &'static str) -> &'static str {
    static DIGESTS: LazyLock<[String; 2]> =
        LazyLock::new(|| [COMMIT, CLAIM].map(|script| Script::new(script).get_hash().to_owned()));
    &DIGESTS[usize::from(script == CLAIM)]
}

fn key(entity: u64) -> String {
    format!("grange:{{bare}}:e:7:Counter{entity:012}")
}

fn claim(key: &str) -> Cmd {
    let mut claim = cmd("EVALSHA");
    claim.arg(digest(CLAIM)).arg(2).arg(key).arg("grange:{bare}:life");
    claim.arg(OWNER).arg(NONCE).arg(GENERATION).arg("");
    claim
}

fn commit_of(entity: u64, version: u64, commit: &str) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(digest(COMMIT)).arg(2).arg(key(entity)).arg("grange:{bare}:life");
    command.arg(OWNER).arg(NONCE).arg(GENERATION).arg(GENERATION);
    command.arg(version).arg("v").arg(version + 1).arg("c").arg(commit).arg("w").arg("").arg("s").arg(&STATE[..]);
    command
}
