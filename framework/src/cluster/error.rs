use std::time::Duration;

use crate::cluster::Probed;
use crate::store::{Incarnation, StoreError};
use crate::wire::Partition;

/// Why a silo is not, or is no longer, part of its cluster. No entity of it is owned by this process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClusterError {
    /// Its own address is another silo's.
    #[error(
        "another silo ({by}) answers at address {address}: give each silo its own address, by `.listen(…)` or GRANGE_LISTEN, \
             and `.advertise(…)` or GRANGE_ADVERTISE"
    )]
    AddressTaken {
        /// The address.
        address: String,
        /// Who is there.
        by: Incarnation,
    },
    /// Nobody answers at its own address.
    #[error(
        "this silo does not reach itself at {address} ({}) after {limit:?}: the address must be one at which the other \
         silos reach it: say it by `.advertise(…)` or GRANGE_ADVERTISE", if *probed == Probed::Refused { "refused" } else { "no answer" }
    )]
    Unreachable {
        /// The address.
        address: String,
        /// What was found.
        probed: Probed,
        /// How long it was tried.
        limit: Duration,
    },
    /// The cluster was made with another number of partitions.
    #[error(
        "the cluster has {fixed} partitions, and this silo was told {wanted}: the number is fixed for ever; \
         nothing was changed"
    )]
    Partitions {
        /// What the cluster has.
        fixed: Partition,
        /// What this silo was told.
        wanted: Partition,
    },
    /// The store did not answer, or refused.
    #[error("the table of silos can't be read or written: {0}")]
    Store(#[from] StoreError),
    /// One of its own threads does nothing.
    #[error("an arbiter of this silo is stuck: the lease is renewed when it goes on")]
    Stuck,
    /// It was told to leave before it was in.
    #[error("this silo was stopped before it had joined its cluster")]
    Stopped,
}

impl ClusterError {
    /// Whether trying again is of no use.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::AddressTaken { .. } | Self::Partitions { .. } | Self::Stopped)
    }
}
