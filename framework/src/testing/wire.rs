//! A door to the wire for tests from outside: bytes of anybody go in, and what became of them comes out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use uuid::Uuid;

use crate::wire::{
    Header, Identity, Inbound, KIND_MESSAGES, Link, Role, Secret, Security, Violation, WireLimits, accept, connect_over,
};

/// Larger than all that a test feeds: nothing waits for room.
const STREAM_BYTES: usize = 4 << 20;

/// Which end of a connection the bytes are fed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Dialer,
    /// The one that was connected to.
    Acceptor,
}

/// What became of bytes that were fed to an end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    /// Whether they made a handshake.
    pub accepted: bool,
    /// Messages that were handed on.
    pub messages: u64,
    /// How often the owner was told that no more comes: once if accepted, else never.
    pub ends: u64,
    /// Why it ended.
    pub reason: String,
    /// What was answered.
    pub answered: Vec<u8>,
}

/// What an honest peer says to that side, with these messages after the handshake. The nonces are always the same, so that these
/// bytes make a handshake again when they are fed.
pub async fn transcript(side: Side, messages: &[Vec<u8>]) -> Vec<u8> {
    let (near, mut near_tapped) = duplex(STREAM_BYTES);
    let (far, mut far_tapped) = duplex(STREAM_BYTES);
    let (dialer, acceptor) = (identity(Role::Client), identity(Role::Silo));
    let limits = limits();
    let said = Arc::new(Mutex::new(Vec::new()));
    let tapped = {
        let said = Arc::clone(&said);
        async move {
            let (mut from_near, mut to_near) = tokio::io::split(&mut near_tapped);
            let (mut from_far, mut to_far) = tokio::io::split(&mut far_tapped);
            let to_acceptor = pass_on(&mut from_near, &mut to_far, (side == Side::Acceptor).then_some(&said));
            let to_dialer = pass_on(&mut from_far, &mut to_near, (side == Side::Dialer).then_some(&said));
            futures_util::future::join(to_acceptor, to_dialer).await;
        }
    };
    let honest = async {
        let dialed = connect_over(near, "127.0.0.1:1", &dialer, &limits, |_| Box::new(Counter::default()));
        let accepted = accept(far, &acceptor, &limits, |_| Box::new(Counter::default()));
        let (dialed, accepted) = futures_util::future::join(dialed, accepted).await;
        if let (Ok((near, dialer)), Ok((far, acceptor))) = (dialed, accepted) {
            let speaks = if side == Side::Acceptor { &near } else { &far };
            for message in messages {
                let header = Header { kind: KIND_MESSAGES, ..Header::default() };
                let _ = speaks.send(header, |body| body.extend_from_slice(message));
            }
            speaks.close("all is said");
            futures_util::future::join(dialer, acceptor).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(60), futures_util::future::join(tapped, honest)).await;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.clone()
}

/// Feeds bytes to that side, and then the end of the stream.
pub async fn feed(side: Side, bytes: &[u8]) -> Fed {
    let (mut stranger, stream) = duplex(STREAM_BYTES);
    let counter = Counter::default();
    let counted = Arc::clone(&counter.0);
    let fed = async {
        let _ = stranger.write_all(bytes).await;
        let _ = stranger.shutdown().await;
        let mut answered = Vec::new();
        let _ = stranger.read_to_end(&mut answered).await;
        answered
    };
    let (answered, (accepted, refused)) = futures_util::future::join(fed, run(side, stream, counter)).await;
    let counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
    Fed {
        accepted,
        messages: counted.messages,
        ends: counted.ends,
        reason: refused.unwrap_or_else(|| counted.reason.clone()),
        answered,
    }
}

async fn run(side: Side, stream: DuplexStream, counter: Counter) -> (bool, Option<String>) {
    let limits = limits();
    let connected = match side {
        Side::Dialer => connect_over(stream, "127.0.0.1:1", &identity(Role::Client), &limits, |_| Box::new(counter))
            .await
            .map_err(|error| error.to_string()),
        Side::Acceptor => accept(stream, &identity(Role::Silo), &limits, |_| Box::new(counter))
            .await
            .map_err(|error| error.to_string()),
    };
    match connected {
        Ok((_, running)) => {
            running.await;
            (true, None)
        }
        Err(error) => (false, Some(error)),
    }
}

async fn pass_on<R, W>(from: &mut R, to: &mut W, said: Option<&Arc<Mutex<Vec<u8>>>>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let passed = bytes.get(..read).unwrap_or_default();
        if let Some(said) = said {
            said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(passed);
        }
        if to.write_all(passed).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn identity(role: Role) -> Identity {
    let security = Security::open().secret(Secret::new("a secret that only tests have"));
    let (incarnation, address) = match role {
        Role::Silo => (Uuid::from_u128(1), Some("127.0.0.1:1".to_owned())),
        Role::Client => (Uuid::from_u128(2), None),
    };
    let nonce = [role.encode(); 32];
    Identity::new(role, incarnation, "tests", address, security).with_nonces(move || Some(nonce))
}

fn limits() -> WireLimits {
    WireLimits { frame_bytes_max: 64 << 10, queued_bytes_max: 256 << 10, ..WireLimits::default() }
}

#[derive(Default)]
struct Counter(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    messages: u64,
    ends: u64,
    reason: String,
}

impl Inbound for Counter {
    fn frame(&mut self, link: &Link, header: Header, body: Bytes) -> Result<(), Violation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).messages += 1;
        // Answered, so that a stranger's frames fill the queue, too.
        let _ = link.send(header, |out| out.extend_from_slice(&body));
        Ok(())
    }

    fn may_read(&self, _: &Link) -> bool {
        true
    }

    fn closed(&mut self, _: &Link, reason: &str) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.ends += 1;
        reason.clone_into(&mut counted.reason);
    }
}
