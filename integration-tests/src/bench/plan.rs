use crate::load::Pace;
use crate::servers::{Redis, RedisCluster, RedisSettings};

/// What a bench is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many silos there are at first.
    pub silos: usize,
    /// How Redis is.
    pub redis: RedisSettings,
    /// How many masters share the store; 1: a single server, no Redis Cluster.
    pub masters: usize,
    /// Whether there are proxies: one before the store and one before the door for each silo.
    pub has_proxies: bool,
    /// How much the load does.
    pub pace: Pace,
}

impl Default for Plan {
    fn default() -> Self {
        Self { silos: 3, redis: RedisSettings::default(), masters: 1, has_proxies: false, pace: Pace::default() }
    }
}

/// What silos keep everything in.
#[derive(Debug)]
pub enum Store {
    /// One server.
    Single(Redis),
    /// Several masters.
    Masters(RedisCluster),
}

impl Store {
    pub(crate) async fn start(plan: &Plan) -> Self {
        match plan.masters {
            1 => Self::Single(Redis::start(plan.redis.clone()).await),
            masters => Self::Masters(RedisCluster::start(masters, plan.redis.clone()).await),
        }
    }

    /// Every server.
    pub fn servers(&self) -> &[Redis] {
        match self {
            Self::Single(redis) => std::slice::from_ref(redis),
            Self::Masters(cluster) => &cluster.nodes,
        }
    }

    pub(crate) fn first(&self) -> &Redis {
        self.servers().first().expect("a store has a server")
    }

    pub(crate) fn first_mut(&mut self) -> &mut Redis {
        match self {
            Self::Single(redis) => redis,
            Self::Masters(cluster) => cluster.nodes.first_mut().expect("a Redis Cluster has a node"),
        }
    }

    /// What a silo is told.
    pub fn url(&self) -> String {
        self.servers().iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }

    pub(crate) async fn due(&self, cluster: &str) -> Vec<String> {
        let mut due = Vec::new();
        for server in self.servers() {
            due.extend(server.due(cluster).await);
        }
        due
    }
}
