use crate::entity::{Key, Methods, Reference, StateCodec};

/// A struct with a key and private state: the scope of atomicity. `#[entity]` on the struct implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "not an entity",
    note = "put `#[entity]` on the struct `{Self}`"
)]
pub trait Entity: Sized + 'static {
    /// The stable name of this type on the wire and in storage.
    const KIND: &'static str;
    /// What tells entities of this kind apart.
    type Key: Key;
    /// The generated reference, `AccountRef` for `Account`: its only inherent methods are the handlers.
    type Ref: Reference<Entity = Self>;

    /// What stands in the attribute.
    #[doc(hidden)]
    const SETTINGS: Settings;
    /// How the state is kept; `None` for a volatile entity, whose state is not.
    #[doc(hidden)]
    const STATE: Option<StateCodec<Self>>;
    /// The state of an entity never seen before.
    #[doc(hidden)]
    fn fresh() -> Self;
}

/// An entity whose handlers are known. `#[entity]` on the `impl` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handlers",
    label = "no `#[entity] impl {Self}`",
    note = "put `#[entity]` on `impl {Self} {{ … }}` too"
)]
pub trait Handlers: Entity {
    /// Names every handler.
    #[doc(hidden)]
    fn register(methods: &mut Methods<Self>);
}

/// An entity with stored state: every one but `#[entity(volatile)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is volatile: durable messages and idempotent asks need an entity with stored state",
    label = "`{Self}` is declared `#[entity(volatile)]`",
    note = "ask it with `.await`, tell it with `.notify()`, or remove `volatile`"
)]
pub trait Durable: Entity {}

/// The arguments of `#[entity(…)]`; `None` means the silo's setting.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an activation may be idle, in ms.
    pub idle_ms: Option<u64>,
    /// How many calls may wait in the mailbox.
    pub mailbox: Option<u32>,
    /// Where activations are placed.
    pub placement: Placement,
}

/// Where an activation is placed when an entity is called for the first time.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the silo that owns the entity's partition.
    Partition,
    /// In the silo that is called.
    Local,
    /// In the less busy of two.
    Balanced,
}
