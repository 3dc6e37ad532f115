//! What travels, and how: the envelope of a durable message, and the connections between processes.
//!
//! A connection is a stream of frames after a handshake in which both sides prove who they are. It belongs to one task, which
//! alone reads and writes; everybody else holds a link to it, and queues frames. `docs/protocol.md` has the protocol byte by byte.
//!
//! The room knows nothing of what a message means, nor of who is alive: bodies are bytes to it, and an incarnation is a number.
//! The store keeps envelopes, delivery sends them.
//!
//! What always holds:
//! - Nothing of variable size is read from a peer that has not proven who it is, and it learns nothing but that it was refused.
//! - Memory follows the bytes that came, never a length that somebody declared.
//! - No byte from outside makes this room panic.
//! - A connection ends once, and says so once, whatever ended it.

pub(crate) mod address;
mod ask;
mod auth;
mod connection;
mod envelope;
mod frame;
pub(crate) mod frames;
mod handshake;
mod hello;
mod identity;
mod limits;
mod link;
mod listener;
mod peer;
mod stats;
mod tls;
mod transport;

// Under this name, so that a test can put other locks in its place.
use std::sync;

pub use auth::Secret;
pub use envelope::{Continuation, Envelope};
pub use identity::{EntityId, PARTITIONS_DEFAULT, Partition};
pub use tls::{Tls, TlsError};
pub(crate) use {
    ask::{Ask, AskHead, Asker, Malformed, Manner, read_id, read_uuid, write_id},
    auth::Security,
    frame::Header,
    limits::WireLimits,
    link::{Inbound, Link, SendError, Violation},
    listener::Listener,
    peer::{Identity, PROTOCOLS, Role},
    stats::WireStats,
    transport::{ConnectError, Running, connect},
};

#[cfg(test)]
mod tests;
#[cfg(feature = "testing")]
pub(crate) use peer::Peer;
#[cfg(test)]
pub(crate) use {auth::Insecure, hello::Refusal, listener::BindError, stats::Cause, transport::AcceptError};
#[cfg(any(test, feature = "testing"))]
pub(crate) use {frame::KIND_MESSAGES, transport::accept, transport::connect_over};
