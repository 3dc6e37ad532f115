use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::faults::{answered, failed};
use super::options::RedisOptions;
use crate::store::StoreError;

/// How long a server may take to accept a connection and to know who we are.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long without an answer from the other host the system gives the connection up; its own default is a
/// quarter of an hour.
const SILENT_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Commands that wait for the connection to take them: beyond that, callers wait.
const COMMANDS_MAX: usize = 4_096;

/// A server, as it is shown to people: without the user and the password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How any server of this Redis is spoken to.
#[derive(Clone)]
pub(super) struct Access {
    redis: RedisConnectionInfo,
    tls: Option<TlsConnector>,
}

impl Access {
    /// Reads the URLs: where the servers are, and how they are spoken to, which is the same for all.
    pub(super) fn read(options: &RedisOptions) -> Result<(Vec<Server>, Self), StoreError> {
        let mut servers = Vec::new();
        let (mut redis, mut encrypted) = (None, false);
        for url in &options.urls {
            // What the parser says about a URL may quote it, with the password.
            let bad = || {
                failed(
                    "the URL of Redis can't be read: write redis://host:port, or rediss://host:port for TLS (`.redis(…)`, or GRANGE_REDIS)",
                )
            };
            // The library reads this scheme only where it makes such connections itself.
            let (tls, url) = match url.strip_prefix("rediss://") {
                Some(rest) => (true, format!("redis://{rest}")),
                None => (false, url.clone()),
            };
            let info = url.into_connection_info().map_err(|_| bad())?;
            let ConnectionAddr::Tcp(host, port) = info.addr().clone() else { return Err(bad()) };
            if redis.is_some() && tls != encrypted {
                return Err(failed("the URLs of Redis have to begin all with redis://, or all with rediss://"));
            }
            encrypted = tls;
            servers.push(Server { host, port });
            redis.get_or_insert_with(|| info.redis_settings().clone());
        }
        let mut redis = redis.ok_or_else(|| failed("there is no URL of Redis"))?.set_skip_set_lib_name();
        if let Some(user) = &options.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &options.password {
            redis = redis.set_password(password);
        }
        let tls = encrypted.then(|| connector(options.authority.as_deref())).transpose()?;
        Ok((servers, Self { redis, tls }))
    }

    /// In a Redis Cluster there is only one database.
    pub(super) fn without_database(&mut self) {
        self.redis = self.redis.clone().set_db(0);
    }

    /// A connection, ready for commands, and the task that moves its bytes.
    pub(super) async fn connect(&self, server: &Server) -> Result<(MultiplexedConnection, Driver), StoreError> {
        let opening = async {
            let stream =
                TcpStream::connect((server.host.as_str(), server.port)).await.map_err(|error| away(server, &error))?;
            tune(&stream).map_err(|error| away(server, &error))?;
            match &self.tls {
                None => self.begin(server, stream).await,
                Some(tls) => {
                    let name = ServerName::try_from(server.host.clone()).map_err(|error| away(server, &error))?;
                    let stream = tls.connect(name, stream).await.map_err(|error| {
                        failed(format!("the TLS connection to Redis at {server} can't be made: {error}"))
                    })?;
                    self.begin(server, stream).await
                }
            }
        };
        let too_late = |_| away(server, &"no answer in time");
        tokio::time::timeout(CONNECT_TIMEOUT, opening).await.map_err(too_late)?
    }

    async fn begin<S>(&self, server: &Server, stream: S) -> Result<(MultiplexedConnection, Driver), StoreError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Whoever sends limits the time: the library's own limit would know nothing of us.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(COMMANDS_MAX);
        let begun = MultiplexedConnection::new_with_config(&self.redis, stream, config).await;
        let (connection, driver) = begun.map_err(|error| refused(server, &error))?;
        let (alive, ended) = oneshot::channel();
        let driving = spawn_local(async move {
            driver.await;
            drop(alive);
        });
        Ok((connection, Driver { driving: driving.abort_handle(), ended }))
    }
}

/// The task of a connection: when it ends, so does the connection, and all that is on its way.
#[derive(Debug)]
pub(super) struct Driver {
    driving: AbortHandle,
    /// Closed when it has ended, by itself or not.
    pub(super) ended: oneshot::Receiver<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// Redis can't be reached; what was on its way has an unknown outcome.
pub(super) fn away(server: &Server, why: &dyn fmt::Display) -> StoreError {
    failed(format!("Redis at {server} can't be reached ({why})"))
}

/// What was said first was not answered. Whoever has just connected should know that it may be somebody else's address.
pub(super) fn unanswered(server: &Server, error: &RedisError) -> StoreError {
    if error.is_connection_dropped() || error.is_io_error() || error.kind() == redis::ErrorKind::Parse {
        let why =
            "it takes the connection and does not answer as Redis does: is it Redis that listens there, or a silo?";
        return away(server, &format_args!("{why} ({error})"));
    }
    away(server, error)
}

/// It did not let us in.
fn refused(server: &Server, error: &RedisError) -> StoreError {
    if error.kind() == redis::ErrorKind::AuthenticationFailed {
        let what = "does not let us in: check the user and the password, in the URL or in RedisOptions";
        return StoreError::Refused { reason: format!("Redis at {server} {what}").into() };
    }
    match error.clone().into_server_errors().as_deref() {
        Some([(_, error), ..]) => answered(server, error),
        _ => unanswered(server, error),
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(SILENT_MAX))?;
    Ok(())
}

fn connector(authority: Option<&[u8]>) -> Result<TlsConnector, StoreError> {
    let bad = |what: &dyn fmt::Display| failed(format!("no TLS to Redis: {what}"));
    let mut roots = RootCertStore::empty();
    if let Some(pem) = authority {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|error| bad(&format!("the authority's PEM can't be read: {error}")))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(bad(&"there is no certificate authority to trust: name one"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
