//! An entity's way into memory and out of it, a silo's start and its end.

#![allow(unreachable_pub)]

mod behaviour;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use behaviour::{Place, eventually, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use grange::prelude::*;
use grange::store::{Claim, Claimed, Store};
use grange::wire::EntityId;
use tokio::sync::Notify;

/// How often each thing happened, and a signal.
#[derive(Clone, Default)]
struct Watch(Arc<Events>);

#[derive(Default)]
struct Events {
    activated: AtomicU64,
    deactivated: AtomicU64,
    started: Notify,
    go_on: Notify,
}

impl Watch {
    fn counts(&self) -> (u64, u64) {
        (self.0.activated.load(Ordering::SeqCst), self.0.deactivated.load(Ordering::SeqCst))
    }
}

/// Its hooks write.
#[entity(idle = "100ms")]
#[derive(Default, Serialize, Deserialize)]
struct Guest {
    came: u64,
    went: u64,
    value: u64,
}

#[entity]
impl Guest {
    async fn on_activate(&mut self, turn: &mut Turn<Self>) {
        self.came += 1;
        turn.data::<Watch>().0.activated.fetch_add(1, Ordering::SeqCst);
    }
    async fn on_deactivate(&mut self, turn: &mut Turn<Self>) {
        self.went += 1;
        turn.data::<Watch>().0.deactivated.fetch_add(1, Ordering::SeqCst);
    }
    async fn set(&mut self, value: u64) {
        self.value = value;
    }
    async fn set_and_leave(&mut self, value: u64, turn: &mut Turn<Self>) {
        self.value = value;
        turn.deactivate();
    }
    async fn look(&self) -> (u64, u64, u64) {
        (self.came, self.went, self.value)
    }
    async fn reject(&mut self) -> Result<(), u64> {
        Err(self.value)
    }
    async fn pause(&mut self, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Watch>().0.started.notify_one();
        turn.data::<Watch>().0.go_on.notified().await;
        self.value += 1;
        self.value
    }
}

/// Without hooks.
#[entity(idle = "50ms")]
#[derive(Default, Serialize, Deserialize)]
struct Plain {
    value: u64,
}

#[entity]
impl Plain {
    async fn set(&mut self, value: u64) -> u64 {
        std::mem::replace(&mut self.value, value)
    }
    async fn get(&self) -> u64 {
        self.value
    }
    #[allow(clippy::disallowed_methods)] // blocks its arbiter, which is the point
    async fn block(&mut self, turn: &mut Turn<Self>) -> u64 {
        turn.data::<Watch>().0.started.notify_one();
        std::thread::sleep(Duration::from_millis(400));
        self.value += 1;
        self.value
    }
}

#[entity(volatile, idle = "50ms")]
#[derive(Default)]
struct Fleeting {
    value: u64,
}

#[entity]
impl Fleeting {
    #[allow(clippy::disallowed_methods)] // keeps its arbiter for a while
    async fn dawdle(&self) {
        std::thread::sleep(Duration::from_millis(1));
    }
    async fn add(&mut self, more: u64) -> u64 {
        self.value += more;
        self.value
    }
    async fn get(&self) -> u64 {
        self.value
    }
    async fn fall_reading(&self) {
        panic!("as the test wants")
    }
    async fn fall(&mut self) {
        self.value = 999;
        panic!("as the test wants")
    }
}

mod old {
    use grange::prelude::*;

    #[entity(name = "Versioned")]
    #[derive(Default, Serialize, Deserialize)]
    pub struct Old {
        pub name: String,
        pub count: u64,
    }
    #[entity]
    impl Old {
        pub async fn count(&mut self) -> u64 {
            self.count += 1;
            self.count
        }
    }
}

mod new {
    use grange::prelude::*;

