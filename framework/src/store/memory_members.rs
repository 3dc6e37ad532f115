use std::fmt;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::store::{Beat, Incarnation, Joined, Member, Members, OVERDUE_MS, Pending, Roster, Slice, Status};
use crate::wire::{PARTITIONS_DEFAULT, Partition};

/// The table of silos in its shortest form, with a clock of its own: what every store's table does.
pub(crate) struct MemoryMembers {
    kept: Mutex<Kept>,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// The table, as a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Kept {
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
    pub(super) fn resumed(kept: Kept, now: u64) -> Self {
        Self { kept: Mutex::new(kept), clock: Box::new(move || now) }
    }

    #[cfg(feature = "testing")]
    pub(super) fn kept(&self) -> Kept {
        self.lock().clone()
    }

    fn answer<T: Send + 'static>(&self, act: impl FnOnce(&mut Kept, u64) -> T) -> Pending<T> {
        let now = (self.clock)();
        Box::pin(ready(Ok(act(&mut self.lock(), now))))
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

impl Kept {
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
            self.roster.version += 1;
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

    fn advance(&mut self, me: Incarnation, to: Status) -> bool {
        let living = self.roster.members.iter_mut().find(|member| member.incarnation == me && member.status < to);
        let Some(member) = living.filter(|member| member.status.lives()) else { return false };
        member.status = to;
        self.roster.version += 1;
        true
    }

    fn declare_dead(&mut self, who: Incarnation, missed_ms: u64, now: u64) -> bool {
        let mut rows = self.roster.members.iter_mut().zip(&self.renewed);
        let Some((member, renewed)) = rows.find(|(member, _)| member.incarnation == who) else { return false };
        if member.status.lives() && now.saturating_sub(*renewed) >= missed_ms {
            member.status = Status::Dead;
            self.roster.version += 1;
        }
        member.status == Status::Dead
    }

    fn place(&mut self, version: u64, slices: Vec<Slice>) -> bool {
        let current = self.roster.version == version;
        if current {
            self.roster.slices = slices;
            self.roster.version += 1;
        }
        current
    }
}

impl Members for MemoryMembers {
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined> {
        self.answer(|kept, now| kept.join(member, partitions, now))
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        self.answer(|kept, now| kept.beat(me, now))
    }
    fn roster(&self) -> Pending<Roster> {
        self.answer(|kept, _| kept.roster.clone())
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.answer(|kept, _| kept.advance(me, to))
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        self.answer(|kept, now| kept.declare_dead(who, missed_ms, now))
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.answer(|kept, _| kept.place(version, slices))
    }
    fn partitions(&self) -> Partition {
        self.lock().partitions.unwrap_or(PARTITIONS_DEFAULT)
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
        assert_eq!(members.join(member(1), 64).await.unwrap(), Joined::Done { version: 1, now: START_MS });
        assert_eq!(members.join(member(1), 64).await.unwrap(), Joined::Done { version: 1, now: START_MS });
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
        let alive = |now, overdue| Beat::Alive { version: 2, now, overdue };
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
        assert!(members.place(1, slices.clone()).await.unwrap());
        assert!(!members.place(1, vec![]).await.unwrap());
        let roster = members.roster().await.unwrap();
        assert_eq!((roster.version, roster.slices), (2, slices));
    }
}
