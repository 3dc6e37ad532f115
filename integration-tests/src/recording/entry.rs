use grange::prelude::*;

/// Something that a client asked an entity for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Money from one account to another.
    Transfer {
        /// The account that is asked.
        from: String,
        /// The other.
        to: String,
        /// How much.
        amount: u64,
    },
    /// Numbered messages from a source to a window.
    Emit {
        /// The source, which is asked.
        source: String,
        /// The window.
        window: String,
        /// How many.
        count: u64,
    },
    /// A value into a register; each value is written once in a run.
    Write {
        /// The register.
        register: String,
        /// The value.
        value: u64,
    },
    /// The value of a register.
    Read {
        /// The register.
        register: String,
    },
    /// An id into a list; each id is added once in a run.
    Add {
        /// The list.
        list: String,
        /// The id.
        id: Uuid,
    },
}

impl Operation {
    /// The entity that is asked: its kind, its key.
    pub fn entity(&self) -> (&'static str, &str) {
        match self {
            Self::Transfer { from, .. } => ("Ledger", from),
            Self::Emit { source, .. } => ("Source", source),
            Self::Write { register, .. } | Self::Read { register } => ("Register", register),
            Self::Add { list, .. } => ("Once", list),
        }
    }
}

/// What a client was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// The handler's value, or 0 for none.
    Answered(u64),
    /// The handler's `Err`: no effect.
    Rejected,
    /// An error of the framework that says: no effect.
    Failed(String),
    /// An error that says: perhaps.
    Unknown(String),
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// About to be asked. The same number again: asked again under its key, after its end.
    Asked {
        /// The operation's number in this journal.
        number: u64,
        /// Since the journal began, in microseconds.
        at: u64,
        /// What.
        operation: Operation,
        /// Under which idempotency key.
        key: Option<Uuid>,
    },
    /// Came to its end.
    Ended {
        /// The operation's number.
        number: u64,
        /// Since the journal began, in microseconds.
        at: u64,
        /// How.
        ended: Ended,
        /// How often the client itself tried again under the same key.
        retries: u32,
    },
}