    #[entity(name = "Versioned")]
    #[derive(Default, Serialize, Deserialize)]
    pub struct New {
        pub name: String,
        #[serde(default)]
        pub colour: Option<(u8, String)>,
        pub count: u64,
    }
    #[entity]
    impl New {
        pub async fn paint(&mut self, colour: String) {
            self.name = "n".into();
            self.colour = Some((7, colour));
        }
        pub async fn look(&self) -> (String, Option<(u8, String)>, u64) {
            (self.name.clone(), self.colour.clone(), self.count)
        }
    }
}

mod stricter {
    use grange::prelude::*;

    /// A field was added without a default.
    #[entity(name = "Versioned")]
    #[derive(Default, Serialize, Deserialize)]
    pub struct Stricter {
        pub name: String,
        pub missing: u64,
    }
    #[entity]
    impl Stricter {
        pub async fn look(&self) -> u64 {
            self.missing
        }
        pub async fn write(&mut self) {
            self.missing = 1;
        }
    }
}

on_both_stores!(
    hooks_run_once_for_each_activation_and_their_effects_are_kept,
    a_hook_that_writes_at_the_end_does_not_hold_the_silo_up,
    hooks_do_not_run_again_because_a_turn_was_rejected,
    an_idle_entity_leaves_and_comes_back_with_its_state,
    an_entity_that_reads_only_leaves_nothing,
    a_turn_that_asks_to_leave_is_answered_and_who_comes_next_is_served,
    shutdown_refuses_what_is_new_and_finishes_what_runs,
    shutdown_finishes_what_runs_also_on_an_arbiter_that_is_blocked,
    a_keyed_ask_ends_by_its_deadline_when_its_silo_has_stopped,
    an_ask_ends_when_its_silo_is_dropped,
    what_an_older_version_does_not_know_it_writes_back,
    a_state_that_cannot_be_read_is_refused_and_left_as_it_is,
    an_entity_that_cannot_be_opened_is_given_back,
    a_volatile_entity_starts_anew_after_a_panic_and_not_because_of_a_read,
    many_activations_leave_when_they_are_idle,
);

async fn guests(place: &Place, watch: &Watch) -> Silo {
    place.silo().entity::<Guest>().data(watch.clone()).start().await.unwrap()
}

async fn left(silo: &Silo, count: u64) {
    eventually("they leave", async || silo.metrics().deactivations, |left| *left == count).await;
}

async fn hooks_run_once_for_each_activation_and_their_effects_are_kept(place: Place) {
    let watch = Watch::default();
    let silo = guests(&place, &watch).await;
    let guest = silo.client().entity::<Guest>("a");
    assert_eq!(guest.set(5).await, Ok(()));
    assert_eq!((guest.look().await, watch.counts()), (Ok((1, 0, 5)), (1, 0)));
    left(&silo, 1).await;
    assert_eq!((guest.look().await, watch.counts()), (Ok((2, 1, 5)), (2, 1)));
}

async fn a_hook_that_writes_at_the_end_does_not_hold_the_silo_up(place: Place) {
    let watch = Watch::default();
    let short = |limits: &mut grange::Limits| limits.drain = Duration::from_secs(5);
    let silo = place.silo().entity::<Guest>().data(watch.clone()).limits(short).start().await.unwrap();
    assert_eq!(silo.client().entity::<Guest>("a").set(5).await, Ok(()));
    silo.shutdown().await.unwrap();
    assert_eq!(watch.counts(), (1, 1));
    let silo = guests(&place, &watch).await;
    assert_eq!(silo.client().entity::<Guest>("a").look().await, Ok((2, 1, 5)));
}

async fn hooks_do_not_run_again_because_a_turn_was_rejected(place: Place) {
    let watch = Watch::default();
    let silo = guests(&place, &watch).await;
    let guest = silo.client().entity::<Guest>("a");
    assert_eq!((guest.set(5).await, guest.reject().await), (Ok(()), Err(CallError::Rejected(5))));
    assert_eq!((guest.look().await, watch.counts()), (Ok((1, 0, 5)), (1, 0)));
}

async fn an_idle_entity_leaves_and_comes_back_with_its_state(place: Place) {
    let silo = place.silo().entity::<Plain>().start().await.unwrap();
    let plain = silo.client().entity::<Plain>("a");
    assert_eq!(plain.set(5).await, Ok(0));
    left(&silo, 1).await;
    assert_eq!((plain.get().await, silo.metrics().activations), (Ok(5), 2));
}

async fn an_entity_that_reads_only_leaves_nothing(place: Place) {
    let silo = place.silo().entity::<Plain>().start().await.unwrap();
    let plain = silo.client().entity::<Plain>("a");
    assert_eq!((plain.get().await, plain.set(0).await), (Ok(0), Ok(0)));
    left(&silo, 1).await;
    assert_eq!((silo.store_stats().commits, silo.metrics().commits), (0, 0));
}

async fn a_turn_that_asks_to_leave_is_answered_and_who_comes_next_is_served(place: Place) {
    let watch = Watch::default();
    let silo = guests(&place, &watch).await;
    let guest = silo.client().entity::<Guest>("a");
    for round in 1..20 {
        let (left, looked) = futures_util::future::join(guest.set_and_leave(round), guest.look()).await;
        assert_eq!((left, looked.map(|(.., value)| value)), (Ok(()), Ok(round)));
    }
}

async fn shutdown_refuses_what_is_new_and_finishes_what_runs(place: Place) {
    let watch = Watch::default();
    let silo = guests(&place, &watch).await;
    let client = silo.client();
    let guest = client.entity::<Guest>("a");
    let mut running = guest.pause();
    assert_eq!((&mut running).now_or_never(), None);
    watch.0.started.notified().await;
    let mut stopping = Box::pin(silo.shutdown());
    assert!((&mut stopping).now_or_never().is_none());
    let refused = client.entity::<Guest>("b").look().await;
    assert!(matches!(refused, Err(CallError::Unavailable { .. })), "{refused:?}");
    watch.0.go_on.notify_one();
    assert_eq!(running.await, Ok(1));
    stopping.await.unwrap();
}

async fn shutdown_finishes_what_runs_also_on_an_arbiter_that_is_blocked(place: Place) {
    let watch = Watch::default();
    let silo = place.silo().entity::<Plain>().data(watch.clone()).start().await.unwrap();
    let plain = silo.client().entity::<Plain>("a");
    let mut running = plain.block();
    assert_eq!((&mut running).now_or_never(), None);
    watch.0.started.notified().await;
    silo.shutdown().await.unwrap();
    assert_eq!(running.await, Ok(1));
}

async fn a_keyed_ask_ends_by_its_deadline_when_its_silo_has_stopped(place: Place) {
    let silo = place.silo().entity::<Plain>().start().await.unwrap();
    let plain = silo.client().entity::<Plain>("a");
    silo.shutdown().await.unwrap();
    let late = plain.set(1).timeout(Duration::from_millis(300)).idempotent(Uuid::now_v7());
    let ended = within("the end of an ask with 300 ms", late).await;
    assert!(matches!(ended, Err(CallError::Timeout | CallError::Unavailable { .. })), "{ended:?}");
}

async fn an_ask_ends_when_its_silo_is_dropped(place: Place) {
    let watch = Watch::default();
    let silo = guests(&place, &watch).await;
    let guest = silo.client().entity::<Guest>("a");
    let (mut running, mut waiting) = (guest.pause(), guest.look());
    assert_eq!(((&mut running).now_or_never(), (&mut waiting).now_or_never()), (None, None));
    watch.0.started.notified().await;
    drop(silo);
    let (running, waiting) = (within("running", running).await, within("waiting", waiting).await);
    assert!(matches!(running, Err(CallError::Unknown { .. })), "{running:?}");
    assert!(matches!(waiting, Err(CallError::Unavailable { .. })), "{waiting:?}");
    let late = within("late", guest.look()).await;
    assert!(matches!(late, Err(CallError::Unavailable { .. })), "{late:?}");
}

async fn what_an_older_version_does_not_know_it_writes_back(place: Place) {
    let silo = place.silo().entity::<new::New>().start().await.unwrap();
    assert_eq!(silo.client().entity::<new::New>("a").paint("red".into()).await, Ok(()));
    silo.shutdown().await.unwrap();
    let silo = place.silo().entity::<old::Old>().start().await.unwrap();
    assert_eq!(silo.client().entity::<old::Old>("a").count().await, Ok(1));
    silo.shutdown().await.unwrap();
    let silo = place.silo().entity::<new::New>().start().await.unwrap();
    let looked = silo.client().entity::<new::New>("a").look().await;
    assert_eq!(looked, Ok(("n".into(), Some((7, "red".into())), 1)));
}

async fn stored(place: &Place) -> Option<bytes::Bytes> {
    let owner = Uuid::new_v4();
    let id = EntityId::new("Versioned", rmp_serde::to_vec("a").unwrap());
    let claim = Claim { id: id.clone(), owner, nonce: 1, now: 1, over: None };
    let Claimed::Granted(record) = place.store.claim(claim).await.unwrap() else { panic!("not granted") };
    place.store.release(id, record.fence).await.unwrap();
    record.state
}

async fn a_state_that_cannot_be_read_is_refused_and_left_as_it_is(place: Place) {
    let silo = place.silo().entity::<old::Old>().start().await.unwrap();
    assert_eq!(silo.client().entity::<old::Old>("a").count().await, Ok(1));
    silo.shutdown().await.unwrap();
    let before = stored(&place).await;
    let silo = place.silo().entity::<stricter::Stricter>().start().await.unwrap();
    let entity = silo.client().entity::<stricter::Stricter>("a");
    let (read, written) = (entity.look().await, entity.write().await);
    assert!(matches!(read, Err(CallError::Unreadable { .. })), "{read:?}");
    assert!(matches!(written, Err(CallError::Unreadable { .. })), "{written:?}");
    place.crash(silo).await;
    assert_eq!(stored(&place).await, before);
}

async fn an_entity_that_cannot_be_opened_is_given_back(place: Place) {
    let silo = place.silo().entity::<old::Old>().start().await.unwrap();
    assert_eq!(silo.client().entity::<old::Old>("a").count().await, Ok(1));
    silo.shutdown().await.unwrap();
    let silo = place.silo().entity::<stricter::Stricter>().start().await.unwrap();
    assert!(silo.client().entity::<stricter::Stricter>("a").look().await.is_err());
    silo.shutdown().await.unwrap();
    // The version before can still run it.
    let silo = place.silo().entity::<old::Old>().start().await.unwrap();
    assert_eq!(silo.client().entity::<old::Old>("a").count().await, Ok(2));
}

async fn a_volatile_entity_starts_anew_after_a_panic_and_not_because_of_a_read(place: Place) {
    let silo = place.silo().entity::<Fleeting>().start().await.unwrap();
    let fleeting = silo.client().entity::<Fleeting>("a");
    assert_eq!(fleeting.add(5).await, Ok(5));
    assert_eq!((fleeting.fall_reading().await, fleeting.get().await), (Err(CallError::Panicked), Ok(5)));
    assert_eq!((fleeting.fall().await, fleeting.get().await), (Err(CallError::Panicked), Ok(0)));
    assert_eq!(silo.store_stats(), grange::store::Stats::default());
}

async fn many_activations_leave_when_they_are_idle(place: Place) {
    let silo = place.silo().entity::<Plain>().start().await.unwrap();
    let client = silo.client();
    for block in 0..20 {
        let reads = (0..1_000).map(|number| client.entity::<Plain>(format!("{block}/{number}")).get());
        assert!(join_all(reads).await.into_iter().all(|read| read == Ok(0)));
    }
    left(&silo, 20_000).await;
    assert_eq!(silo.metrics().activations, 20_000);
    eventually("nobody is in memory", async || silo.activations(), |active| *active == 0).await;
}

#[tokio::test]
async fn shutdown_finishes_what_waits_for_its_arbiter() {
    let silo = Silo::builder().entity::<Fleeting>().in_memory().workers(1).start().await.unwrap();
    let client = silo.client();
    let mut calls: Vec<_> = (0..1_000).map(|key| client.entity::<Fleeting>(key.to_string()).dawdle()).collect();
    for call in &mut calls {
        assert_eq!(call.now_or_never(), None);
    }
    // Long before they are done, nobody is in memory for more than a moment.
    silo.shutdown().await.unwrap();
    for (number, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer, Ok(()), "call {number}");
    }
}

