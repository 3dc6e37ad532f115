//! What is under test, as processes: started, stopped, frozen, killed, started again at the same address; never left
//! behind.

mod ports;
mod process;
mod redis;
mod redis_cluster;
mod redis_settings;
mod silo;
mod small_disk;

pub use ports::free_port;
pub use process::Process;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_settings::{Fsync, RedisSettings};
pub use silo::{READY, SiloProcess, SiloSettings};
pub use small_disk::SmallDisk;
