use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Certificates for connections that prove both ends and can't be read by others: TLS 1.3, with a certificate on both sides.
///
/// The authority is the cluster's own: whoever has a certificate of it may connect. A silo's certificate names the host in
/// the address that it advertises, and what claims to be a silo without such a certificate is refused.
#[derive(Clone)]
pub struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Certificates that can't be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that can't be read, or is no PEM.
    #[error("the {what} in {path:?} can't be read: {source}")]
    File {
        /// What was expected in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file with nothing in it that could be used.
    #[error("there is no {what} in {path:?}: it should be PEM")]
    Empty {
        /// What was expected in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The certificate, key and authority don't go together.
    #[error("the certificates can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The authority can't check anybody.
    #[error("the authority can't be used: {0}")]
    Authority(#[from] VerifierBuilderError),
}

impl Tls {
    /// Reads the authority's certificate, this process's certificate (and what is between the two), and its private key, all PEM.
    ///
    /// # Errors
    ///
    /// When a file can't be read or they don't go together.
    pub fn from_files(
        authority: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let authorities = certificates("authority's certificate", authority.as_ref())?;
        let chain = certificates("certificate", certificate.as_ref())?;
        let path = key.as_ref();
        let key = PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File {
            what: "private key",
            path: path.to_owned(),
            source,
        })?;
        Self::new(authorities, chain, key)
    }

    pub(crate) fn new(
        authorities: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        // This verifier refuses whoever shows no certificate; only `allow_unauthenticated` would let them in.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.client))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::File { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if found.is_empty() { Err(TlsError::Empty { what, path: path.to_owned() }) } else { Ok(found) }
}

/// The host of `host:port`, as a certificate names it.
pub(crate) fn server_name(address: &str) -> Option<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

/// Whether the certificate names the host of this address.
pub(crate) fn names(certificate: &CertificateDer<'_>, address: &str) -> bool {
    let Some(name) = server_name(address) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}
