//! What goes wrong, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A fault that can be injected at a point of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Injected {
    /// A frame between two processes vanishes.
    FrameLost,
    /// A frame with a message comes twice.
    FrameTwice,
    /// A frame with a message comes after the one behind it.
    FrameLate,
    /// A frame comes half a second later, when those behind it have come.
    FrameDelayed,
    /// The connection breaks before the frame is taken in.
    CutBefore,
    /// The connection breaks after the frame was taken in, before it is answered.
    CutAfter,
    /// A connection that is being made is refused.
    ConnectRefused,
    /// A connection breaks as soon as it is accepted.
    CutAtAccept,
    /// A connection breaks during the handshake.
    CutAtHandshake,
    /// The silo dies, as by `kill -9`, and is started again later.
    Crash,
    /// The silo stands still for longer than its lease, and goes on.
    Pause,
    /// A call of the store takes 300 ms.
    StoreSlow,
    /// A call of the store fails, and nothing was written.
    StoreFailsBefore,
    /// A call of the store is carried out, and its answer is lost.
    StoreFailsAfter,
    /// A call of the store fails, and is carried out a while later all the same.
    StoreLate,
    /// The store fails over when it has answered, to a replica that missed what it had written last: acknowledged work is gone.
    /// Only where it is asked for by name.
    StoreForgets,
}

impl Injected {
    /// All of which the store keeps what it acknowledged: grange promises everything under them.
    pub const ALL: [Self; 15] = [
        Self::FrameLost,
        Self::FrameTwice,
        Self::FrameLate,
        Self::FrameDelayed,
        Self::CutBefore,
        Self::CutAfter,
        Self::ConnectRefused,
        Self::CutAtAccept,
        Self::CutAtHandshake,
        Self::Crash,
        Self::Pause,
        Self::StoreSlow,
        Self::StoreFailsBefore,
        Self::StoreFailsAfter,
        Self::StoreLate,
    ];
}

/// How likely each fault is, at each point where it can happen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults(BTreeMap<Injected, f64>);

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything goes wrong now and then: what kills rarely, what delays more often.
    pub fn all() -> Self {
        let likely = |fault| match fault {
            Injected::StoreForgets => 0.0,
            Injected::Crash | Injected::Pause => 0.001,
            Injected::CutBefore | Injected::CutAfter => 0.003,
            Injected::FrameLost | Injected::StoreFailsAfter | Injected::StoreFailsBefore | Injected::StoreLate => 0.01,
            Injected::ConnectRefused | Injected::CutAtAccept | Injected::CutAtHandshake | Injected::StoreSlow => 0.02,
            Injected::FrameTwice | Injected::FrameLate | Injected::FrameDelayed => 0.05,
        };
        Self(Injected::ALL.into_iter().map(|fault| (fault, likely(fault))).collect())
    }

    /// This one as likely as that, from 0 to 1.
    pub fn with(mut self, fault: Injected, probability: f64) -> Self {
        self.0.insert(fault, probability);
        self
    }

    pub(super) fn probability(&self, fault: Injected) -> f64 {
        self.0.get(&fault).copied().unwrap_or(0.0)
    }
}

/// A point of a run at which something can go wrong: points are numbered as they come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Point {
    /// Its number in the run, from 0.
    pub number: u64,
    /// When, in virtual ms.
    pub at_ms: u64,
    /// What happened there, for people.
    pub what: String,
    /// What can go wrong there.
    pub faults: &'static [Injected],
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "point {} at {} ms: {}", self.number, self.at_ms, self.what)
    }
}

pub(super) const ON_MESSAGE: &[Injected] = &[
    Injected::FrameLost,
    Injected::FrameTwice,
    Injected::FrameLate,
    Injected::FrameDelayed,
    Injected::CutBefore,
    Injected::CutAfter,
    Injected::Crash,
    Injected::Pause,
];
pub(super) const ON_CALL: &[Injected] = &[
    Injected::FrameLost,
    Injected::FrameDelayed,
    Injected::CutBefore,
    Injected::CutAfter,
    Injected::Crash,
    Injected::Pause,
];
/// At a client, which does not die.
pub(super) const ON_ANSWER: &[Injected] =
    &[Injected::FrameLost, Injected::FrameDelayed, Injected::CutBefore, Injected::CutAfter];
pub(super) const ON_CONNECT: &[Injected] = &[Injected::ConnectRefused, Injected::CutAtAccept, Injected::CutAtHandshake];
pub(super) const BEFORE_STORE: &[Injected] =
    &[Injected::StoreSlow, Injected::StoreFailsBefore, Injected::StoreLate, Injected::Crash, Injected::Pause];
pub(super) const AFTER_STORE: &[Injected] = &[Injected::StoreFailsAfter, Injected::StoreForgets, Injected::Crash];

/// A silo that was paused goes on after so long: its lease is over by then, and others have taken over.
pub(super) const PAUSE: Duration = Duration::from_millis(7_000);
/// One that crashed is started again after so long.
pub(super) const RESTART: Duration = Duration::from_millis(2_500);
/// What is carried out although it failed comes so much later.
pub(super) const LATE: Duration = Duration::from_millis(700);
pub(super) const SLOW: Duration = Duration::from_millis(300);
/// A frame that is delayed comes so much later.
pub(super) const DELAYED: Duration = Duration::from_millis(500);
/// A replica that takes over missed the writes of so long.
pub(super) const FORGETS: Duration = Duration::from_millis(100);
