use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ring::hmac;

use super::tls::Tls;

/// A shorter secret could be guessed by whoever hears one handshake.
pub(crate) const SECRET_BYTES_MIN: usize = 16;

/// The size of a proof.
pub(crate) const TAG_BYTES: usize = 32;

/// Used where there is no secret: its proofs prove nothing, and show damage only.
const NO_SECRET: &[u8] = b"grange: no secret";

/// What the members of a cluster share, and nobody else knows.
///
/// It is never sent: each side proves that it knows it, with an HMAC-SHA256 over what both sides said. It keeps strangers
/// out; it does not hide what is sent, nor stop somebody who can change it on its way: TLS does.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Text or bytes, at least 16 of them, best from `openssl rand -hex 32`.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self(secret.as_ref().into())
    }
}

impl Secret {
    /// From a file: white space at its end is not part of it.
    ///
    /// # Errors
    /// When the file can't be read, or is empty.
    pub fn from_file(path: &std::path::Path) -> Result<Self, String> {
        let read = std::fs::read_to_string(path);
        let secret = read.map_err(|error| format!("the secret can't be read from {}: {error}", path.display()))?;
        match secret.trim_end() {
            "" => Err(format!("{} is empty: it must hold the cluster's secret", path.display())),
            secret => Ok(Self::new(secret)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How the two ends of a connection prove who they are. Open by default, which is for loopback only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub(crate) secret: Option<Secret>,
    pub(crate) tls: Option<Tls>,
}

impl Security {
    /// No proof at all: loopback only.
    pub(crate) fn open() -> Self {
        Self::default()
    }

    /// … and each side proves that it knows `secret`.
    pub(crate) fn secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// … and both sides show a certificate, and nothing can be read or changed on its way.
    pub(crate) fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// … and what these variables name: `GRANGE_SECRET_FILE`; `GRANGE_TLS_CA`, `GRANGE_TLS_CERT` and `GRANGE_TLS_KEY`.
    ///
    /// # Errors
    /// What is wrong with them, for whoever set them.
    pub(crate) fn with_env(mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        if let Some(path) = read("GRANGE_SECRET_FILE") {
            let secret = Secret::from_file(path.as_ref()).map_err(|wrong| format!("GRANGE_SECRET_FILE: {wrong}"))?;
            self = self.secret(secret);
        }
        match (read("GRANGE_TLS_CA"), read("GRANGE_TLS_CERT"), read("GRANGE_TLS_KEY")) {
            (None, None, None) => Ok(self),
            (Some(ca), Some(certificate), Some(key)) => {
                let tls = Tls::from_files(ca, certificate, key)
                    .map_err(|error| format!("GRANGE_TLS_CA, GRANGE_TLS_CERT, GRANGE_TLS_KEY: {error}"))?;
                Ok(self.tls(tls))
            }
            _ => Err("GRANGE_TLS_CA, GRANGE_TLS_CERT and GRANGE_TLS_KEY go together: set all three".into()),
        }
    }

    /// Whether the secret, if there is one, is worth anything.
    pub(crate) fn check_secret(&self) -> Result<(), Insecure> {
        match &self.secret {
            Some(Secret(bytes)) if bytes.len() < SECRET_BYTES_MIN => Err(Insecure::SecretShort { bytes: bytes.len() }),
            _ => Ok(()),
        }
    }

    /// Whether this is enough to listen at `address`.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), Insecure> {
        self.check_secret()?;
        match &self.secret {
            None if self.tls.is_none() && !address.ip().to_canonical().is_loopback() => Err(Insecure::Open { address }),
            _ => Ok(()),
        }
    }

    /// What the proofs of this process are made and checked with.
    pub(crate) fn key(&self) -> ProofKey {
        let bytes = self.secret.as_ref().map_or(NO_SECRET, |secret| &secret.0);
        ProofKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

/// A configuration that would let strangers in. Nothing listens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Insecure {
    #[error(
        "refusing to listen on {address}: it can be reached from other hosts, and there is neither a secret nor TLS; \
         give every silo and client the same secret, by `.secret_file(…)` or GRANGE_SECRET_FILE (`openssl rand -hex 32` \
         makes one), or certificates, or listen on 127.0.0.1"
    )]
    Open { address: SocketAddr },
    #[error(
        "refusing a secret of {bytes} bytes: it could be guessed; use at least {SECRET_BYTES_MIN}, by \
         `.secret_file(…)` or GRANGE_SECRET_FILE (`openssl rand -hex 32` makes one)"
    )]
    SecretShort { bytes: usize },
}

/// Makes and checks proofs.
pub(crate) struct ProofKey(hmac::Key);

/// Which side makes a proof. Part of what is proven: a proof that is sent back to its maker is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Dial,
    Accept,
}

impl Direction {
    fn label(self) -> &'static [u8; 16] {
        match self {
            Direction::Dial => b"grange/1 dialer\0",
            Direction::Accept => b"grange/1 accept\0",
        }
    }
}

impl ProofKey {
    /// The proof over `said`, the bytes of both sides so far. Each of them has a fixed size, so that the whole can be cut in one way only.
    pub(crate) fn prove(&self, direction: Direction, said: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(direction.label());
        said.iter().for_each(|bytes| context.update(bytes));
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    /// Whether `tag` is that proof. In constant time: how long it takes tells nothing about the right one.
    pub(crate) fn holds(&self, direction: Direction, said: &[&[u8]], tag: &[u8; TAG_BYTES]) -> bool {
        let all: Vec<u8> = direction.label().iter().chain(said.iter().copied().flatten()).copied().collect();
        hmac::verify(&self.0, &all, tag).is_ok()
    }
}
