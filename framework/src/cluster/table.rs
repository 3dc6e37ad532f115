use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::Xxh3Default;

use crate::cluster::reslice;
use crate::store::{Incarnation, Member, Roster, Slice, Status};
use crate::wire::{EntityId, Partition};

/// All that silos know of each other, at one version, arranged for questions. It never changes: a new version is a new
/// table.
#[derive(Debug)]
pub(crate) struct Table {
    roster: Roster,
    partitions: Partition,
    places: HashMap<Incarnation, usize, RandomState>,
    /// Of the members, in their order.
    addresses: Vec<Arc<str>>,
    /// The owner of each partition, by its place among the members; `NOBODY` where there is none.
    owners: Vec<u32>,
    /// Who is active and hosts a kind, by their places, the oldest first.
    hosts: HashMap<String, Vec<usize>, RandomState>,
}

const NOBODY: u32 = u32::MAX;

impl Table {
    /// What the store knows, of a cluster with so many partitions.
    pub(crate) fn new(roster: Roster, partitions: Partition) -> Self {
        let places: HashMap<_, _, RandomState> =
            roster.members.iter().enumerate().map(|(place, member)| (member.incarnation, place)).collect();
        let addresses = roster.members.iter().map(|member| member.address.as_str().into()).collect();
        let mut owners = Vec::with_capacity(usize::from(partitions));
        for (length, owner) in &roster.slices {
            let place = places.get(owner).and_then(|place| u32::try_from(*place).ok()).unwrap_or(NOBODY);
            owners.extend(std::iter::repeat_n(place, usize::from(*length)));
        }
        owners.resize(usize::from(partitions), NOBODY);
        let mut hosts = HashMap::<String, Vec<usize>, RandomState>::default();
        for (place, member) in roster.members.iter().enumerate().filter(|(_, member)| member.status == Status::Active) {
            for kind in &member.kinds {
                hosts.entry(kind.clone()).or_default().push(place);
            }
        }
        Self { roster, partitions, places, addresses, owners, hosts }
    }

    /// Rises with every change, as long as the store lives.
    pub(crate) fn version(&self) -> u64 {
        self.roster.version
    }

    /// What this was made of: a client is sent it.
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// How many partitions there are.
    pub(crate) fn partitions(&self) -> Partition {
        self.partitions
    }

    /// The row of a silo, dead or alive.
    pub(crate) fn member(&self, incarnation: Incarnation) -> Option<&Member> {
        self.at(*self.places.get(&incarnation)?)
    }

    /// Where a silo is reached that may still own entities.
    pub(crate) fn address(&self, incarnation: Incarnation) -> Option<&Arc<str>> {
        let place = *self.places.get(&incarnation)?;
        self.at(place).filter(|member| member.status.lives()).and(self.addresses.get(place))
    }

    /// Where a silo is in its life. `None` says nothing unless this table was read after the silo was seen named: then
    /// the store has no row of it, see [`Handle::reread`](crate::cluster::Handle::reread).
    pub(crate) fn status(&self, incarnation: Incarnation) -> Option<Status> {
        self.member(incarnation).map(|member| member.status)
    }

    /// Whether what a silo owned may be taken: its row says dead or left, or there is none. Only in a table from
    /// [`Handle::reread`](crate::cluster::Handle::reread), asked for after the silo was seen named as an owner.
    pub(crate) fn is_gone(&self, incarnation: Incarnation) -> bool {
        !self.status(incarnation).is_some_and(Status::lives)
    }

