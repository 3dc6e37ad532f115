use std::fmt;
use std::time::Duration;

#[cfg(feature = "testing")]
use super::scripts::Mutant;
use crate::wire::PARTITIONS_DEFAULT;

/// Longer than Redis takes when it is well, and shorter than anybody wants to wait for one that isn't.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Redis is, and how it is talked to.
///
/// ```
/// use grange::store::RedisOptions;
///
/// let options = RedisOptions::new("redis://127.0.0.1:6379").cluster("bank");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    pub(super) urls: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) authority: Option<Vec<u8>>,
    pub(super) cluster: String,
    pub(super) partitions: u16,
    pub(super) response_timeout: Duration,
    #[cfg(feature = "testing")]
    pub(super) mutants: Vec<Mutant>,
}

impl RedisOptions {
    /// A server: `redis://host:port`, or `rediss://host:port` for TLS; `redis://user:password@host:port/database`. Of a
    /// Redis Cluster, one server is enough to find the others, while it is there.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            user: None,
            password: None,
            authority: None,
            cluster: "default".into(),
            partitions: PARTITIONS_DEFAULT,
            response_timeout: RESPONSE_TIMEOUT,
            #[cfg(feature = "testing")]
            mutants: Vec::new(),
        }
    }

    /// One more server: of the same Redis Cluster, or one that may be primary instead.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// The cluster of silos that shares this data: part of every key, so that several can use one Redis.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The user of Redis' access control list, instead of one in the URL.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The password, instead of one in the URL.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Who must have signed the servers' certificates, as PEM. Without it, the authorities that the system trusts.
    #[must_use]
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// How many partitions the ids are divided into. Fixed for ever when the first silo joins.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// After how long without an answer a call fails, with its outcome unknown.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Leaves a check out of the scripts, or what it needs to succeed.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn mutant(mut self, mutant: Mutant) -> Self {
        self.mutants.push(mutant);
        self
    }
}

/// Without what is secret: the password, and URLs, which may hold it.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("cluster", &self.cluster)
            .field("partitions", &self.partitions)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}
