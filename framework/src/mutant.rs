//! Mistakes that can be planted on purpose, to see that the checks find them. In what users build there is none.

#[cfg(feature = "testing")]
use std::cell::Cell;

macro_rules! mutants { ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
    /// A mistake in the protocol: what a simulation must find. See [`Simulation::mutant`](crate::testing::Simulation::mutant).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[cfg_attr(not(feature = "testing"), allow(dead_code, unreachable_pub))]
    #[non_exhaustive]
    pub enum Mutant { $($(#[doc = $doc])+ $name,)* }

    #[cfg(feature = "testing")]
    impl Mutant {
        /// All that there are.
        pub const ALL: &'static [Self] = &[$(Self::$name,)*];

        /// What it does, in words.
        pub fn what(self) -> &'static str {
            match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
        }
    }
} }

mutants! {
    /// A message is acknowledged before the commit that applied it.
    AcknowledgesBeforeCommit,
    /// The output gate is open: answers leave before their commit.
    AnswersBeforeCommit,
    /// Messages leave before the commit that has them.
    SendsBeforeCommit,
    /// A silo answers though its lease is over.
    LeaseIgnored,
    /// The state that a rejected turn left stays.
    RollbackSkipped,
    /// A message that was applied is applied again when it comes again.
    RepeatsApplied,
    /// A message is applied though the one before it is missing.
    GapsApplied,
    /// A gap is acknowledged: the sender forgets what was not applied.
    GapsAcknowledged,
    /// The first message of a sender from another silo is believed without a look at its store.
    FirstsUnproven,
    /// That a message was applied is not in the commit that applied it.
    SeenNotRecorded,
    /// The outcome of a keyed ask is not in the commit that applied it.
    KeyNotRecorded,
    /// A key that is known is taken for a new one.
    KeysRepeated,
    /// Messages are not in the commit that staged them.
    OutboxNotStored,
    /// The numbers of messages start again with each activation.
    NumbersStartAgain,
    /// No commit enters the entity in the agenda.
    AgendaNotWritten,
    /// What the agenda names is not woken.
    WakesIgnored,
    /// A message that was not acknowledged is not sent again.
    NotRepeated,
    /// A target is told to forget before the store has forgotten the message.
    ForgetsTooSoon,
    /// A record that is needed again is removed with what was forgotten.
    TrimsWhatIsKnown,
    /// The store applies trims that a commit overtook.
    TrimsUnversioned,
    /// The store takes the commits of silos that lost their claim.
    CommitsUnfenced,
    /// The store takes commits that were made for another version.
    CommitsUnversioned,
    /// A commit that the store refused counts as landed.
    RefusedIsDone,
    /// A call that was lost where it may have run is said to have had no effect.
    LostIsRefused,
    /// A call that was lost where it may have run is made again.
    LostIsRepeated,
    /// An entity is taken from an owner that lives.
    TakesFromTheLiving,
    /// A silo that was declared dead goes on as if nothing had happened.
    DeadRevives,
    /// A silo keeps what it has in memory when it loses its place.
    KeepsWhatIsVoid,
    /// The continuation of a message is not sent.
    ContinuationsDropped,
    /// A message is given up at its second attempt.
    GivesUpAtOnce,
}

#[cfg(feature = "testing")]
thread_local! {
    /// A simulation is one thread: so what is planted in it is nowhere else.
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

impl Mutant {
    /// Whether this mistake is to be made.
    #[inline]
    #[allow(clippy::unused_self)]
    pub(crate) fn is_planted(self) -> bool {
        #[cfg(feature = "testing")]
        return PLANTED.get() == Some(self);
        #[cfg(not(feature = "testing"))]
        false
    }
}

/// A mistake that is made on this thread until this is dropped.
#[cfg(feature = "testing")]
pub(crate) struct Planted(());

#[cfg(feature = "testing")]
impl Planted {
    pub(crate) fn plant(mutant: Option<Mutant>) -> Self {
        PLANTED.set(mutant);
        Self(())
    }
}

#[cfg(feature = "testing")]
impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
