/// A rule of the protocol that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// The store does not compare the fence of a commit.
    NoFence,
    /// The store does not compare the version of a commit.
    NoVersion,
    /// The store does not compare the life that a commit was made in.
    NoGeneration,
    /// The store tests the id of a commit after its fence.
    FenceBeforeId,
    /// The store does not know the id of a commit again.
    NoId,
    /// A silo that claims what it has claimed before gets the same fence again.
    FenceKept,
    /// A silo that claims what it has claimed before is told that somebody owns it.
    OwnClaimRefused,
    /// A claim is taken over from a silo whose row says that it lives.
    TakesFromTheLiving,
    /// A silo that is not in the table which was read last counts as dead, without another look.
    UnknownIsDead,
    /// A silo is declared dead though it missed no renewal.
    DeclaredWithoutAMiss,
    /// A silo serves without a look at its lease.
    LeaseIgnored,
    /// A lease counts from when its renewal was answered, and not from when it was sent.
    LeaseFromTheAnswer,
    /// A silo that was declared dead goes on as if it had been renewed.
    DeadRevives,
    /// A silo that lost its place keeps its activation in its next life.
    KeepsWhatIsVoid,
    /// A refusal counts as definite also when the commit was sent before.
    LaterRefusalIsDefinite,
    /// A commit whose answer was lost counts as refused.
    LostIsRefused,
    /// The claim is given back while the activation still serves.
    ServesWhileReleasing,
    /// A refused commit counts as landed.
    RefusedIsDone,
}
