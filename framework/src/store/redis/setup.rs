use std::sync::Arc;
use std::time::Duration;

use super::keys::Keys;
use super::lives::Lives;
use super::scripts::Scripts;
use super::server::Access;
use crate::wire::Partition;

/// What all connections of one thread have in common.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) access: Access,
    pub(super) keys: Arc<Keys>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) lives: Arc<Lives>,
    pub(super) partitions: u16,
    pub(super) response_timeout: Duration,
    /// The servers form a Redis Cluster.
    pub(super) clustered: bool,
    /// The log hears when a connection is lost or made again: not from each arbiter.
    pub(super) speaks: bool,
}

impl Setup {
    /// Where the life of this partition's data is written.
    pub(super) fn life_key(&self, partition: Partition) -> &str {
        if self.clustered { self.keys.partition_life(partition) } else { self.keys.server_life() }
    }
}
