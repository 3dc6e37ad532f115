//! What the behaviour suites share: a place to keep entities, on either store, with faults; waits that have a limit.

#![allow(dead_code, unreachable_pub)]

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grange::store::{EmbeddedStore, Incarnation, MemoryStore, Partitions, Store};
use grange::testing::FaultyStore;
use grange::{Silo, SiloBuilder};

/// No wait of these tests is longer.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Waits for what proves the point, and says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    limited(what, LIMIT, future).await
}

/// A whole test: longer than each of its waits, so that the wait is the one to complain.
pub async fn test(what: &str, future: impl Future<Output = ()>) {
    limited(what, LIMIT * 2, future).await;
}

async fn limited<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Waits until a look finds what it wants; each look awaits the entity or the store.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    good: impl Fn(&T) -> bool,
) -> T {
    let start = tokio::time::Instant::now();
    loop {
        let found = look().await;
        if good(&found) {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}; last seen: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

enum Kept {
    Memory(Arc<MemoryStore>),
    Embedded(Arc<EmbeddedStore>, tempfile::TempDir),
}

/// A store that outlives silos, under one that can fail.
pub struct Place {
    kept: Kept,
    pub store: Arc<FaultyStore>,
}

impl Place {
    pub fn memory() -> Self {
        let memory = Arc::new(MemoryStore::new(7));
        let store = FaultyStore::new(memory.clone());
        store.keep_open();
        Self { kept: Kept::Memory(memory), store }
    }

    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
        let store = FaultyStore::new(embedded.clone());
        store.keep_open();
        // Mostly it does anyway. The one in memory answers at once: so both ways are tried.
        store.answer_later();
        Self { kept: Kept::Embedded(embedded, dir), store }
    }

    /// A silo here: two arbiters.
    pub fn silo(&self) -> SiloBuilder {
        Silo::builder().store(self.store.clone()).workers(2)
    }

    /// The silo's process dies where it is: nothing of it is written from now on, and its claims are free.
    pub async fn crash(&self, silo: Silo) {
        let incarnation = incarnation(&silo);
        self.store.kill(incarnation);
        drop(silo);
        // Behind what the silo handed over before.
        self.store.due(Partitions::All, 0, 0).await.unwrap();
        self.forget(incarnation);
    }

    pub fn forget(&self, incarnation: Incarnation) {
        match &self.kept {
            Kept::Memory(store) => store.forget(incarnation),
            Kept::Embedded(store, _) => store.forget(incarnation),
        }
    }
}

pub fn incarnation(silo: &Silo) -> Incarnation {
    let shown = format!("{silo:?}");
    shown.trim_start_matches("Silo(").trim_end_matches(')').parse().unwrap()
}

/// Each of these as a test in memory and as one on disk.
#[macro_export]
macro_rules! on_both_stores { ($($(#[$attribute:meta])* $test:ident),* $(,)?) => {
    mod in_memory { $(
        #[tokio::test]
        $(#[$attribute])*
        async fn $test() {
            $crate::behaviour::test(stringify!($test), super::$test($crate::behaviour::Place::memory())).await;
        }
    )* }
    mod embedded { $(
        #[tokio::test]
        $(#[$attribute])*
        async fn $test() {
            $crate::behaviour::test(stringify!($test), super::$test($crate::behaviour::Place::embedded())).await;
        }
    )* }
} }
