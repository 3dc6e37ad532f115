use super::store::{Commit, Read, Ticket};

/// The entity in the memory of a silo.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Activation {
    /// The claim that was asked for.
    pub(super) ticket: Ticket,
    pub(super) fence: Ticket,
    pub(super) generation: u64,
    pub(super) version: u64,
    /// The turns that have changed it, also those that are not committed.
    pub(super) image: Vec<u8>,
    /// Turns that have run and are in no commit yet.
    pub(super) gathered: Vec<u8>,
    pub(super) flight: Option<Flight>,
    /// Its claim is being given back.
    pub(super) is_leaving: bool,
}

/// A commit on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) commit: Commit,
    pub(super) turns: Vec<u8>,
    /// How often it was sent.
    pub(super) sends: u8,
}

impl Activation {
    /// From what a claim read.
    pub(super) fn open(ticket: Ticket, read: Read) -> Self {
        Self {
            ticket,
            fence: read.fence,
            generation: read.generation,
            version: read.version,
            image: read.image,
            gathered: Vec::new(),
            flight: None,
            is_leaving: false,
        }
    }

    /// Whether the store has everything.
    pub(super) fn is_clean(&self) -> bool {
        self.gathered.is_empty() && self.flight.is_none() && !self.is_leaving
    }

    pub(super) fn run(&mut self, turn: u8) {
        self.image.push(turn);
        self.gathered.push(turn);
        self.commit_next();
    }

    /// One commit at a time; what has gathered behind it goes together in the next.
    fn commit_next(&mut self) {
        if self.flight.is_some() || self.gathered.is_empty() {
            return;
        }
        let commit = Commit {
            by: self.ticket,
            fence: self.fence,
            generation: self.generation,
            version: self.version,
            image: self.image.clone(),
        };
        let turns = std::mem::take(&mut self.gathered);
        self.flight = Some(Flight { commit, turns, sends: 1 });
    }

    /// The commit in flight is in the store. These turns may be answered.
    pub(super) fn land(&mut self) -> Vec<u8> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        self.version += 1;
        self.commit_next();
        flight.turns
    }
}
