//! What the frames of grange mean: docs/protocol.md has their bodies byte by byte.

/// A call of an entity. Body: [`Ask`](crate::wire::Ask). The header has what is left of its time and how often it went
/// astray.
pub(crate) const ASK: u8 = 16;
/// The outcome of a call. Body: the encoded `Outcome`.
pub(crate) const ANSWER: u8 = 17;
/// A call ended with an error of the framework. Body: a `CallError`, with names.
pub(crate) const FAILURE: u8 = 18;
/// The entity is not here. Body: the incarnation that has it, or nothing where that is not known.
pub(crate) const ELSEWHERE: u8 = 19;
/// Nobody waits for this call any more. No body.
pub(crate) const CANCEL: u8 = 20;
/// From silo to silo, one way: a message between entities, or word about one. Body: a `Post`, with names.
pub(crate) const POST: u8 = 21;
/// To a client: who is in the cluster. Body: a `Roster`, with names.
pub(crate) const ROSTER: u8 = 22;
/// To a client: an entity is elsewhere than its partition says. Body: its id, and the incarnation that has it.
pub(crate) const HINT: u8 = 23;
/// From silo to silo: how many entities are in memory. Body: a `u64`.
pub(crate) const LOAD: u8 = 24;
