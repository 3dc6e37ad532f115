use crate::servers::ports::BUS;
use crate::servers::{Redis, RedisSettings};
use crate::wait::{LIMIT, eventually};

/// Slots of a Redis Cluster, by its specification.
const SLOTS: usize = 16_384;

/// A Redis Cluster of masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts so many masters, gives each its share of the slots, and waits until all agree.
    ///
    /// # Panics
    /// When they don't.
    pub async fn start(masters: usize, settings: RedisSettings) -> Self {
        let settings = RedisSettings { is_cluster_node: true, ..settings };
        let mut nodes = Vec::new();
        for _ in 0..masters {
            nodes.push(Redis::start(settings.clone()).await);
        }
        for (number, node) in nodes.iter().enumerate() {
            let (from, to) = (SLOTS * number / masters, SLOTS * (number + 1) / masters - 1);
            node.tell(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await;
            // Each an epoch of its own, as `redis-cli --cluster create` does: else they have to settle it first.
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
        }
        let (first, others) = nodes.split_first().expect("a Redis Cluster has at least one master");
        for node in others {
            let (port, bus) = (node.port(), node.port() + BUS);
            first.tell(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()]).await;
        }
        let cluster = Self { nodes };
        cluster.agree().await;
        cluster
    }

    /// Waits until every node sees all slots served and all nodes known.
    ///
    /// # Panics
    /// When they don't.
    pub async fn agree(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            let what = format!("the Redis Cluster as {} sees it", node.address());
            let look = || async { node.ask::<String>(&["CLUSTER", "INFO"]).await.unwrap_or_default() };
            eventually(&what, LIMIT, look, |info| info.contains("cluster_state:ok") && info.contains(&known)).await;
        }
    }

    /// What a silo is told: all of them, with commas between.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }
}
