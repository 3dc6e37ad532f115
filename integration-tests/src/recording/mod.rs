//! What a client asked and what it was answered, written down outside the system under test.

mod entry;
mod journal;
mod read;

pub use entry::{Ended, Entry, Operation};
pub use journal::{Journal, Number};
pub use read::{Moment, Recorded, Recording};
