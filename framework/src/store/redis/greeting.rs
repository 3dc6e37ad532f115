//! What is said first on each connection.

use std::collections::HashMap;

use redis::Value;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{cmd, pipe};
use uuid::Uuid;

use super::faults::{answered, failed, unreadable};
use super::server::{Server, away, unanswered};
use super::setup::Setup;
use crate::store::StoreError;
use crate::wire::Partition;

/// The first version that runs scripts beginning with `#!lua`, which are refused before they start or not at all.
const VERSION_MIN: u32 = 7;
/// Lives looked at in one go.
const LIVES_MAX: usize = 512;

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Greeting {
    info: HashMap<String, String>,
}

impl Greeting {
    pub(super) async fn read(connection: &mut MultiplexedConnection, server: &Server) -> Result<Self, StoreError> {
        let info = connection.req_packed_command(&cmd("INFO")).await.map_err(|error| unanswered(server, &error))?;
        let text = match info {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::VerbatimString { text, .. } => text,
            Value::ServerError(error) => return Err(answered(server, &error)),
            _ => return Err(unreadable(server)),
        };
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(Self { info: lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() })
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.info.get(name).is_some_and(|found| found == value)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is("cluster_enabled", "1")
    }

    /// Whether it can be written to at all.
    pub(super) fn check_primary(&self, server: &Server) -> Result<(), StoreError> {
        if self.is("role", "slave") {
            let reason = format!("Redis at {server} is a replica: name the primary in the URL").into();
            return Err(StoreError::Refused { reason });
        }
        if self.is("loading", "1") {
            return Err(away(server, &"it is still reading its data"));
        }
        Ok(())
    }

    /// Whether it is one that grange can use.
    pub(super) fn check_version(&self, server: &Server) -> Result<(), StoreError> {
        let version = self.info.get("redis_version").map_or("", String::as_str);
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < VERSION_MIN) {
            return Err(failed(format!(
                "Redis at {server} is version {version}: grange needs {VERSION_MIN}.0 or newer"
            )));
        }
        Ok(())
    }

    /// Says what is dangerous about it.
    pub(super) fn warn_of(&self, server: &Server) {
        if let Some(policy) = self.info.get("maxmemory_policy").filter(|policy| *policy != "noeviction") {
            tracing::warn!(%server, policy, "Redis deletes data when its memory is full: set maxmemory-policy noeviction");
        }
        if self.is("aof_enabled", "0") {
            tracing::warn!(
                %server,
                "Redis keeps no append-only file: a restart loses what was written since the last snapshot; \
                 set appendonly yes and appendfsync always"
            );
        }
    }
}

/// What a look at the lives found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Same,
    /// One has ended.
    Moved,
}

impl Setup {
    pub(super) async fn load_scripts(
        &self,
        connection: &mut MultiplexedConnection,
        server: &Server,
    ) -> Result<(), StoreError> {
        let mut loads = pipe();
        for script in self.scripts.all() {
            loads.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        let answers = connection.send_packed_commands(&loads, 0, loads.len()).await;
        for answer in answers.map_err(|error| away(server, &error))? {
            if let Value::ServerError(error) = answer {
                return Err(answered(server, &error));
            }
        }
        Ok(())
    }

    /// Sees which life the data of each of these partitions is in, and begins a new one where the server is another
    /// than it was, or has lost its data.
    pub(super) async fn look_at_lives(
        &self,
        connection: &mut MultiplexedConnection,
        server: &Server,
        partitions: &[Partition],
    ) -> Result<Watched, StoreError> {
        let (mut missing, mut moved) = (false, false);
        for some in partitions.chunks(LIVES_MAX) {
            let mut looks = pipe();
            for partition in some {
                let fresh = Uuid::new_v4().as_u64_pair().0 % 1024;
                looks.cmd("EVALSHA").arg(&self.scripts.life.digest).arg(1).arg(self.life_key(*partition)).arg(fresh);
            }
            let answers = connection.send_packed_commands(&looks, 0, looks.len()).await;
            for (answer, partition) in answers.map_err(|error| away(server, &error))?.into_iter().zip(some) {
                if let Value::ServerError(error) = &answer {
                    if error.code() == "NOSCRIPT" {
                        self.load_scripts(connection, server).await?;
                        return Box::pin(self.look_at_lives(connection, server, partitions)).await;
                    }
                    return Err(answered(server, error));
                }
                let (life, found): (u64, String) =
                    redis::from_redis_value(answer).map_err(|_| unreadable(&self.life_key(*partition)))?;
                let changed = self.lives.see(*partition, life);
                missing |= changed && found == "missing";
                moved |= changed;
            }
        }
        if missing {
            tracing::error!(%server, "Redis was emptied: what was stored there is lost; everything begins anew");
        } else if moved {
            tracing::warn!(
                %server,
                "Redis has begun a new life: it was restarted or failed over, and may have lost what it answered for last; \
                 all entities are loaded again"
            );
        }
        if moved {
            self.lives.end();
        }
        Ok(if moved { Watched::Moved } else { Watched::Same })
    }
}