#[tokio::test]
async fn a_directory_can_be_used_again_right_after_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || Silo::builder().entity::<Plain>().embedded(dir.path()).start().await;
    let silo = start().await.unwrap();
    assert_eq!(silo.client().entity::<Plain>("a").set(5).await, Ok(0));
    silo.shutdown().await.unwrap();
    let silo = start().await.unwrap();
    assert_eq!(silo.client().entity::<Plain>("a").set(6).await, Ok(5));
    silo.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_free_again_when_its_silo_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || Silo::builder().entity::<Plain>().embedded(dir.path()).start().await;
    let silo = start().await.unwrap();
    assert_eq!(silo.client().entity::<Plain>("a").set(5).await, Ok(0));
    drop(silo);
    let again = eventually(
        "the directory is free",
        async || start().await.map_err(|error| error.to_string()),
        |started| started.is_ok(),
    )
    .await;
    assert_eq!(again.unwrap().client().entity::<Plain>("a").get().await, Ok(5));
}

#[tokio::test]
async fn a_memory_store_outlives_a_silo_that_was_shut_down() {
    // As `MemoryStore`'s page says: share it in an `Arc` to start a silo again over what an earlier one left.
    let store = Arc::new(grange::store::MemoryStore::new(1));
    let silo = Silo::builder().entity::<Plain>().store(store.clone()).start().await.unwrap();
    assert_eq!(silo.client().entity::<Plain>("a").set(5).await, Ok(0));
    silo.shutdown().await.unwrap();
    let silo = Silo::builder().entity::<Plain>().store(store).start().await.unwrap();
    assert_eq!(silo.client().entity::<Plain>("a").get().await, Ok(5));
}

#[tokio::test]
async fn a_silo_that_cannot_be_as_described_does_not_start() {
    let started = async |builder: grange::SiloBuilder| builder.start().await.map(|_| ()).unwrap_err().to_string();
    let builder = || Silo::builder().in_memory();
    let errors = [
        started(builder().entity::<old::Old>().entity::<new::New>()).await,
        started(builder().entity::<Plain>().entity::<Plain>()).await,
        started(Silo::builder().entity::<Plain>()).await,
        started(builder()).await,
        started(builder().entity::<Plain>().workers(0)).await,
    ];
    let facts =
        ["two kinds have the name `Versioned`", "two kinds have the name `Plain`", "no store", "no kind", "one worker"];
    for (error, fact) in errors.iter().zip(facts) {
        assert!(error.contains(fact), "`{error}` does not say `{fact}`");
    }
}

#[tokio::test]
async fn a_kind_that_nobody_hosts_is_named() {
    let silo = Silo::builder().in_memory().entity::<Plain>().start().await.unwrap();
    let unhosted = silo.client().entity::<Fleeting>("a").get().await;
    assert!(matches!(&unhosted, Err(CallError::Unavailable { reason }) if reason.contains("Fleeting")), "{unhosted:?}");
}
