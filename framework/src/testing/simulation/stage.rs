//! What all processes of a simulation share: time, randomness, the points at which something can go wrong, the timeline.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use super::faults::{Faults, Injected, Point};
use super::timeline::{Event, Timeline};
use super::writers::Writers;
use crate::clock::scatter;

/// When simulations take place: 2026-01-01, 00:00 UTC.
pub(super) const EPOCH_MS: u64 = 1_767_225_600_000;

pub(super) struct Stage {
    started: Instant,
    ids: AtomicU64,
    chance: AtomicU64,
    weather: AtomicU64,
    kept: Mutex<Kept>,
    writers: Mutex<Writers>,
}

struct Kept {
    timeline: Timeline,
    plan: Plan,
    /// Faults happen.
    active: bool,
    points: u64,
    /// Of a run whose points are listed.
    listed: Option<Vec<Point>>,
    injected: BTreeMap<Injected, u64>,
    /// What is to go wrong at the next point that tells of this.
    scripted: Vec<(String, Injected)>,
    /// How often it did.
    expected: u64,
    /// Processes by what they call themselves.
    names: BTreeMap<Uuid, String>,
}

/// What is to go wrong.
pub(super) enum Plan {
    /// By chance.
    Likely(Faults),
    /// These, at the points with these numbers.
    Exactly(BTreeMap<u64, Injected>),
}

impl Stage {
    pub(super) fn new(seed: u64, plan: Plan, listed: bool) -> Self {
        let seeds = AtomicU64::new(seed);
        let next = || AtomicU64::new(scatter(&seeds));
        Self {
            started: Instant::now(),
            ids: next(),
            chance: next(),
            weather: next(),
            writers: Mutex::default(),
            kept: Mutex::new(Kept {
                timeline: Timeline::default(),
                plan,
                active: true,
                points: 0,
                listed: listed.then(Vec::new),
                injected: BTreeMap::new(),
                scripted: Vec::new(),
                expected: 0,
                names: BTreeMap::new(),
            }),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who claims and commits.
    pub(super) fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// An id that nobody has.
    pub(super) fn fresh(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    pub(super) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.chunks_mut(8).for_each(|chunk| {
            let word = scatter(&self.ids).to_be_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
        });
        bytes
    }

    /// From `low` to `high`, for how long things take.
    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + scatter(&self.weather) % (high - low + 1)
    }

    pub(super) fn note(&self, at: &str, what: impl Into<String>) {
        let event = Event { at_ms: self.now_ms(), at: at.to_owned(), what: what.into() };
        self.kept().timeline.note(event);
    }

    pub(super) fn name(&self, id: Uuid, name: &str) {
        self.kept().names.insert(id, name.to_owned());
    }

    pub(super) fn name_of(&self, id: Uuid) -> String {
        self.kept().names.get(&id).cloned().unwrap_or_else(|| "?".into())
    }

    /// Whether faults happen from now on.
    pub(super) fn set_active(&self, active: bool) {
        self.kept().active = active;
    }

    /// Something is about to happen, at which these can go wrong.
    pub(super) fn point(&self, at: &str, what: &str, faults: &'static [Injected]) -> Option<Injected> {
        let at_ms = self.now_ms();
        let mut kept = self.kept();
        kept.timeline.note(Event { at_ms, at: at.to_owned(), what: what.to_owned() });
        if let Some(fault) = kept.scripted_at(at, what, faults) {
            kept.expected += 1;
            return Some(kept.inject(at_ms, at, what, fault));
        }
        if !kept.active {
            return None;
        }
        let number = kept.points;
        kept.points += 1;
        if let Some(listed) = &mut kept.listed {
            listed.push(Point { number, at_ms, what: format!("{at}: {what}"), faults });
        }
        let fault = match &kept.plan {
            Plan::Exactly(these) => these.get(&number).copied().filter(|fault| faults.contains(fault)),
            Plan::Likely(likely) => faults.iter().copied().find(|fault| {
                let probability = likely.probability(*fault);
                // 53 bits: as exact as the probability itself.
                probability > 0.0 && (scatter(&self.chance) >> 11) as f64 / (1_u64 << 53) as f64 <= probability
            }),
        }?;
        Some(kept.inject(at_ms, at, what, fault))
    }

    /// At the next point that tells of this, this goes wrong.
    pub(super) fn script(&self, what: String, fault: Injected) {
        self.kept().scripted.push((what, fault));
    }

    /// What was to go wrong and did not come to it.
    pub(super) fn unscripted(&self) -> Vec<String> {
        let kept = self.kept();
        kept.scripted.iter().map(|(what, fault)| format!("{fault:?} at {what:?}")).collect()
    }

    pub(super) fn unscript(&self) {
        self.kept().scripted.clear();
    }

    /// How many faults came that were not scripted.
    pub(super) fn unexpected(&self) -> u64 {
        let kept = self.kept();
        kept.injected.values().sum::<u64>() - kept.expected
    }

    /// How many events there were.
    pub(super) fn events(&self) -> u64 {
        self.kept().timeline.len()
    }

    /// Whether one since then tells of this.
    pub(super) fn has_happened(&self, since: u64, what: &str) -> bool {
        let kept = self.kept();
        let new = kept.timeline.len().saturating_sub(since);
        kept.timeline
            .events()
            .rev()
            .take(new as usize)
            .any(|event| format!("{}: {}", event.at, event.what).contains(what))
    }

    pub(super) fn close(&self) -> (Timeline, BTreeMap<Injected, u64>, u64, Vec<Point>) {
        let mut kept = self.kept();
        let listed = kept.listed.take().unwrap_or_default();
        (std::mem::take(&mut kept.timeline), std::mem::take(&mut kept.injected), kept.points, listed)
    }

    /// For an idempotency key, by the hour of the simulation.
    pub(super) fn key(&self) -> Uuid {
        let millis = EPOCH_MS + self.now_ms();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    pub(super) fn draw(&self) -> u64 {
        scatter(&self.ids)
    }
}

impl Kept {
    fn scripted_at(&mut self, at: &str, what: &str, faults: &[Injected]) -> Option<Injected> {
        if self.scripted.is_empty() {
            return None;
        }
        let told = format!("{at}: {what}");
        let fits = |(part, fault): &(String, Injected)| faults.contains(fault) && told.contains(part.as_str());
        let number = self.scripted.iter().position(fits)?;
        Some(self.scripted.remove(number).1)
    }

    fn inject(&mut self, at_ms: u64, at: &str, what: &str, fault: Injected) -> Injected {
        *self.injected.entry(fault).or_default() += 1;
        self.timeline.note(Event { at_ms, at: at.to_owned(), what: format!("!! {fault:?} at: {what}") });
        fault
    }
}
