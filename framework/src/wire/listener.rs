use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::auth::{Insecure, Security};
use super::limits::WireLimits;
use super::link::{Inbound, Link};
use super::peer::Identity;
use super::stats::Cause;
use super::transport::{self, Either, Running};
use crate::world::{Accepting, Socket, World};

/// How long the listener waits after the system would not give it a connection, at first …
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// … and at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Addresses whose failures are remembered. A stranger with more of them than this gains a few attempts.
const FAILURES_REMEMBERED: usize = 1024;

/// Accepts connections at one address.
pub(crate) struct Listener {
    socket: Accepting,
    address: SocketAddr,
    limits: WireLimits,
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("{0}")]
    Insecure(#[from] Insecure),
    #[error("can't listen on {address}: {source}{}", hint(.source))]
    Address { address: String, source: io::Error },
}

/// What to do about it, where that is known.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there: stop it, or choose another port (0: any)",
        io::ErrorKind::AddrNotAvailable => {
            "; it is no address of this host: listen on one of its own (0.0.0.0: all), and say the one at which others reach \
             it by `.advertise(…)` or GRANGE_ADVERTISE"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 are the system's: choose another one",
        _ => "",
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

impl Listener {
    /// Listens at `host:port`, if `security` is enough for it.
    pub(crate) async fn bind(
        address: &str,
        security: &Security,
        limits: &WireLimits,
        world: &World,
    ) -> Result<Self, BindError> {
        let wrong = |source| BindError::Address { address: address.to_owned(), source };
        let resolved = world.resolve(address).await.map_err(wrong)?;
        resolved.iter().try_for_each(|address| security.check(*address))?;
        let (address, socket) = world.listen(&resolved).await.map_err(wrong)?;
        Ok(Self { socket, address, limits: limits.clone() })
    }

    /// Where it listens, with the port that the system chose if it was to choose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts for ever. Hands are shaken, and TLS is spoken, in the runtime that polls this; a plain connection is then
    /// handed to `settle`, which may run it in another one. Dropping this stops listening, and leaves the connections alone.
    pub(crate) async fn serve<I, H>(self, me: Identity, inbound: I, settle: H)
    where
        I: Fn(&Link) -> Box<dyn Inbound> + Clone + Send + Sync + 'static,
        H: Fn(Running) + Clone + Send + Sync + 'static,
    {
        let visitors = Arc::new(Visitors::default());
        let mut back_off = BACK_OFF_MIN;
        loop {
            let (socket, from) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely. Trying at once would only burn what others need to free some.
                    me.stats.refuse(Cause::System, &self.address, &error);
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                    continue;
                }
            };
            back_off = BACK_OFF_MIN;
            let visit = match visitors.enter(from.ip().to_canonical(), &self.limits) {
                Ok(visit) => visit,
                Err(cause) => {
                    me.stats.refuse(cause, &from, &"there are too many connections already");
                    continue;
                }
            };
            let (me, limits, inbound, settle) = (me.clone(), self.limits.clone(), inbound.clone(), settle.clone());
            tokio::spawn(receive(socket, from, me, limits, inbound, settle, visit));
        }
    }
}

async fn receive<I, H>(
    socket: Socket,
    from: SocketAddr,
    me: Identity,
    limits: WireLimits,
    inbound: I,
    settle: H,
    visit: Visit,
) where
    I: Fn(&Link) -> Box<dyn Inbound> + Send + 'static,
    H: Fn(Running),
{
    match socket {
        Socket::Tcp(socket) => {
            transport::tune(&socket, &limits);
            // The socket is to wake the runtime that it lives in.
            let move_here = |socket: TcpStream| socket.into_std().and_then(TcpStream::from_std);
            receive_over(socket, move_here, from, me, limits, inbound, settle, visit).await;
        }
        #[cfg(feature = "testing")]
        Socket::Simulated(stream) => receive_over(stream, Ok, from, me, limits, inbound, settle, visit).await,
    }
}

