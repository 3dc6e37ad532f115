//! The entities of the bank: what it is, whatever program hosts or calls them.

mod account;
mod register;
mod transfer;

use grange::SiloBuilder;

pub use account::{Account, AccountRef, Refusal, Statement};
pub use register::{Register, RegisterRef};
pub use transfer::{Conflict, Order, Status, Transfer, TransferRef};

/// A silo that hosts the bank, whatever else it is.
pub fn host(silo: SiloBuilder) -> SiloBuilder {
    silo.entity::<Account>().entity::<Transfer>().entity::<Register>()
}