    /// Those who may still own entities, in the order in which they joined.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Member> {
        self.roster.members.iter().filter(|member| member.status.lives())
    }

    /// Whom placement gives a partition to.
    #[cfg(test)]
    pub(crate) fn owner(&self, partition: Partition) -> Option<&Member> {
        self.at(*self.owners.get(usize::from(partition))? as usize)
    }

    /// The partitions that placement gives to a silo.
    pub(crate) fn owned_by(&self, incarnation: Incarnation) -> Vec<Partition> {
        let place = self.places.get(&incarnation).and_then(|place| u32::try_from(*place).ok());
        let owners = (0..).zip(&self.owners);
        owners.filter(|(_, owner)| place == Some(**owner)).map(|(partition, _)| partition).collect()
    }

    /// Where an entity should be claimed that nobody owns: at the owner of its partition, or, where that one can't take
    /// it, at another silo that hosts its kind, the same for everybody who asks. `None`: no active silo hosts it.
    pub(crate) fn candidate(&self, id: &EntityId) -> Option<&Member> {
        let hosts = self.hosts.get(&*id.kind)?;
        let owner = *self.owners.get(usize::from(id.partition(self.partitions)))? as usize;
        if hosts.binary_search(&owner).is_ok() {
            return self.at(owner);
        }
        self.two_choices(id).map(|(first, _)| first)
    }

    /// The active silos that host a kind, the oldest first; those that weigh nothing only where all do.
    #[cfg(feature = "testing")]
    pub(crate) fn hosts_of(&self, kind: &str) -> Vec<Incarnation> {
        let hosts: Vec<&Member> =
            self.hosts.get(kind).into_iter().flatten().filter_map(|place| self.at(*place)).collect();
        let weighs = hosts.iter().any(|member| member.weight > 0);
        hosts.iter().filter(|member| !weighs || member.weight > 0).map(|member| member.incarnation).collect()
    }

    /// Two silos of which the less busy one should get an entity that nobody owns, the same two for everybody who asks.
    /// Both are the same if only one active silo hosts its kind.
    pub(crate) fn two_choices(&self, id: &EntityId) -> Option<(&Member, &Member)> {
        let hosts = self.hosts.get(&*id.kind)?;
        let weighs = hosts.iter().any(|place| self.at(*place).is_some_and(|member| member.weight > 0));
        let mut best: [Option<(f64, &Member)>; 2] = [None, None];
        for member in hosts.iter().filter_map(|place| self.at(*place)) {
            // Where all weigh nothing, one of them is still better than none.
            let weight = if weighs { member.weight } else { 1 };
            let score = rendezvous(id, member.incarnation, weight);
            let beats = |best: &Option<(f64, &Member)>| best.is_none_or(|(other, _)| score.total_cmp(&other).is_gt());
            if weight > 0 && beats(&best[0]) {
                best = [Some((score, member)), best[0]];
            } else if weight > 0 && beats(&best[1]) {
                best[1] = Some((score, member));
            }
        }
        let (_, first) = best[0]?;
        Some((first, best[1].map_or(first, |(_, second)| second)))
    }

    /// The slices as the active silos call for them, unless they are so already, or nobody is there to own anything.
    pub(crate) fn to_place(&self) -> Option<Vec<Slice>> {
        let active = || self.roster.members.iter().filter(|member| member.status == Status::Active);
        // A silo that restarted before its older life was declared dead: the address is the younger one's.
        let successor = |gone: &Member| {
            let after = self.roster.members.iter().rev().take_while(|member| member.incarnation != gone.incarnation);
            after.filter(|member| member.status == Status::Active).find(|member| member.address == gone.address)
        };
        let silos: Vec<_> = active()
            .filter(|member| successor(member).is_none())
            .map(|member| (member.incarnation, member.weight))
            .collect();
        let heirs = self.roster.members.iter().filter_map(|gone| {
            let owns = self.roster.slices.iter().any(|(_, owner)| *owner == gone.incarnation);
            owns.then(|| successor(gone)).flatten().map(|heir| (gone.incarnation, heir.incarnation))
        });
        let slices = reslice(&self.roster.slices, self.partitions, &silos, &heirs.collect::<Vec<_>>());
        (!slices.is_empty() && slices != self.roster.slices).then_some(slices)
    }

    fn at(&self, place: usize) -> Option<&Member> {
        self.roster.members.get(place)
    }
}

