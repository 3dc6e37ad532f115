use std::fmt;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

#[cfg(feature = "testing")]
use crate::store::memory_past::Past;
use crate::store::{Beat, Incarnation, Joined, Member, Members, OVERDUE_MS, Pending, Roster, Slice, Status};
use crate::wire::{PARTITIONS_DEFAULT, Partition};

/// The table of silos in its shortest form, with a clock of its own: what every store's table does.
pub(crate) struct MemoryMembers {
    kept: Mutex<Kept>,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Debug, Default)]
struct Kept {
    table: Tabled,
    /// How far the clock has jumped, in ms.
    #[cfg(feature = "testing")]
    ahead: u64,
    /// What was before the last writes, where they can be lost.
    #[cfg(feature = "testing")]
    past: Option<Past<Tabled>>,
}

/// The table, as a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tabled {
    /// Fixed by the first silo that joins.
    partitions: Option<Partition>,
    pub(super) roster: Roster,
    /// When each member renewed last, in the order of the roster.
    renewed: Vec<u64>,
}

/// Where the clock starts: at 0, a subtraction gone wrong would look like an age of nothing.
const START_MS: u64 = 1_000_000_000;

impl MemoryMembers {
    /// By tokio's clock: under paused time everything is repeatable.
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self::with_clock(move || START_MS + started.elapsed().as_millis() as u64)
    }

    /// By another clock, in ms.
    pub(crate) fn with_clock(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { kept: Mutex::default(), clock: Box::new(clock) }
    }

    /// One that goes on from what another one held, at a time that stands still.
    #[cfg(feature = "testing")]
    pub(super) fn resumed(table: Tabled, now: u64) -> Self {
        let members = Self::with_clock(move || now);
        members.lock().table = table;
        members
    }

    #[cfg(feature = "testing")]
    pub(super) fn kept(&self) -> Tabled {
        self.lock().table.clone()
    }

    /// The same, of a store that can lose its last writes.
    #[cfg(feature = "testing")]
    pub(crate) fn that_can_lose() -> Self {
        let members = Self::new();
        members.lock().past = Some(Past::default());
        members
    }

    /// It forgets the writes of the last `lost`. Says how many.
    #[cfg(feature = "testing")]
    pub(crate) fn lose(&self, lost: std::time::Duration) -> usize {
        let mut kept = self.lock();
        let gone = kept.past.as_mut().map(|past| past.lose(lost, |_| true)).unwrap_or_default();
        let count = gone.len();
        if let Some(table) = gone.into_iter().next_back() {
            kept.table = table;
        }
        count
    }

    /// It forgets everything.
    #[cfg(feature = "testing")]
    pub(crate) fn flush(&self) {
        let mut kept = self.lock();
        kept.table = Tabled::default();
        kept.past = kept.past.take().map(|_| Past::default());
    }

    /// Its clock jumps ahead.
    #[cfg(feature = "testing")]
    pub(crate) fn clock_jumps(&self, ahead: std::time::Duration) {
        self.lock().ahead += ahead.as_millis() as u64;
    }

    fn answer<T: Send + 'static>(&self, act: impl FnOnce(&mut Tabled, u64) -> T) -> Pending<T> {
        let mut kept = self.lock();
        let now = (self.clock)();
        #[cfg(feature = "testing")]
        let now = now + kept.ahead;
        Box::pin(ready(Ok(act(&mut kept.table, now))))
    }

    /// The same for what writes.
    fn write<T: Send + 'static>(&self, act: impl FnOnce(&mut Tabled, u64) -> T) -> Pending<T> {
        #[cfg(feature = "testing")]
        {
            let mut kept = self.lock();
            let Kept { table, past, .. } = &mut *kept;
            if let Some(past) = past {
                past.remember(|| table.clone());
            }
        }
        self.answer(act)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryMembers").field(&*self.lock()).finish()
    }
}

impl Tabled {
    /// The table is another one. Its version is above those of a life that was lost, too: by then time has passed.
    fn moved(&mut self, now: u64) {
        self.roster.version = (self.roster.version + 1).max(now);
    }

    fn join(&mut self, mut member: Member, partitions: Partition, now: u64) -> Joined {
        let fixed = *self.partitions.get_or_insert(partitions);
        if fixed != partitions {
            return Joined::Partitions(fixed);
        }
        // Whose first answer was lost asks again. A row that is there stays what it is: dead is final.
        if !self.roster.members.iter().any(|known| known.incarnation == member.incarnation) {
            (member.status, member.joined) = (Status::Joining, now);
            self.roster.members.push(member);
            self.renewed.push(now);
            self.moved(now);
        }
        Joined::Done { version: self.roster.version, now }
    }

    fn beat(&mut self, me: Incarnation, now: u64) -> Beat {
        let mut overdue = Vec::new();
        let mut lives = false;
        for (member, renewed) in self.roster.members.iter().zip(&mut self.renewed) {
            if member.incarnation == me && member.status.lives() {
                (*renewed, lives) = (now, true);
            } else if member.status.lives() && now.saturating_sub(*renewed) >= OVERDUE_MS {
                overdue.push((member.incarnation, now.saturating_sub(*renewed)));
            }
        }
        if lives { Beat::Alive { version: self.roster.version, now, overdue } } else { Beat::Dead }
    }

