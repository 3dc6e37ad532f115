use std::time::Duration;

use grange::prelude::*;

/// Says in which process it is.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Spot {
    marks: u64,
}

#[entity]
impl Spot {
    /// The process, by a read: no commit.
    pub async fn process(&self) -> u32 {
        std::process::id()
    }

    /// The process, by a turn that is committed.
    pub async fn mark(&mut self) -> u32 {
        self.marks += 1;
        std::process::id()
    }

    /// A turn that takes so long.
    pub async fn dwell(&mut self, ms: u64) -> u32 {
        self.marks += 1;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        std::process::id()
    }
}
