//! Every store does what the memory store does, whatever it is asked in whatever order.

mod redis_server;
mod store_common;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use grange::store::{
    Claim, Claimed, Commit, EmbeddedStore, Field, MemoryStore, Partitions, Pending, Record, RedisOptions, RedisStore,
    StateWrite, Store, Trim,
};
use proptest::prelude::*;
use redis_server::RedisServer;
use store_common::id;
use store_common::steps::{Change, ENTITIES, Step, field, steps};
use uuid::Uuid;

/// The store that is tried out.
enum Subject {
    Embedded { directory: tempfile::TempDir, store: EmbeddedStore },
    Redis { server: Arc<RedisServer>, cluster: Uuid, store: RedisStore },
}

impl Subject {
    fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        Self::Embedded { directory, store }
    }

    async fn redis(server: Arc<RedisServer>) -> Self {
        let cluster = Uuid::new_v4();
        let store = RedisStore::connect(Self::options(&server, cluster)).await.unwrap();
        Self::Redis { server, cluster, store }
    }

    fn options(server: &RedisServer, cluster: Uuid) -> RedisOptions {
        RedisOptions::new(server.url()).cluster(cluster.to_string()).partitions(2)
    }

    fn store(&self) -> &dyn Store {
        match self {
            Self::Embedded { store, .. } => store,
            Self::Redis { store, .. } => store,
        }
    }

    async fn reopen(&mut self) {
        self.store().close().await.unwrap();
        match self {
            Self::Embedded { directory, store } => *store = EmbeddedStore::open(directory.path()).unwrap(),
            Self::Redis { server, cluster, store } => {
                *store = RedisStore::connect(Self::options(server, *cluster)).await.unwrap();
            }
        }
    }
}

/// Both stores, and what a silo would know.
struct Pair {
    subject: Subject,
    model: MemoryStore,
    now: u64,
    /// Per entity, the last two claims that were granted: the older one and the current one.
    records: Vec<[Option<Record>; 2]>,
    sent: Vec<Option<Commit>>,
    /// Handed over to both, not yet waited for: so that batches come about.
    waiting: Vec<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Pair {
    async fn new(subject: Subject) -> Self {
        let generation = store_common::claim(subject.store(), &id("generation"), 1).await.generation;
        let records = (0..ENTITIES).map(|_| [None, None]).collect();
        let (model, sent) = (MemoryStore::new(generation), vec![None; ENTITIES]);
        Self { subject, model, now: 1, records, sent, waiting: Vec::new() }
    }

    async fn take(&mut self, step: Step) {
        let text = format!("{step:?}");
        match step {
            Step::Claim { entity, owner, over } => self.claim(entity, owner, over).await,
            Step::Commit(change) => {
                if let Some(commit) = self.commit(&change) {
                    self.sent[change.entity] = Some(commit.clone());
                    self.both(text, |store| store.commit(commit.clone()));
                }
            }
            Step::Resend { entity } => {
                if let Some(commit) = self.sent[entity].clone() {
                    self.both(text, |store| store.commit(commit.clone()));
                }
            }
            Step::Trim(change) => {
                if let Some(Commit { id, fence, generation, version, removes, wake, .. }) = self.commit(&change) {
                    let trim = Trim { id, fence, generation, version, removes, wake };
                    self.both(text, |store| store.trim(trim.clone()));
                }
            }
            Step::Release { entity, old } => {
                if let Some(record) = &self.records[entity][usize::from(!old)] {
                    let fence = record.fence;
                    self.both(text, |store| store.release(id(&entity.to_string()), fence));
                }
            }
            Step::Verify { entity, old } => {
                self.settle().await;
                if let Some(record) = &self.records[entity][usize::from(!old)] {
                    let fence = record.fence;
                    self.both(text, |store| store.verify(id(&entity.to_string()), fence));
                }
            }
            Step::Forget { owner } => self.forget(owner).await,
            Step::Due { until, limit } => {
                self.settle().await;
                // Those that are due together come in any order.
                let all = |store: &dyn Store| store.due(Partitions::All, until, ENTITIES);
                self.both(text, all);
                self.settle().await;
                assert!(self.subject.store().due(Partitions::All, until, limit).await.unwrap().len() <= limit);
            }
            Step::Letters { limit } => {
                self.settle().await;
                self.both(text, |store| store.letters(limit.saturating_mul(100)));
            }
            Step::Fail => self.fail().await,
            Step::Flush => match &self.subject {
                Subject::Embedded { store, .. } => store.flush().await.unwrap(),
                Subject::Redis { server, .. } => server.command(&["SCRIPT", "FLUSH"]),
            },
            Step::Reopen => {
                self.settle().await;
                self.subject.reopen().await;
                if matches!(self.subject, Subject::Embedded { .. }) {
                    self.forget_all();
                }
            }
        }
    }

    async fn claim(&mut self, entity: usize, owner: u128, over: Option<u128>) {
        self.now += 1;
        let (owner, nonce) = (Uuid::from_u128(owner), Uuid::new_v4().as_u128());
        let claim = Claim { id: id(&entity.to_string()), owner, nonce, now: self.now, over: over.map(Uuid::from_u128) };
        let subject = self.subject.store().claim(claim.clone());
        self.settle().await;
        let subject = subject.await.unwrap();
        // The subject may have a clock of its own; the model is asked at that time.
        let now = if let Claimed::Granted(record) = &subject { record.fence.epoch } else { claim.now };
        match (subject, self.model.claim(Claim { now, ..claim }).await.unwrap()) {
            (Claimed::Granted(read), Claimed::Granted(expected)) => {
                assert_eq!(read, expected);
                self.records[entity].rotate_left(1);
                self.records[entity][1] = Some(*read);
            }
            (Claimed::Taken { owner: read }, Claimed::Taken { owner: expected }) => assert_eq!(read, expected),
            (read, expected) => panic!("{read:?} instead of {expected:?}"),
        }
    }

    fn commit(&mut self, change: &Change) -> Option<Commit> {
        let record = self.records[change.entity][usize::from(!change.old)].as_mut()?;
        let version = record.version;
        // As a silo does that hands over one commit behind the other.
        record.version += u64::from(!change.version_off && !change.generation_off);
        let removes: Vec<Field> =
            change.removes.iter().filter(|n| !change.puts.contains(n)).map(|n| field(*n)).collect();
        Some(Commit {
            id: id(&change.entity.to_string()),
            fence: record.fence,
            generation: record.generation ^ u64::from(change.generation_off),
            commit: Uuid::new_v4().as_u128(),
            version: version + u64::from(change.version_off),
            state: match change.state {
                None => StateWrite::Keep,
                Some(None) => StateWrite::Delete,
                Some(Some(byte)) => StateWrite::Put(vec![byte; usize::from(byte)].into()),
            },
            puts: change.puts.iter().map(|n| (field(*n), Bytes::from(vec![*n; version as usize % 9]))).collect(),
            removes,
            wake: change.wake,
            // Whether that is so or not.
            named: version % 2 == 1,
        })
    }

    /// Asks both, and compares the answers later. Redis may take a script that it does not know yet after what came behind it:
    /// there, one step waits for the one before.
    fn both<T: Debug + 'static>(&mut self, step: String, ask: impl Fn(&dyn Store) -> Pending<T>) {
        let (subject, model) = (ask(self.subject.store()), ask(&self.model));
        self.waiting.push(Box::pin(async move {
            assert_eq!(format!("{:?}", subject.await), format!("{:?}", model.await), "{step}");
        }));
    }

