//! What somebody who begins does wrong is told at once, and told what to do.

#[cfg(feature = "redis")]
mod redis_server;

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};

use grange::SiloBuilder;
use grange::prelude::*;
use grange::testing::{Simulated, Simulation};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Shorter than a client tries to connect.
const SOON: Duration = Duration::from_secs(4);

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Counter {
    n: u64,
}

#[entity]
impl Counter {
    async fn add(&mut self) -> u64 {
        self.n += 1;
        self.n
    }
}

fn silo() -> SiloBuilder {
    Silo::builder().entity::<Counter>().in_memory().workers(1)
}

async fn listening() -> Silo {
    silo().cluster("bank").listen("127.0.0.1:0").start().await.expect("it starts")
}

async fn refused(silo: SiloBuilder, says: &[&str]) {
    let error = timeout(SOON, silo.start()).await.expect("at once").expect_err(says[0]).to_string();
    says.iter().for_each(|part| assert!(error.contains(part), "`{part}` is not in: {error}"));
}

async fn not_connected(client: grange::Connect, says: &[&str]) {
    let error = timeout(SOON, client.into_future()).await.expect("at once").expect_err(says[0]).to_string();
    says.iter().for_each(|part| assert!(error.contains(part), "`{part}` is not in: {error}"));
}

#[tokio::test]
async fn a_setting_is_named_as_a_method_and_as_a_variable() {
    refused(silo().listen("foo"), &["`host:port` is wanted", ".listen(", "GRANGE_LISTEN"]).await;
    let advertised = silo().listen("127.0.0.1:0").advertise("foo:0");
    refused(advertised, &["`host:port` is wanted", ".advertise(", "GRANGE_ADVERTISE"]).await;
    refused(silo().workers(0), &[".workers(", "GRANGE_WORKERS"]).await;
    refused(silo().listen("0.0.0.0:0"), &[".secret_file(", "GRANGE_SECRET_FILE"]).await;
    refused(silo().listen("0.0.0.0:0").secret("short"), &["5 bytes", "GRANGE_SECRET_FILE"]).await;
    let secret = "of sixteen bytes and more";
    refused(silo().listen("0.0.0.0:0").secret(secret), &[".advertise(", "GRANGE_ADVERTISE"]).await;
    let foreign = silo().listen("192.0.2.1:7100").secret(secret);
    refused(foreign, &["no address of this host", "GRANGE_ADVERTISE"]).await;
    #[cfg(feature = "redis")]
    refused(Silo::builder().entity::<Counter>().redis("redis://127.0.0.1:1"), &[".listen(", "GRANGE_LISTEN"]).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_to_be() {
    let first = listening().await;
    let address = first.address().expect("it listens").to_owned();
    refused(silo().listen(&address), &["another process listens there", "another port"]).await;
}

#[tokio::test]
async fn a_gateway_that_is_no_address_is_refused_at_once() {
    not_connected(Client::connect(["foo"]), &["`foo` is no address", "`host:port` is wanted", "GRANGE_GATEWAYS"]).await;
    not_connected(Client::connect::<String>([]), &["at least one silo", "GRANGE_GATEWAYS"]).await;
}

/// A server that reads lines, and answers them as Redis does.
async fn lines() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut socket = BufReader::new(socket);
            let mut line = Vec::new();
            let _ = socket.read_until(b'\n', &mut line).await;
            let _ = socket.write_all(b"-ERR unknown command `grange`\r\n").await;
            let _ = socket.read_u8().await;
        }
    });
    address
}

