use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use crate::wire::{
    AcceptError, ConnectError, Header, Identity, Inbound, KIND_MESSAGES, Link, Listener, Role, Security, Violation,
    WireLimits, accept, connect_over,
};

/// No wait of a test is longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const SECRET: &str = "correct horse battery staple";

/// What a connection told its owner.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Frame(Header, Bytes),
    Closed(String),
}

/// Records what comes in.
pub(super) struct Recorder {
    events: UnboundedSender<Event>,
    reads: Arc<AtomicBool>,
}

impl Inbound for Recorder {
    fn frame(&mut self, _: &Link, header: Header, body: Bytes) -> Result<(), Violation> {
        if header.flags == FLAG_VIOLATION {
            return Err(Violation("a flag that must not be".into()));
        }
        let _ = self.events.send(Event::Frame(header, body));
        Ok(())
    }

    fn may_read(&self, _: &Link) -> bool {
        self.reads.load(Ordering::Relaxed)
    }

    fn closed(&mut self, _: &Link, reason: &str) {
        let _ = self.events.send(Event::Closed(reason.to_owned()));
    }
}

/// Makes a [`Recorder`] refuse the frame.
pub(super) const FLAG_VIOLATION: u8 = 128;

/// One end of a connection, with what it was told.
#[derive(Debug)]
pub(super) struct End {
    pub(super) link: Link,
    pub(super) events: UnboundedReceiver<Event>,
    pub(super) reads: Arc<AtomicBool>,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl End {
    pub(super) async fn event(&mut self) -> Event {
        match tokio::time::timeout(PATIENCE, self.events.recv()).await {
            Ok(Some(event)) => event,
            other => panic!("no event ({other:?}) on {:?}", self.link),
        }
    }

    pub(super) async fn body(&mut self) -> Bytes {
        match self.event().await {
            Event::Frame(_, body) => body,
            Event::Closed(reason) => panic!("closed instead of a frame: {reason}"),
        }
    }

    /// Why the connection ended; that nothing comes after it is checked, too.
    pub(super) async fn closed(&mut self) -> String {
        loop {
            if let Event::Closed(reason) = self.event().await {
                assert!(self.link.is_closed());
                tokio::time::timeout(PATIENCE, &mut self.task).await.expect("the task ends").expect("no panic");
                assert_eq!(self.events.recv().await, None, "nothing comes after the end");
                return reason;
            }
        }
    }

    pub(super) fn stop_reading(&self) {
        self.reads.store(false, Ordering::Relaxed);
    }

    pub(super) fn go_on_reading(&self) {
        self.reads.store(true, Ordering::Relaxed);
        self.link.resume_reading();
    }
}

pub(super) fn recorder() -> (Recorder, UnboundedReceiver<Event>, Arc<AtomicBool>) {
    let (events, received) = unbounded_channel();
    let reads = Arc::new(AtomicBool::new(true));
    (Recorder { events, reads: reads.clone() }, received, reads)
}

pub(super) fn silo(security: Security) -> Identity {
    Identity::new(Role::Silo, Uuid::new_v4(), "bank", Some("127.0.0.1:7100".into()), security)
}

pub(super) fn client(security: Security) -> Identity {
    Identity::new(Role::Client, Uuid::new_v4(), "bank", None, security)
}

pub(super) fn secret(text: &str) -> Security {
    Security::open().secret(crate::wire::Secret::new(text))
}

pub(super) fn message(correlation: u64) -> Header {
    Header { kind: KIND_MESSAGES, correlation, ..Header::default() }
}

/// Dials over a stream in memory.
pub(super) async fn dial(stream: DuplexStream, me: &Identity, limits: &WireLimits) -> Result<End, ConnectError> {
    let (inbound, events, reads) = recorder();
    let (link, running) = connect_over(stream, "127.0.0.1:7100", me, limits, |_| Box::new(inbound)).await?;
    Ok(End { link, events, reads, task: tokio::spawn(running) })
}

/// Accepts over a stream in memory.
pub(super) async fn answer(stream: DuplexStream, me: &Identity, limits: &WireLimits) -> Result<End, AcceptError> {
    let (inbound, events, reads) = recorder();
    let (link, running) = accept(stream, me, limits, |_| Box::new(inbound)).await?;
    Ok(End { link, events, reads, task: tokio::spawn(running) })
}

/// Both ends shake hands over a stream in memory.
pub(super) async fn shake(
    dialer: &Identity,
    acceptor: &Identity,
) -> (Result<End, ConnectError>, Result<End, AcceptError>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let limits = WireLimits::default();
    tokio::join!(dial(near, dialer, &limits), answer(far, acceptor, &limits))
}

/// Two ends that are connected over a stream in memory of this capacity.
pub(super) async fn pair(capacity: usize, limits: &WireLimits) -> (End, End) {
    let (near, far) = tokio::io::duplex(capacity);
    let (client, silo) = (client(secret(SECRET)), silo(secret(SECRET)));
    let (near, far) = tokio::join!(dial(near, &client, limits), answer(far, &silo, limits));
    (near.expect("dialed"), far.expect("accepted"))
}

/// A listener on loopback whose connections show up here.
pub(super) async fn listen(me: &Identity, limits: &WireLimits) -> (String, UnboundedReceiver<End>) {
    let listener = Listener::bind("127.0.0.1:0", &me.security, limits, &me.world).await.expect("bound");
    let address = listener.address().to_string();
    let (ends, accepted) = unbounded_channel();
    let inbound = move |link: &Link| -> Box<dyn Inbound> {
        let (inbound, events, reads) = recorder();
        let _ = ends.send(End { link: link.clone(), events, reads, task: tokio::spawn(async {}) });
        Box::new(inbound)
    };
    tokio::spawn(listener.serve(me.clone(), inbound, |running| drop(tokio::spawn(running))));
    (address, accepted)
}

/// Dials over TCP.
pub(super) async fn connect(address: &str, me: &Identity, limits: &WireLimits) -> Result<End, ConnectError> {
    let (inbound, events, reads) = recorder();
    let (link, running) = crate::wire::connect(address, me, limits, |_| Box::new(inbound)).await?;
    Ok(End { link, events, reads, task: tokio::spawn(running) })
}
