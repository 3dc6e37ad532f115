use std::time::Duration;

/// One way through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// From who connected to the target.
    There = 0,
    /// From the target back.
    Back = 1,
}

/// Where a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// One way only.
    One(Lane),
    /// Both ways.
    Both,
}

impl Direction {
    pub(crate) fn lanes(self, lanes: &mut [LaneConditions; 2]) -> impl Iterator<Item = &mut LaneConditions> {
        let chosen = move |index: usize| match self {
            Self::One(lane) => lane as usize == index,
            Self::Both => true,
        };
        lanes.iter_mut().enumerate().filter(move |(index, _)| chosen(*index)).map(|(_, lane)| lane)
    }
}

/// How it is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) target: String,
    pub(crate) lanes: [LaneConditions; 2],
    pub(crate) refuses: bool,
    /// How often all connections were cut: one that is older than the last cut ends.
    pub(crate) cuts: u64,
}

/// How it is in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneConditions {
    pub(crate) holds: bool,
    pub(crate) delay: Duration,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) cut_within: Option<u64>,
}

impl Conditions {
    pub(crate) fn new(target: &str) -> Self {
        Self { target: target.to_owned(), lanes: Default::default(), refuses: false, cuts: 0 }
    }

    /// Nothing can be connected across a link that is silent in one direction, either.
    pub(crate) fn is_silent(&self) -> bool {
        self.lanes.iter().any(|lane| lane.holds)
    }
}
