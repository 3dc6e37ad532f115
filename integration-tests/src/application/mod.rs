//! The entities under test: each keeps in its state what shows, from outside, whether a promise was broken.

mod ledger;
mod once;
mod register;
mod source;
mod spot;
mod window;

use grange::SiloBuilder;

pub use ledger::{Books, Insufficient, Ledger, LedgerRef};
pub use once::{Once, OnceRef};
pub use register::{Register, RegisterRef};
pub use source::{Source, SourceRef};
pub use spot::{Spot, SpotRef};
pub use window::{KEPT, Parcel, Stream, Window, WindowRef};

/// What an account is opened with.
pub const OPENING: u64 = 1_000;

/// Hosts all of them.
pub fn host(silo: SiloBuilder) -> SiloBuilder {
    silo.entity::<Ledger>().entity::<Once>().entity::<Register>().entity::<Source>().entity::<Spot>().entity::<Window>()
}
