use crate::store::{Incarnation, Pending};

/// What a look at an address found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    /// A silo of this cluster is there, in this life.
    Answers(Incarnation),
    /// The host is there, and nobody listens.
    Refused,
    /// Nothing came back in time, or nothing that makes sense.
    Silent,
}

/// Looks whether somebody is at an address, by the way by which calls go.
///
/// What answers is the process's listener: it must say the incarnation that [`Handle::incarnation`] has at that moment.
/// An error counts as silence.
///
/// [`Handle::incarnation`]: crate::cluster::Handle::incarnation
pub(crate) trait Probe: Send + Sync + 'static {
    /// One look. It is given `PROBE_MS_MAX`, then dropped.
    fn probe(&self, address: &str) -> Pending<Probed>;
}
