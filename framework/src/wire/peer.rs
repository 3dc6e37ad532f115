use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::auth::Security;
use super::stats::WireStats;
use crate::world::World;

/// The versions of the protocol that this build speaks.
pub(crate) const PROTOCOLS: RangeInclusive<u16> = 1..=1;

/// The size of what each side adds to a handshake so that it never was before.
pub(crate) const NONCE_BYTES: usize = 32;

/// What an end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Hosts entities, and may be told of membership and messages.
    Silo,
    /// Calls entities, and nothing else.
    Client,
}

impl Role {
    pub(crate) fn encode(self) -> u8 {
        match self {
            Role::Silo => 1,
            Role::Client => 2,
        }
    }

    pub(crate) fn decode(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Role::Silo),
            2 => Some(Role::Client),
            _ => None,
        }
    }
}

/// The other end of a connection, as it showed itself in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) role: Role,
    /// The life of the process: another one at the same address is another peer.
    pub(crate) incarnation: Uuid,
    /// Where others reach it, if it is a silo.
    pub(crate) address: Option<String>,
    /// The version that both speak.
    pub(crate) protocol: u16,
    /// Its build, for people.
    pub(crate) build: String,
    /// The largest frame that it reads.
    pub(crate) frame_bytes_max: usize,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Silo => "silo",
            Role::Client => "client",
        };
        write!(f, "{role} {}", self.incarnation)?;
        self.address.iter().try_for_each(|address| write!(f, " at {address:?}"))
    }
}

/// Says whether an incarnation may connect.
type Admission = dyn Fn(Role, Uuid) -> bool + Send + Sync;

/// Makes a number used once; `None` when the system has no randomness to give.
type Nonces = dyn Fn() -> Option<[u8; NONCE_BYTES]> + Send + Sync;

/// This process, as it shows itself to others. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) role: Role,
    pub(crate) cluster: String,
    /// Where others reach this silo.
    pub(crate) address: Option<String>,
    pub(crate) build: String,
    pub(crate) security: Security,
    /// What its connections do, all together.
    pub(crate) stats: Arc<WireStats>,
    pub(crate) protocols: RangeInclusive<u16>,
    incarnation: Arc<Mutex<Uuid>>,
    admission: Arc<Admission>,
    nonces: Arc<Nonces>,
    pub(crate) world: World,
}

impl Identity {
    pub(crate) fn new(
        role: Role,
        incarnation: Uuid,
        cluster: impl Into<String>,
        address: Option<String>,
        security: Security,
    ) -> Self {
        Self {
            role,
            cluster: cluster.into(),
            address,
            build: concat!("grange ", env!("CARGO_PKG_VERSION")).to_owned(),
            security,
            stats: Arc::default(),
            protocols: PROTOCOLS,
            incarnation: Arc::new(Mutex::new(incarnation)),
            admission: Arc::new(|_, _| true),
            nonces: Arc::new(system_nonce),
            world: World::default(),
        }
    }

    /// Of a process in this world.
    pub(crate) fn in_world(self, world: World) -> Self {
        #[cfg(feature = "testing")]
        if let Some(simulated) = world.simulation().cloned() {
            return Self { nonces: Arc::new(move || Some(simulated.nonce())), world, ..self };
        }
        Self { world, ..self }
    }

    pub(crate) fn incarnation(&self) -> Uuid {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this process is another incarnation, in all clones. Connections that are open go on as the old one: close them.
    pub(crate) fn rejoin(&self, incarnation: Uuid) {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner) = incarnation;
    }

    /// Asks `admission` about each peer that is authenticated; `false` refuses it as dead.
    pub(crate) fn admitting(self, admission: impl Fn(Role, Uuid) -> bool + Send + Sync + 'static) -> Self {
        Self { admission: Arc::new(admission), ..self }
    }

    /// Takes the nonces of handshakes from here: for simulations, which must repeat them. Elsewhere they must not be guessable.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_nonces(self, nonces: impl Fn() -> Option<[u8; NONCE_BYTES]> + Send + Sync + 'static) -> Self {
        Self { nonces: Arc::new(nonces), ..self }
    }

    pub(crate) fn admits(&self, role: Role, incarnation: Uuid) -> bool {
        (self.admission)(role, incarnation)
    }

    pub(crate) fn nonce(&self) -> Option<[u8; NONCE_BYTES]> {
        (self.nonces)()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role)
            .field("incarnation", &self.incarnation())
            .field("cluster", &self.cluster)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn system_nonce() -> Option<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).ok().map(|()| nonce)
}
