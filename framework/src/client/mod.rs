//! Code that calls entities: typed calls, and the client that makes references.
//!
//! A call is a value and itself the lazy future; types keep apart what is asked and what is sent.

mod alarm;
mod ask;
mod call;
mod connect;
mod message;

pub use ask::Ask;
pub use call::{Call, call};
pub use connect::Connect;
pub use message::{Continuation, Message, continuation};

use std::fmt;
use std::sync::Arc;

use crate::entity::{Entity, IntoKey, RawRef, Realm};

/// Makes references to entities. Cheap to clone, safe to share, at home in any tokio runtime.
#[derive(Clone)]
pub struct Client {
    realm: Arc<dyn Realm>,
}

impl Client {
    pub(crate) fn new(realm: Arc<dyn Realm>) -> Self {
        Self { realm }
    }

    /// A reference to the entity of this key: `client.entity::<Account>("alice")`. It need not exist: every id is
    /// always addressable.
    pub fn entity<E: Entity>(&self, key: impl IntoKey<E::Key>) -> E::Ref {
        RawRef::new(self.realm.clone(), key.into_key(), None).into()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