/// Highest random weight (Thaler and Ravishankar, 1998), with weights after Schindelhauer and Schomaker (2005): the
/// share of ids for which a silo scores highest follows its weight, and who comes or goes moves only its own.
fn rendezvous(id: &EntityId, incarnation: Incarnation, weight: u32) -> f64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(incarnation.as_bytes());
    hasher.update(id.kind.as_bytes());
    hasher.update(&[0]);
    hasher.update(&id.key);
    // In (0, 1): 52 bits and a half.
    let uniform = ((hasher.digest() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(weight) / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn member(number: u128, status: Status, kinds: &[&str]) -> Member {
        Member {
            incarnation: Uuid::from_u128(number),
            address: format!("host:{number}"),
            weight: 1,
            kinds: kinds.iter().map(ToString::to_string).collect(),
            protocol: 1,
            build: "test".into(),
            status,
            joined: number as u64,
        }
    }

    fn table(members: Vec<Member>) -> Table {
        let mut roster = Roster { version: 1, members, slices: vec![] };
        roster.slices = Table::new(roster.clone(), 64).to_place().unwrap_or_default();
        Table::new(roster, 64)
    }

    fn id(number: u32) -> EntityId {
        EntityId::new("A", number.to_be_bytes().to_vec())
    }

    #[test]
    fn the_owner_of_the_partition_gets_what_it_hosts() {
        let table = table(vec![member(1, Status::Active, &["A"]), member(2, Status::Active, &["A", "B"])]);
        for number in 0..1000 {
            let id = id(number);
            assert_eq!(table.candidate(&id), table.owner(id.partition(64)));
            let id = EntityId::new("B", id.key);
            assert_eq!(table.candidate(&id).unwrap().incarnation, Uuid::from_u128(2), "only the second hosts it");
        }
        assert_eq!(table.candidate(&EntityId::new("C", b"x".to_vec())), None);
    }

    #[test]
    fn only_active_silos_get_anything() {
        let table = table(vec![
            member(1, Status::Dead, &["A"]),
            member(2, Status::Draining, &["A"]),
            member(3, Status::Joining, &["A"]),
            member(4, Status::Active, &["A"]),
        ]);
        assert_eq!(table.owned_by(Uuid::from_u128(4)).len(), 64);
        assert!((0..100).all(|number| table.candidate(&id(number)).unwrap().incarnation == Uuid::from_u128(4)));
        assert_eq!(table.status(Uuid::from_u128(1)), Some(Status::Dead));
        assert_eq!(table.status(Uuid::from_u128(5)), None);
        assert_eq!(table.living().count(), 3);
        let gone = (1..=5).filter(|number| table.is_gone(Uuid::from_u128(*number)));
        assert_eq!(gone.collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn slices_that_still_name_a_dead_silo_do_not_stop_anybody() {
        let mut roster = table(vec![member(1, Status::Active, &["A"]), member(2, Status::Active, &["A"])]).roster;
        roster.members[0].status = Status::Dead;
        let table = Table::new(roster, 64);
        assert!((0..100).all(|number| table.candidate(&id(number)).unwrap().incarnation == Uuid::from_u128(2)));
        assert!(table.to_place().is_some());
    }

    #[test]
    fn a_weight_of_nothing_gets_nothing_unless_nobody_else_is_there() {
        let mut spare = member(1, Status::Active, &["A", "B"]);
        spare.weight = 0;
        let table = table(vec![spare, member(2, Status::Active, &["A"])]);
        assert!((0..100).all(|number| table.candidate(&id(number)).unwrap().incarnation == Uuid::from_u128(2)));
        let only = table.candidate(&EntityId::new("B", b"x".to_vec())).map(|member| member.incarnation);
        assert_eq!(only, Some(Uuid::from_u128(1)));
    }

    #[test]
    fn a_silo_that_restarts_before_it_was_declared_dead_inherits() {
        let first = table(vec![member(1, Status::Active, &["A"]), member(2, Status::Active, &["A"])]);
        let mut roster = first.roster;
        let mut again = member(3, Status::Active, &["A"]);
        again.address = "host:1".into();
        roster.members.push(again);
        let slices = Table::new(roster.clone(), 64).to_place().unwrap();
        assert_eq!(slices, [(32, Uuid::from_u128(3)), (32, Uuid::from_u128(2))]);
        roster.slices = slices;
        roster.members[0].status = Status::Dead;
        assert_eq!(Table::new(roster, 64).to_place(), None, "its older life moves nothing when it is declared dead");
    }

    #[test]
    fn the_two_choices_follow_the_weights_and_move_little() {
        let mut members: Vec<_> = (1..=4).map(|number| member(number, Status::Active, &["A"])).collect();
        members[0].weight = 3;
        let before = table(members.clone());
        let mut count = 0;
        for number in 0..10_000 {
            let (first, second) = before.two_choices(&id(number)).unwrap();
            assert_ne!(first, second);
            count += u32::from(first.incarnation == Uuid::from_u128(1));
        }
        assert!((4_700..5_300).contains(&count), "half of the weight, and {count} of 10,000");
        members[3].status = Status::Dead;
        let after = table(members);
        for number in 0..1_000 {
            let (was, is) = (before.two_choices(&id(number)).unwrap().0, after.two_choices(&id(number)).unwrap().0);
            assert!(was.incarnation == Uuid::from_u128(4) || was.incarnation == is.incarnation);
        }
        let one = table(vec![member(1, Status::Active, &["A"])]);
        let (first, second) = one.two_choices(&id(1)).unwrap();
        assert_eq!(first, second);
    }
}
