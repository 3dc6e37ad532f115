use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use uuid::Uuid;

use super::connection::Connection;
use super::handshake::{self, HandshakeError};
use super::hello::Refusal;
use super::limits::WireLimits;
use super::link::{Inbound, Link};
use super::peer::{Identity, Peer};
use super::stats::Cause;
use super::tls;
use crate::world::Socket;

/// After so much silence the operating system itself asks whether the other host is there …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// … so often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);

/// The task of a connection: it runs until the connection is over, and dropping it ends the connection.
pub(crate) type Running = BoxFuture<'static, ()>;

/// Why there is no connection to an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host answered that nobody listens there.
    #[error("nobody listens at {address}")]
    Refused { address: String },
    /// The host can't be reached, or its name is not known.
    #[error("{address} can't be reached: {source}")]
    Unreachable { address: String, source: io::Error },
    /// No answer in time, while connecting or in the handshake.
    #[error("{address} did not answer within {waited:?} while {during}")]
    Timeout { address: String, waited: Duration, during: &'static str },
    /// It is there, is one of us, and refuses; `incarnation` is who it is, unless it refuses us as strangers.
    #[error("{address} was reached, but {refusal}")]
    Rejected { address: String, refusal: Refusal, incarnation: Option<Uuid> },
    /// It could not prove who it is, or our proof was not taken in TLS. Nothing was said to it.
    #[error("{address} is not trusted: {why}")]
    Untrusted { address: String, why: String },
    /// It is something else, or was cut during the handshake.
    #[error("{address} was reached, but {source}")]
    Handshake { address: String, source: HandshakeError },
}

impl ConnectError {
    /// Whether trying again is of no use, as long as nobody changes anything there.
    pub(crate) fn is_final(&self) -> bool {
        let is_other = matches!(self, Self::Handshake { source: HandshakeError::NotGrange(_), .. });
        is_other || matches!(self, Self::Rejected { .. } | Self::Untrusted { .. })
    }
}

/// Why a connection that came in was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("the handshake took longer than {0:?}")]
    Slow(Duration),
}

impl AcceptError {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            AcceptError::Handshake(error) => error.cause(),
            AcceptError::Tls(_) => Cause::Tls,
            AcceptError::Slow(_) => Cause::Slow,
        }
    }
}

/// Connects over TCP to `host:port`. The connection works while the returned future is polled.
pub(crate) async fn connect(
    address: &str,
    me: &Identity,
    limits: &WireLimits,
    inbound: impl FnOnce(&Link) -> Box<dyn Inbound>,
) -> Result<(Link, Running), ConnectError> {
    let socket = match timeout(limits.connect_timeout, me.world.dial(address)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(source)) => {
            let address = address.to_owned();
            return Err(match source.kind() {
                io::ErrorKind::ConnectionRefused => ConnectError::Refused { address },
                _ => ConnectError::Unreachable { address, source },
            });
        }
        Err(_) => {
            let (address, waited) = (address.to_owned(), limits.connect_timeout);
            return Err(ConnectError::Timeout { address, waited, during: "connecting" });
        }
    };
    #[cfg_attr(not(feature = "testing"), allow(clippy::infallible_destructuring_match))]
    let socket = match socket {
        Socket::Tcp(socket) => socket,
        #[cfg(feature = "testing")]
        Socket::Simulated(stream) => return connect_over(stream, address, me, limits, inbound).await,
    };
    if is_itself(&socket) {
        return Err(ConnectError::Refused { address: address.to_owned() });
    }
    tune(&socket, limits);
    connect_over(socket, address, me, limits, inbound).await
}

/// Connects over a stream that reaches `address`.
pub(crate) async fn connect_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    address: &str,
    me: &Identity,
    limits: &WireLimits,
    inbound: impl FnOnce(&Link) -> Box<dyn Inbound>,
) -> Result<(Link, Running), ConnectError> {
    let handshake = async {
        let Some(tls) = &me.security.tls else {
            let peer = handshake::dial(&mut stream, me, limits).await?;
            return Ok((peer, Either::Plain(stream)));
        };
        let name = tls::server_name(address)
            .ok_or_else(|| Failure::Tls("the address names no host that a certificate could name".into()))?;
        let mut stream =
            tls.connector().connect(name, stream).await.map_err(|error| Failure::Tls(error.to_string()))?;
        let peer = handshake::dial(&mut stream, me, limits).await?;
        Ok((peer, Either::Tls(Box::new(stream))))
    };
    let shaken = within(limits.handshake_timeout, handshake).await;
    let address = || address.to_owned();
    let (peer, stream) = match shaken {
        Some(Ok(connected)) => connected,
        Some(Err(Failure::Tls(why))) => return Err(ConnectError::Untrusted { address: address(), why }),
        Some(Err(Failure::Handshake(error))) => return Err(failed(address(), error)),
        None => {
            let waited = limits.handshake_timeout;
            return Err(ConnectError::Timeout { address: address(), waited, during: "shaking hands: is it a silo?" });
        }
    };
    me.stats.connected.fetch_add(1, Ordering::Relaxed);
    Ok(match stream {
        Either::Plain(stream) => start(stream, peer, me, limits, inbound),
        Either::Tls(stream) => start(stream, peer, me, limits, inbound),
    })
}

