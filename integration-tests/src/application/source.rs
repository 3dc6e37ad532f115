use std::collections::BTreeMap;

use grange::prelude::*;

use crate::application::window::{Parcel, Window};

/// Sends numbered messages to windows, 1, 2, 3 … to each.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Source {
    sent: BTreeMap<String, u64>,
}

#[entity]
impl Source {
    /// Sends so many more; answers the number of the last one.
    pub async fn emit(&mut self, to: String, count: u64, turn: &mut Turn<Self>) -> u64 {
        let sent = self.sent.entry(to.clone()).or_default();
        let window = turn.entity::<Window>(to);
        for _ in 0..count {
            *sent += 1;
            turn.send(window.arrive(turn.key().clone(), Parcel::new(turn.key(), *sent)));
        }
        *sent
    }

    /// How many were sent to each.
    pub async fn sent(&self) -> BTreeMap<String, u64> {
        self.sent.clone()
    }
}