#[tokio::test]
async fn a_gateway_that_is_another_server_is_said_to_be() {
    not_connected(Client::connect([lines().await]), &["was reached", "no grange silo"]).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_gateway_that_is_redis_is_said_to_be_no_silo() {
    let redis = redis_server::RedisServer::start(&[]).await;
    not_connected(Client::connect([format!("127.0.0.1:{}", redis.port)]), &["was reached", "no grange silo"]).await;
}

#[tokio::test]
async fn a_client_of_another_secret_or_cluster_is_told_what_to_set() {
    let silo = silo().cluster("bank").secret("of sixteen bytes and more").listen("127.0.0.1:0").start().await;
    let silo = silo.expect("it starts");
    let client = || Client::connect(silo.address()).cluster("bank");
    not_connected(client(), &["GRANGE_SECRET_FILE"]).await;
    not_connected(client().secret("short"), &["5 bytes", "GRANGE_SECRET_FILE"]).await;
    let wrong = client().secret("of sixteen bytes and more").cluster("bang");
    not_connected(wrong, &["another cluster", "GRANGE_CLUSTER"]).await;
    assert!(client().secret("of sixteen bytes and more").await.is_ok());
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_silo_in_the_place_of_redis_is_said_to_be_none() {
    let first = listening().await;
    let url = format!("redis://{}", first.address().expect("it listens"));
    let second = Silo::builder().entity::<Counter>().listen("127.0.0.1:0").redis(url);
    refused(second, &["can't be reached", "is it Redis that listens there"]).await;
}

#[test]
fn a_silo_that_can_not_give_back_what_it_has_does_not_end_as_if_it_had() {
    Simulation::new(0)
        .silos(2, |silo| silo.entity::<Counter>())
        .run(async |cluster| {
            for number in 0..8 {
                assert_eq!(cluster.client().entity::<Counter>(number.to_string()).add().await, Ok(1));
            }
            cluster.cut_store(0);
            let error = cluster.leave(0).await.expect_err("the store was not told");
            let grange::Error::NotGivenBack { entities } = error else { panic!("{error}") };
            assert!(entities > 0 && error.to_string().contains("take them over when its lease is over"), "{error}");
            for number in 0..8 {
                let key = cluster.key();
                assert_eq!(cluster.client().entity::<Counter>(number.to_string()).add().idempotent(key).await, Ok(2));
            }
            assert!(cluster.leave(1).await.is_ok());
        })
        .expect_success();
}

thread_local! {
    /// What was logged on this thread, on which a whole simulation runs.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The log of all threads of this program, for each its own.
struct Heard;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        HEARD.with_borrow_mut(|heard| heard.push(line.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn heard(body: impl AsyncFnOnce(Simulated), silos: usize) -> Vec<String> {
    // Another test may have set it.
    let _ = tracing::subscriber::set_global_default(Heard);
    HEARD.take();
    Simulation::new(0).silos(silos, |silo| silo.entity::<Counter>()).run(body).expect_success();
    HEARD.take()
}

fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn an_earlier_life_of_a_silo_is_no_foreign_death() {
    let restarted = async |cluster: Simulated| {
        cluster.crash(0);
        cluster.restart(0).await.expect("it starts");
        cluster.advance(Duration::from_secs(10)).await;
    };
    let lines = heard(restarted, 1);
    assert_eq!(count(&lines, "an earlier life of this silo is over"), 1, "{lines:#?}");
    assert_eq!(count(&lines, "a silo is dead"), 0, "{lines:#?}");
    assert_eq!(count(&lines, "its lease was not renewed for"), 1, "{lines:#?}");
    assert_eq!(count(&lines, "Suspect {"), 0, "{lines:#?}");
}

#[test]
fn a_silo_that_joins_again_says_so_once() {
    let frozen = async |cluster: Simulated| {
        cluster.freeze(0);
        cluster.advance(Duration::from_secs(20)).await;
    };
    let lines = heard(frozen, 2);
    assert_eq!(count(&lines, "lost its place in the cluster"), 1, "{lines:#?}");
    assert_eq!(count(&lines, "a silo is dead"), 1, "{lines:#?}");
    // Two at the start, and one again.
    assert_eq!(count(&lines, "part of its cluster"), 3, "{lines:#?}");
    assert_eq!(count(&lines, "in the cluster\""), 0, "{lines:#?}");
}
