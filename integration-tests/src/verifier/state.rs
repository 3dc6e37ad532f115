use std::collections::BTreeMap;

use grange::prelude::*;

use crate::application::{Books, Stream};

/// What the entities say when everything is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalState {
    /// Accounts.
    pub ledgers: BTreeMap<String, Books>,
    /// How many messages each source sent to each window.
    pub sources: BTreeMap<String, BTreeMap<String, u64>>,
    /// What each window saw of each source.
    pub windows: BTreeMap<String, BTreeMap<String, Stream>>,
    /// Registers.
    pub registers: BTreeMap<String, u64>,
    /// Lists.
    pub lists: BTreeMap<String, Vec<Uuid>>,
    /// Entities that the store's agenda still names; `None`: nobody looked.
    pub due: Option<Vec<String>>,
}

impl FinalState {
    /// Whether everything that was sent has arrived.
    pub fn is_drained(&self) -> bool {
        self.ledgers.values().all(|books| books.underway == 0)
            && self.flows().all(|(_, _, sent, stream)| stream.map_or(0, |stream| stream.count) >= sent)
            && self.due.as_ref().is_none_or(Vec::is_empty)
    }

    /// From which source to which window, how many were sent, and what came.
    pub(crate) fn flows(&self) -> impl Iterator<Item = (&str, &str, u64, Option<&Stream>)> {
        self.sources.iter().flat_map(move |(source, sent)| {
            sent.iter().map(move |(window, sent)| {
                let stream = self.windows.get(window).and_then(|streams| streams.get(source));
                (source.as_str(), window.as_str(), *sent, stream)
            })
        })
    }
}