/// Accepts a connection over a stream that came in. The connection works while the returned future is polled.
#[cfg(any(test, feature = "testing"))]
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    me: &Identity,
    limits: &WireLimits,
    inbound: impl FnOnce(&Link) -> Box<dyn Inbound>,
) -> Result<(Link, Running), AcceptError> {
    let (peer, stream) = welcome(stream, me, limits).await?;
    Ok(match stream {
        Either::Plain(stream) => start(stream, peer, me, limits, inbound),
        Either::Tls(stream) => start(stream, peer, me, limits, inbound),
    })
}

/// Shakes hands over a stream that came in. The connection does not work yet.
pub(super) async fn welcome<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    me: &Identity,
    limits: &WireLimits,
) -> Result<(Peer, Either<S, Box<TlsStream<S>>>), AcceptError> {
    let handshake = async {
        let Some(tls) = &me.security.tls else {
            let peer = handshake::answer(&mut stream, me, limits, None).await?;
            return Ok((peer, Either::Plain(stream)));
        };
        let mut stream = tls.acceptor().accept(stream).await.map_err(AcceptError::Tls)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        let Some(certificate) = certificate else {
            return Err(AcceptError::Tls(io::Error::other("the peer showed no certificate")));
        };
        let peer = handshake::answer(&mut stream, me, limits, Some(&certificate)).await?;
        Ok((peer, Either::Tls(Box::new(stream))))
    };
    let welcomed = within(limits.handshake_timeout, handshake)
        .await
        .unwrap_or(Err(AcceptError::Slow(limits.handshake_timeout)))?;
    me.stats.accepted.fetch_add(1, Ordering::Relaxed);
    Ok(welcomed)
}

/// Whether this socket is connected to itself. When nobody listens at a port of this host, the system may choose that very port
/// for the dialing end, and TCP then connects the two: nobody is there all the same, and the port would be taken.
pub(super) fn is_itself(socket: &TcpStream) -> bool {
    matches!((socket.local_addr(), socket.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Small frames leave at once, and a host that vanished is noticed also by the operating system.
pub(crate) fn tune(socket: &TcpStream, limits: &WireLimits) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let tuned = socket.set_nodelay(true).and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let tuned = tuned.and_then(|()| SockRef::from(socket).set_tcp_user_timeout(Some(limits.write_stall_max)));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = limits;
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
}

pub(super) enum Either<A, B> {
    Plain(A),
    Tls(B),
}

enum Failure {
    Tls(String),
    Handshake(HandshakeError),
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Failure::Handshake(error)
    }
}

/// Boxed: the future of a handshake, TLS included, is large, and what awaits it should not be.
async fn within<T>(limit: Duration, handshake: impl Future<Output = T>) -> Option<T> {
    timeout(limit, Box::pin(handshake)).await.ok()
}

fn failed(address: String, error: HandshakeError) -> ConnectError {
    match error {
        HandshakeError::Rejected { refusal, incarnation } => ConnectError::Rejected { address, refusal, incarnation },
        HandshakeError::Untrusted(why) => ConnectError::Untrusted { address, why: why.to_owned() },
        // TLS 1.3 tells a client that its certificate was refused only when the client reads for the first time.
        HandshakeError::Cut(error)
            if error.get_ref().is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>()) =>
        {
            ConnectError::Untrusted { address, why: error.to_string() }
        }
        source => ConnectError::Handshake { address, source },
    }
}

/// A connection whose handshake is over. It works while the returned future is polled.
pub(super) fn start<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    me: &Identity,
    limits: &WireLimits,
    inbound: impl FnOnce(&Link) -> Box<dyn Inbound>,
) -> (Link, Running) {
    let link = Link::new(peer, limits);
    let inbound = inbound(&link);
    #[cfg(feature = "testing")]
    let inbound = match me.world.simulation() {
        Some(simulated) => simulated.inbound(link.peer(), inbound),
        None => inbound,
    };
    let connection = Connection::new(stream, link.clone(), inbound, limits, me.stats.clone());
    (link, connection.run().boxed())
}