#[allow(clippy::too_many_arguments)]
async fn receive_over<S, I, H>(
    stream: S,
    move_here: fn(S) -> io::Result<S>,
    from: SocketAddr,
    me: Identity,
    limits: WireLimits,
    inbound: I,
    settle: H,
    mut visit: Visit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    I: Fn(&Link) -> Box<dyn Inbound> + Send + 'static,
    H: Fn(Running),
{
    if visit.is_penalised(&limits) {
        sleep(limits.penalty).await;
    }
    match transport::welcome(stream, &me, &limits).await {
        Ok((peer, Either::Tls(stream))) => {
            visit.is_known();
            let (_, running) = transport::start(stream, peer, &me, &limits, inbound);
            running.await;
        }
        Ok((peer, Either::Plain(stream))) => {
            visit.is_known();
            settle(Box::pin(async move {
                let stream = match move_here(stream) {
                    Ok(stream) => stream,
                    Err(error) => return me.stats.refuse(Cause::System, &from, &error),
                };
                let (_, running) = transport::start(stream, peer, &me, &limits, inbound);
                running.await;
                drop(visit);
            }));
        }
        Err(error) => {
            let cause = error.cause();
            if matches!(cause, Cause::Untrusted | Cause::Tls | Cause::NotGrange) {
                visit.failed(&limits);
            }
            me.stats.refuse(cause, &from, &error);
        }
    }
}

/// Who is connected, by address.
#[derive(Debug, Default)]
struct Visitors(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_ip: HashMap<IpAddr, OfIp>,
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Default)]
struct OfIp {
    connections: usize,
    shaking_hands: usize,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Visitors {
    fn enter(self: &Arc<Self>, ip: IpAddr, limits: &WireLimits) -> Result<Visit, Cause> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections_max {
            return Err(Cause::Connections);
        }
        let of_ip = counts.by_ip.entry(ip).or_default();
        if of_ip.connections >= limits.connections_per_ip_max || of_ip.shaking_hands >= limits.handshakes_per_ip_max {
            return Err(Cause::ConnectionsOfIp);
        }
        of_ip.connections += 1;
        of_ip.shaking_hands += 1;
        counts.all += 1;
        Ok(Visit { visitors: Arc::clone(self), ip, is_shaking_hands: true })
    }
}

/// One connection's place among those that there may be. Dropping it makes room.
struct Visit {
    visitors: Arc<Visitors>,
    ip: IpAddr,
    is_shaking_hands: bool,
}

impl Visit {
    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.visitors.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handshake is over.
    fn is_known(&mut self) {
        if std::mem::take(&mut self.is_shaking_hands) {
            self.with(|counts| {
                if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
                    of_ip.shaking_hands = of_ip.shaking_hands.saturating_sub(1);
                }
            });
        }
    }

    fn failed(&self, limits: &WireLimits) {
        let now = Instant::now();
        self.with(|counts| {
            if counts.failures.len() >= FAILURES_REMEMBERED && !counts.failures.contains_key(&self.ip) {
                counts.failures.retain(|_, failures| now.duration_since(failures.since) < limits.penalty_window);
                if counts.failures.len() >= FAILURES_REMEMBERED {
                    counts.failures.clear();
                }
            }
            let failures = counts.failures.entry(self.ip).or_insert(Failures { since: now, count: 0 });
            if now.duration_since(failures.since) >= limits.penalty_window {
                *failures = Failures { since: now, count: 0 };
            }
            failures.count = failures.count.saturating_add(1);
        });
    }

    fn is_penalised(&self, limits: &WireLimits) -> bool {
        let now = Instant::now();
        self.with(|counts| {
            counts.failures.get(&self.ip).is_some_and(|failures| {
                failures.count >= limits.failures_per_ip_max
                    && now.duration_since(failures.since) < limits.penalty_window
            })
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.is_known();
        self.with(|counts| {
            counts.all = counts.all.saturating_sub(1);
            if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
                of_ip.connections = of_ip.connections.saturating_sub(1);
                if of_ip.connections == 0 {
                    counts.by_ip.remove(&self.ip);
                }
            }
        });
    }
}
