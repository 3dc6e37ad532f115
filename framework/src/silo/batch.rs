use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::Span;

use crate::CallError;
use crate::entity::{Answer, Gate};
use crate::messaging::Parcel;
use crate::store::{Field, StateWrite};

/// What leaves an entity when a commit has landed, and not before.
pub(crate) enum Release {
    /// The answer to a caller.
    Answer(Box<dyn Answer>),
    /// An acknowledgement, a request to send again later.
    Parcel(Parcel),
}

impl Release {
    /// The commit did not land: callers hear that, and whoever sent a message will send it again.
    pub(crate) fn fail(self, error: &CallError, post: &mut dyn FnMut(Parcel)) {
        match self {
            Self::Answer(answer) => answer.fail(error.clone()),
            Self::Parcel(Parcel::Acknowledge { sender, by, sequence, .. }) => {
                post(Parcel::Later { sender, by, sequence, after: None });
            }
            Self::Parcel(_) => {}
        }
    }
}

/// The effects of turns that gather for one commit, and what is held until it lands.
#[derive(Default)]
pub(crate) struct Batch {
    /// Whether there is anything to write.
    pub(crate) dirty: bool,
    pub(crate) state: Option<StateWrite>,
    /// `None`: remove.
    pub(crate) fields: BTreeMap<Field, Option<Bytes>>,
    /// Each with the span of its call, which hears how long the commit took.
    pub(crate) releases: Vec<(Release, Span)>,
    pub(crate) turns: usize,
    pub(crate) bytes: usize,
    gate: Option<Arc<Gate>>,
}

impl Batch {
    pub(crate) fn put(&mut self, field: Field, value: Bytes) {
        self.dirty = true;
        self.bytes += value.len() + 64;
        self.fields.insert(field, Some(value));
    }

    pub(crate) fn remove(&mut self, field: Field) {
        self.dirty = true;
        self.fields.insert(field, None);
    }

    pub(crate) fn write(&mut self, state: StateWrite) {
        self.dirty = true;
        if let StateWrite::Put(bytes) = &state {
            self.bytes += bytes.len();
        }
        self.state = Some(state);
    }

    /// Opens when this batch has landed.
    pub(crate) fn gate(&mut self) -> Arc<Gate> {
        self.gate.get_or_insert_with(|| Arc::new(Gate::shut())).clone()
    }

    /// It landed: asks that waited for it leave, and these.
    pub(crate) fn land(self) -> Vec<(Release, Span)> {
        if let Some(gate) = self.gate {
            gate.open();
        }
        self.releases
    }

    /// It did not land, or nobody knows.
    pub(crate) fn sink(self) -> Vec<(Release, Span)> {
        if let Some(gate) = self.gate {
            gate.fail();
        }
        self.releases
    }
}