    async fn settle(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.await;
        }
    }

    /// Redis forgets nobody: there, whoever claims says who is dead.
    async fn forget(&mut self, owner: u128) {
        self.settle().await;
        if let Subject::Embedded { store, .. } = &self.subject {
            store.forget(Uuid::from_u128(owner));
            self.model.forget(Uuid::from_u128(owner));
        }
    }

    fn forget_all(&mut self) {
        (1..4).for_each(|owner| self.model.forget(Uuid::from_u128(owner)));
    }

    /// A write that happens and is reported as failed: the store goes on with the next claim, as if reopened.
    async fn fail(&mut self) {
        self.settle().await;
        let Subject::Embedded { store, .. } = &self.subject else { return };
        let spoiler = id("spoiler");
        let record = store_common::claim(store, &spoiler, self.now).await;
        store.fail_next_write();
        assert!(store.commit(store_common::commit(&record, &spoiler, "")).await.is_err());
        store_common::claim(store, &id("generation"), self.now).await;
        self.forget_all();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_answers_as_the_memory_store_does(steps in steps()) {
        runtime().block_on(answer_alike(Subject::embedded(), steps));
    }

    #[test]
    fn redis_answers_as_the_memory_store_does(steps in steps()) {
        thread_local!(static SERVER: Arc<RedisServer> = Arc::new(runtime().block_on(RedisServer::start(&[]))));
        let server = SERVER.with(Arc::clone);
        runtime().block_on(async { answer_alike(Subject::redis(server).await, steps).await });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn answer_alike(subject: Subject, steps: Vec<Step>) {
    let mut pair = Pair::new(subject).await;
    for step in steps {
        pair.take(step).await;
        if matches!(pair.subject, Subject::Redis { .. }) {
            pair.settle().await;
        }
    }
    pair.settle().await;
    for entity in 0..ENTITIES {
        for over in 1..4 {
            pair.claim(entity, 4, Some(over)).await;
        }
    }
}
