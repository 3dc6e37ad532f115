//! What a silo shows of itself: spans and events that name what ran and how it ended, and never what was passed.

#![allow(unreachable_pub)]

mod behaviour;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use behaviour::eventually;
use grange::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything that was said, a line each.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Heard {
    fn push(&self, what: &str, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line<'_>)) {
        let mut line = format!("{what} {} {}", metadata.level(), metadata.name());
        record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    /// The lines in which all of this is.
    fn with(&self, parts: &[&str]) -> Vec<String> {
        self.lines().into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("grange")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut lines = self.0.lock().unwrap();
        let mut line = format!("span {} {}", span.metadata().level(), span.metadata().name());
        span.record(&mut Line(&mut line));
        lines.push(line);
        Id::from_u64(lines.len() as u64)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        // A span's number is that of its line.
        let mut lines = self.0.lock().unwrap();
        let mut line = std::mem::take(&mut lines[span.into_u64() as usize - 1]);
        values.record(&mut Line(&mut line));
        lines[span.into_u64() as usize - 1] = line;
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.push("event", event.metadata(), |line| event.record(line));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

mod first {
    use grange::prelude::*;

    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Safe {
        held: Vec<String>,
    }
    #[entity]
    impl Safe {
        pub(crate) async fn put(&mut self, secret: String) -> usize {
            self.held.push(secret);
            self.held.len()
        }
        pub(crate) async fn reject(&mut self, secret: String) -> Result<(), String> {
            Err(secret)
        }
        pub(crate) async fn fall(&mut self, _secret: String) {
            panic!("as the test wants")
        }
        pub(crate) async fn count(&self) -> usize {
            self.held.len()
        }
        pub(crate) async fn pass(&mut self, to: String, secret: String, turn: &mut Turn<Self>) {
            turn.send(turn.entity::<Safe>(&to).put(secret.clone()));
            turn.send(turn.entity::<Safe>(&to).reject(secret.clone()));
            turn.send(turn.entity::<crate::Number>(to).set(secret));
        }
        #[allow(clippy::disallowed_methods)] // blocks its arbiter, which is the point
        pub(crate) async fn block(&mut self) {
            std::thread::sleep(Duration::from_millis(300));
        }
        pub(crate) async fn forever(&mut self) {
            std::future::pending::<()>().await;
        }
    }
}

/// What senders believe.
#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Number {
    value: u64,
}

#[entity]
impl Number {
    async fn set(&mut self, _value: String) {}
}

mod second {
    use grange::prelude::*;

    #[derive(Serialize, Deserialize)]
    pub(crate) enum Mode {
        On,
    }

    /// The same kind, whose handler wants something else.
    #[entity]
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Number {
        value: u64,
    }
    #[entity]
    impl Number {
        pub(crate) async fn set(&mut self, mode: Mode) {
            self.value = mode as u64;
        }
    }
}

use first::Safe;

// One subscriber for the whole process, as in a program: the silo's threads are its own. So one story, told once.
static STORY: tokio::sync::OnceCell<(Heard, grange::telemetry::Metrics)> = tokio::sync::OnceCell::const_new();

async fn story() -> &'static (Heard, grange::telemetry::Metrics) {
    STORY.get_or_init(tell).await
}

async fn tell() -> (Heard, grange::telemetry::Metrics) {
    let heard = Heard::default();
    tracing::subscriber::set_global_default(heard.clone()).unwrap();
    let silo =
        Silo::builder().in_memory().entity::<Safe>().entity::<second::Number>().workers(1).start().await.unwrap();
    let safe = silo.client().entity::<Safe>("a");
    let secret = || "hunter2".to_owned();
    assert_eq!(safe.put(secret()).await, Ok(1));
    assert_eq!(safe.put(secret()).idempotent(Uuid::now_v7()).await, Ok(2));
    assert_eq!(safe.reject(secret()).await, Err(CallError::Rejected(secret())));
    assert_eq!(safe.fall(secret()).await, Err(CallError::Panicked));
    assert_eq!(safe.count().await, Ok(2));
    safe.pass("b".into(), secret()).await.unwrap();
    eventually("messages", async || silo.metrics().dead_letters, |letters| *letters == 2).await;
    assert_eq!(safe.forever().timeout(Duration::from_millis(40)).await, Err(CallError::Timeout));
    safe.block().await.unwrap();
    let metrics = silo.metrics();
    assert_eq!(silo.store_stats().commits, metrics.commits);
    silo.shutdown().await.unwrap();
    (heard, metrics)
}

#[tokio::test]
async fn a_silo_names_what_ran_and_how_it_ended() {
    let (heard, _) = story().await;
    for method in ["put", "reject", "fall", "count", "pass", "block", "forever"] {
        let spans = heard.with(&["span DEBUG call", "kind=\"Safe\"", "entity=Safe/a", &format!("method=\"{method}\"")]);
        assert!(!spans.is_empty(), "no span of a call of `{method}` in {:#?}", heard.lines());
    }
    for (method, outcome) in [("put", "done"), ("reject", "rejected"), ("fall", "panicked")] {
        let parts = [&format!("method=\"{method}\""), &format!("outcome=\"{outcome}\""), "queue_us=", "run_us="];
        assert!(!heard.with(&parts).is_empty(), "no end of a turn of `{method}` in {:#?}", heard.lines());
    }
    assert!(!heard.with(&["span DEBUG message", "entity=Safe/b", "from=Safe/a"]).is_empty(), "{:#?}", heard.lines());
    assert!(!heard.with(&["event WARN", "Safe::block", "blocks its arbiter"]).is_empty(), "{:#?}", heard.lines());
    assert!(!heard.with(&["commit_us", "Safe/a"]).is_empty(), "{:#?}", heard.lines());
}

#[tokio::test]
async fn a_turn_past_its_limit_has_an_outcome_too() {
    let (heard, _) = story().await;
    assert!(
        !heard.with(&["span", "method=\"forever\"", "outcome="]).is_empty(),
        "no outcome of a turn past its limit: {:#?}",
        heard.with(&["forever"])
    );
}

#[tokio::test]
async fn nothing_tells_what_was_passed() {
    let (heard, _) = story().await;
    let told = heard.with(&["hunter2"]);
    assert!(told.is_empty(), "a log tells what was passed: {told:#?}");
}

#[tokio::test]
async fn the_counters_add_up() {
    let (_, metrics) = story().await;
    assert_eq!((metrics.turns_panicked, metrics.turns_expired), (1, 1));
    // On a busy machine another one may take as long.
    assert!(metrics.blocked >= 1, "{metrics:?}");
    // put, put, count, pass, block; and the message that was put.
    assert_eq!((metrics.turns_done, metrics.turns_rejected), (6, 2));
    assert_eq!((metrics.messages_applied, metrics.dead_letters), (2, 2));
    let counted: Vec<_> = metrics.counters().filter(|(name, _)| *name == "grange_turns_done_total").collect();
    assert_eq!(counted, [("grange_turns_done_total", 6)]);
}
