use bytes::Bytes;

use crate::CallError;
use crate::clock::Tick;
use crate::entity::Errand;

/// An errand on its way: where it went astray, how often it was tried.
pub(crate) struct Trip {
    pub(crate) errand: Box<dyn Errand>,
    /// How often somebody said that the entity is elsewhere.
    pub(crate) hops: u8,
    /// Which frame of its connection it is, since it was sent.
    pub(crate) frame: u64,
    /// How often it was lost where it may have been running.
    pub(crate) lost: u8,
    /// How often it had to wait for a way.
    pub(crate) waits: u32,
    /// When it goes on, while it waits.
    pub(crate) resume: Tick,
    /// When it first found nobody who hosts its kind; 0: never.
    pub(crate) unhosted_since: Tick,
    /// Why it waits: what its caller hears if that lasts.
    pub(crate) why: &'static str,
}

impl Trip {
    pub(crate) fn new(errand: Box<dyn Errand>) -> Self {
        Self { errand, hops: 0, frame: 0, lost: 0, waits: 0, resume: 0, unhosted_since: 0, why: "" }
    }

    /// It is over, with an answer from elsewhere.
    pub(crate) fn finish(self, answer: Result<Bytes, CallError>) {
        match answer {
            Ok(outcome) => self.errand.outcome(&outcome),
            Err(error) => self.errand.fail(error),
        }
    }
}