    fn advance(&mut self, me: Incarnation, to: Status, now: u64) -> bool {
        let living = self.roster.members.iter_mut().find(|member| member.incarnation == me && member.status < to);
        let Some(member) = living.filter(|member| member.status.lives()) else { return false };
        member.status = to;
        self.moved(now);
        true
    }

    fn declare_dead(&mut self, who: Incarnation, missed_ms: u64, now: u64) -> bool {
        let mut rows = self.roster.members.iter_mut().zip(&self.renewed);
        let Some((member, renewed)) = rows.find(|(member, _)| member.incarnation == who) else { return false };
        if !member.status.lives() {
            return member.status == Status::Dead;
        }
        if now.saturating_sub(*renewed) < missed_ms {
            return false;
        }
        member.status = Status::Dead;
        self.moved(now);
        true
    }

    fn place(&mut self, version: u64, slices: Vec<Slice>, now: u64) -> bool {
        let current = self.roster.version == version;
        if current {
            self.roster.slices = slices;
            self.moved(now);
        }
        current
    }
}

impl Members for MemoryMembers {
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined> {
        self.write(|kept, now| kept.join(member, partitions, now))
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        self.write(|kept, now| kept.beat(me, now))
    }
    fn roster(&self) -> Pending<Roster> {
        self.answer(|kept, _| kept.roster.clone())
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.write(|kept, now| kept.advance(me, to, now))
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        self.write(|kept, now| kept.declare_dead(who, missed_ms, now))
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.write(|kept, now| kept.place(version, slices, now))
    }
    fn partitions(&self) -> Partition {
        self.lock().table.partitions.unwrap_or(PARTITIONS_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn members() -> (MemoryMembers, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(START_MS));
        let clock = now.clone();
        (MemoryMembers::with_clock(move || clock.load(Ordering::Relaxed)), now)
    }

    fn member(number: u128) -> Member {
        Member {
            incarnation: Incarnation::from_u128(number),
            address: "host:1".into(),
            weight: 1,
            kinds: vec![],
            protocol: 1,
            build: String::new(),
            status: Status::Active,
            joined: 7,
        }
    }

    #[tokio::test]
    async fn a_life_goes_one_way() {
        let (members, now) = members();
        let me = Incarnation::from_u128(1);
        assert_eq!(members.beat(me).await.unwrap(), Beat::Dead);
        assert_eq!(members.join(member(1), 64).await.unwrap(), Joined::Done { version: START_MS, now: START_MS });
        assert_eq!(members.join(member(1), 64).await.unwrap(), Joined::Done { version: START_MS, now: START_MS });
        assert_eq!(members.join(member(2), 65).await.unwrap(), Joined::Partitions(64));
        let row = &members.roster().await.unwrap().members[0];
        assert_eq!((row.status, row.joined), (Status::Joining, START_MS));
        for (to, moves) in [(Status::Draining, true), (Status::Active, false), (Status::Draining, false)] {
            assert_eq!(members.advance(me, to).await.unwrap(), moves, "{to:?}");
        }
        now.fetch_add(1_499, Ordering::Relaxed);
        assert!(!members.declare_dead(me, 1_500).await.unwrap(), "it missed too little");
        now.fetch_add(1, Ordering::Relaxed);
        assert!(members.declare_dead(me, 1_500).await.unwrap());
        assert!(members.declare_dead(me, 1_500).await.unwrap(), "it is dead already");
        assert_eq!(members.beat(me).await.unwrap(), Beat::Dead);
        members.join(member(1), 64).await.unwrap();
        assert_eq!(members.beat(me).await.unwrap(), Beat::Dead, "joining again revives nobody");
        assert!(!members.advance(me, Status::Left).await.unwrap());
    }

    #[tokio::test]
    async fn a_renewal_tells_who_is_late() {
        let (members, now) = members();
        let (me, other) = (Incarnation::from_u128(1), Incarnation::from_u128(2));
        members.join(member(1), 64).await.unwrap();
        members.join(member(2), 64).await.unwrap();
        now.fetch_add(OVERDUE_MS - 1, Ordering::Relaxed);
        let alive = |now, overdue| Beat::Alive { version: START_MS + 1, now, overdue };
        assert_eq!(members.beat(me).await.unwrap(), alive(START_MS + 999, vec![]));
        now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(members.beat(me).await.unwrap(), alive(START_MS + 1_000, vec![(other, 1_000)]));
        // Set back: nobody is late by a clock that has not come there yet.
        now.fetch_sub(2_000, Ordering::Relaxed);
        assert_eq!(members.beat(me).await.unwrap(), alive(START_MS - 1_000, vec![]));
    }

    #[tokio::test]
    async fn the_older_of_two_plans_is_refused() {
        let (members, _) = members();
        members.join(member(1), 64).await.unwrap();
        let slices = vec![(64, Incarnation::from_u128(1))];
        assert!(members.place(START_MS, slices.clone()).await.unwrap());
        assert!(!members.place(START_MS, vec![]).await.unwrap());
        let roster = members.roster().await.unwrap();
        assert_eq!((roster.version, roster.slices), (START_MS + 1, slices));
    }
}
