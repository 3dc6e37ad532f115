//! The wire against itself and against strangers: real sockets where the system takes part, streams in memory elsewhere.

mod fixture;
mod flow;
mod handshake;
mod interleavings;
mod listener;
mod properties;
mod tls;
