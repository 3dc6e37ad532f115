use std::collections::HashMap;

use crate::store::{Incarnation, Slice};
use crate::wire::Partition;

/// Gives the partitions out anew: Random Slicing (Miranda et al., ACM ToS 10(3), 2014), on partitions in place of the
/// unit interval.
///
/// `silos` are those that are to own something, with their weights, in the order in which they joined. `heirs` are pairs
/// (gone, heir): the heir starts with what the gone one had, because it is the same place restarted; a silo whose weight
/// changed is its own heir. A weight of 0 gets nothing.
///
/// Two silos that call it with the same arguments get the same slices. A silo that is neither new nor an heir never
/// gets a partition that such another one has; who has nothing yet counts as new. Within that, everybody ends with its
/// quota, rounded up or down.
pub(crate) fn reslice(
    old: &[Slice],
    partitions: Partition,
    silos: &[(Incarnation, u32)],
    heirs: &[(Incarnation, Incarnation)],
) -> Vec<Slice> {
    let mut division = Division::new(old, partitions, silos, heirs);
    if division.shares.is_empty() {
        return Vec::new();
    }
    division.give_out();
    division.even_out();
    division.slices()
}

/// The owner of each partition, by its place in `silos`.
struct Division {
    owners: Vec<Option<usize>>,
    shares: Vec<Share>,
    /// Of all weights.
    weight: i128,
}

/// What a silo has, and what it should have.
struct Share {
    silo: Incarnation,
    weight: i128,
    count: i128,
    /// It may get partitions of those who stay as they were: it is new, or an heir.
    changed: bool,
}

/// So many partitions from one silo to another, by their places.
struct Handover {
    from: usize,
    to: usize,
    count: usize,
}

impl Division {
    fn new(
        old: &[Slice],
        partitions: Partition,
        silos: &[(Incarnation, u32)],
        heirs: &[(Incarnation, Incarnation)],
    ) -> Self {
        let (mut shares, mut places) = (Vec::new(), HashMap::new());
        for (silo, weight) in silos.iter().filter(|(_, weight)| *weight > 0) {
            places.entry(*silo).or_insert_with(|| {
                shares.push(Share { silo: *silo, weight: i128::from(*weight), count: 0, changed: true });
                shares.len() - 1
            });
        }
        let heirs: HashMap<Incarnation, Incarnation> = heirs.iter().copied().collect();
        let mut owners = Vec::with_capacity(usize::from(partitions));
        for (length, owner) in old {
            let place = places.get(owner).copied();
            if let Some(share) = place.and_then(|place| shares.get_mut(place)) {
                share.changed = heirs.get(owner) == Some(owner);
            }
            let place = place.or_else(|| places.get(heirs.get(owner)?).copied());
            owners.extend(std::iter::repeat_n(place, usize::from(*length)));
        }
        owners.resize(usize::from(partitions), None);
        let mut division = Self { owners, weight: shares.iter().map(|share| share.weight).sum(), shares };
        for place in division.owners.clone().into_iter().flatten() {
            division.share(place, |share| share.count += 1);
        }
        // Who had something and inherits more is an heir all the same: it may be far over its quota.
        for (gone, heir) in heirs {
            let inherits = gone != heir && old.iter().any(|(_, owner)| *owner == gone) && !places.contains_key(&gone);
            if let Some(place) = places.get(&heir).filter(|_| inherits) {
                division.share(*place, |share| share.changed = true);
            }
        }
        division
    }

    fn share(&mut self, place: usize, change: impl FnOnce(&mut Share)) {
        self.shares.get_mut(place).map(change);
    }

    /// How far a silo is above its quota, in partitions times [`weight`](Self::weight): exact, where a quotient is not.
    fn surplus(&self, share: &Share) -> i128 {
        share.count * self.weight - share.weight * self.owners.len() as i128
    }

    /// The silo that is furthest above its quota (`sign` 1) or below it (-1), and by how much. Of equals, the oldest.
    fn furthest(&self, sign: i128, among: impl Fn(&Share) -> bool) -> Option<(usize, i128)> {
        let shares = self.shares.iter().enumerate().filter(|(_, share)| among(share));
        shares.map(|(place, share)| (place, sign * self.surplus(share))).rev().max_by_key(|(_, by)| *by)
    }

    /// Gives out what nobody has.
    fn give_out(&mut self) {
        let mut gets = vec![0_usize; self.shares.len()];
        for _ in 0..self.owners.iter().filter(|owner| owner.is_none()).count() {
            let Some((place, _)) = self.furthest(-1, |_| true) else { return };
            self.share(place, |share| share.count += 1);
            if let Some(gets) = gets.get_mut(place) {
                *gets += 1;
            }
        }
        let mut before = None;
        for owner in &mut self.owners {
            if owner.is_none() {
                // To whom the neighbour belongs, if there is a choice: long runs make a small table.
                let neighbour = before.filter(|place| gets.get(*place).is_some_and(|gets| *gets > 0));
                *owner = neighbour.or_else(|| gets.iter().position(|gets| *gets > 0));
                if let Some(gets) = owner.and_then(|place| gets.get_mut(place)) {
                    *gets -= 1;
                }
            }
            before = *owner;
        }
    }

    /// Moves partitions from those with too many to those with too few, as long as one of the two is a whole one off.
    fn even_out(&mut self) {
        let mut handovers: Vec<Handover> = Vec::new();
        while let Some((from, to)) = self.next_move() {
            self.share(from, |share| share.count -= 1);
            self.share(to, |share| share.count += 1);
            match handovers.iter_mut().find(|handover| (handover.from, handover.to) == (from, to)) {
                Some(handover) => handover.count += 1,
                None => handovers.push(Handover { from, to, count: 1 }),
            }
        }
        for handover in handovers {
            self.hand_over(&handover);
        }
    }

    fn next_move(&self) -> Option<(usize, usize)> {
        let anyone = |_: &Share| true;
        let changed = |share: &Share| share.changed;
        let pair = |from: Option<(usize, i128)>, to: Option<(usize, i128)>| {
            let ((from, over), (to, under)) = (from?, to?);
            let useful = over > 0 && under > 0 && (over >= self.weight || under >= self.weight);
            useful.then_some((over + under, (from, to)))
        };
        let pairs = [
            pair(self.furthest(1, anyone), self.furthest(-1, changed)),
            pair(self.furthest(1, changed), self.furthest(-1, anyone)),
        ];
        pairs.into_iter().flatten().max_by_key(|(by, _)| *by).map(|(_, pair)| pair)
    }

    /// Takes the shortest runs first, so that the table gets smaller rather than larger.
    fn hand_over(&mut self, handover: &Handover) {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut at = 0;
        for run in self.owners.chunk_by(|left, right| left == right) {
            if run.first() == Some(&Some(handover.from)) {
                runs.push((run.len(), at));
            }
            at += run.len();
        }
        runs.sort_unstable();
        let mut left = handover.count;
        for (length, start) in runs {
            let taken = length.min(left);
            // The end of a run that is cut.
            let end = start + length;
            self.owners.iter_mut().take(end).skip(end - taken).for_each(|owner| *owner = Some(handover.to));
            left -= taken;
        }
    }

    fn slices(&self) -> Vec<Slice> {
        let runs = self.owners.chunk_by(|left, right| left == right);
        runs.filter_map(|run| {
            let share = self.shares.get((*run.first()?)?)?;
            Some((u16::try_from(run.len()).ok()?, share.silo))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::wire::EntityId;

    fn silo(number: usize) -> Incarnation {
        Uuid::from_u128(number as u128 + 1)
    }

    fn expand(slices: &[Slice]) -> Vec<Incarnation> {
        slices.iter().flat_map(|(length, silo)| std::iter::repeat_n(*silo, usize::from(*length))).collect()
    }

    fn counts(slices: &[Slice]) -> BTreeMap<Incarnation, usize> {
        let mut counts = BTreeMap::new();
        for owner in expand(slices) {
            *counts.entry(owner).or_default() += 1;
        }
        counts
    }

    fn check_quotas(slices: &[Slice], partitions: u16, silos: &[(Incarnation, u32)]) {
        let total: u64 = silos.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let counts = counts(slices);
        for (silo, weight) in silos {
            let share = u64::from(*weight) * u64::from(partitions);
            let count = counts.get(silo).copied().unwrap_or(0) as u64;
            assert!(
                count >= share / total && count <= share.div_ceil(total),
                "{silo} has {count} of {partitions}, its weight is {weight} of {total}"
            );
        }
    }

    #[test]
    fn an_unchanged_cluster_keeps_its_slices() {
        let silos = [(silo(0), 3), (silo(1), 2), (silo(2), 2)];
        let first = reslice(&[], 1024, &silos, &[]);
        assert_eq!(first.len(), 3, "the first slices are whole");
        assert_eq!(reslice(&first, 1024, &silos, &[]), first);
    }

    #[test]
    fn a_restarted_silo_inherits() {
        let first = reslice(&[], 1024, &[(silo(0), 1), (silo(1), 1)], &[]);
        let again = reslice(&first, 1024, &[(silo(1), 1), (silo(2), 1)], &[(silo(0), silo(2))]);
        let renamed: Vec<Slice> =
            first.iter().map(|(length, owner)| (*length, if *owner == silo(0) { silo(2) } else { *owner })).collect();
        assert_eq!(again, renamed);
    }

    #[test]
    fn without_a_silo_that_may_own_nothing_is_owned() {
        assert_eq!(reslice(&[], 1024, &[], &[]), []);
        assert_eq!(reslice(&[(1024, silo(0))], 1024, &[(silo(0), 0)], &[]), []);
    }

    #[test]
    fn a_table_of_another_size_is_mended() {
        for old in [vec![(10, silo(0))], vec![(2000, silo(0)), (3000, silo(1))], vec![(0, silo(0)), (1024, silo(7))]] {
            let slices = reslice(&old, 1024, &[(silo(0), 1), (silo(1), 1)], &[]);
            assert_eq!(expand(&slices).len(), 1024, "{old:?}");
        }
    }

    #[test]
    fn the_share_of_a_million_keys_follows_the_weights() {
        let keys: Vec<u16> =
            (0..1_000_000_u32).map(|key| EntityId::new("Key", key.to_be_bytes().to_vec()).partition(1024)).collect();
        for seed in 1..=8_u32 {
            let weight = |number: u32| 1 + (number * 7919 + seed * 104_729) % 16;
            let silos: Vec<_> = (0..seed).map(|number| (silo(number as usize), weight(number))).collect();
            let total: u32 = silos.iter().map(|(_, weight)| weight).sum();
            let owners = expand(&reslice(&[], 1024, &silos, &[]));
            let mut counts = BTreeMap::<_, u32>::new();
            for partition in &keys {
                *counts.entry(owners[usize::from(*partition)]).or_default() += 1;
            }
            for (silo, weight) in silos {
                let (is, should) = (f64::from(counts[&silo]) / 1e6, f64::from(weight) / f64::from(total));
                assert!((is - should).abs() <= 0.01, "{silo} of {seed}: {is} of the keys, should be {should}");
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Change {
        Join { weight: u32 },
        Leave { who: usize },
        Weight { who: usize, weight: u32 },
        Restart { who: usize, weight: u32 },
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (1_u32..20).prop_map(|weight| Change::Join { weight }),
            2 => any::<usize>().prop_map(|who| Change::Leave { who }),
            1 => (any::<usize>(), 1_u32..20).prop_map(|(who, weight)| Change::Weight { who, weight }),
            1 => (any::<usize>(), 1_u32..20).prop_map(|(who, weight)| Change::Restart { who, weight }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_change_moves_what_it_need_not(
            partitions in prop_oneof![Just(1024_u16), 1_u16..300],
            changes in prop::collection::vec(change(), 1..40),
        ) {
            let (mut silos, mut slices, mut next) = (vec![(silo(0), 1_u32)], vec![], 1);
            slices = reslice(&slices, partitions, &silos, &[]);
            for change in changes {
                let before = silos.clone();
                let (mut heirs, mut changed) = (vec![], vec![]);
                match change {
                    Change::Join { weight } if silos.len() < 12 => {
                        silos.push((silo(next), weight));
                        changed.push(silo(next));
                        next += 1;
                    }
                    Change::Leave { who } if silos.len() > 1 => {
                        let gone = silos.remove(who % silos.len());
                        changed.push(gone.0);
                    }
                    Change::Weight { who, weight } => {
                        let who = who % silos.len();
                        silos[who].1 = weight;
                        heirs.push((silos[who].0, silos[who].0));
                        changed.push(silos[who].0);
                    }
                    Change::Restart { who, weight } => {
                        let gone = silos.remove(who % silos.len());
                        silos.push((silo(next), weight));
                        heirs.push((gone.0, silo(next)));
                        changed.extend([gone.0, silo(next)]);
                        next += 1;
                    }
                    _ => continue,
                }
                let new = reslice(&slices, partitions, &silos, &heirs);
                prop_assert_eq!(&new, &reslice(&slices, partitions, &silos, &heirs), "the same from the same");
                prop_assert_eq!(&new, &reslice(&new, partitions, &silos, &[]), "nothing is left to do");
                let (was, is) = (expand(&slices), expand(&new));
                prop_assert_eq!(is.len(), usize::from(partitions));
                prop_assert!(new.len() <= usize::from(partitions));
                prop_assert!(new.windows(2).all(|pair| pair[0].1 != pair[1].1), "runs are joined");
                let counts = counts(&new);
                for (silo, weight) in &silos {
                    let total: u32 = silos.iter().map(|(_, weight)| weight).sum();
                    let quota = f64::from(*weight) / f64::from(total) * f64::from(partitions);
                    let count = counts.get(silo).copied().unwrap_or(0) as f64;
                    prop_assert!((count - quota).abs() < 2.0, "{silo} has {count}, its quota is {quota}");
                }
                let (mut moved, had) = (0, self::counts(&slices));
                for (was, is) in was.iter().zip(&is).filter(|(was, is)| was != is) {
                    prop_assert!(changed.contains(was) || changed.contains(is) || !had.contains_key(is), "from {was} to {is} of {changed:?}");
                    moved += usize::from(!heirs.contains(&(*was, *is)));
                }
                // Half of what the shares differ by, and one partition a silo for rounding.
                let total = |silos: &[(Incarnation, u32)]| silos.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
                let (total_was, total_is) = (total(&before), total(&silos));
                let share = |silos: &[(Incarnation, u32)], total: f64, of: Incarnation| {
                    silos.iter().find(|(silo, _)| *silo == of).map_or(0.0, |(_, weight)| f64::from(*weight) / total)
                };
                let heir = |of: Incarnation| heirs.iter().find(|(gone, _)| *gone == of).map_or(of, |(_, heir)| *heir);
                let mut difference = 0.0;
                for (silo, _) in &before {
                    difference += (share(&silos, total_is, heir(*silo)) - share(&before, total_was, *silo)).abs();
                }
                for (silo, _) in &silos {
                    if !before.iter().any(|(old, _)| heir(*old) == *silo) {
                        difference += share(&silos, total_is, *silo);
                    }
                }
                let least = difference / 2.0 * f64::from(partitions);
                prop_assert!(moved as f64 <= least + before.len().max(silos.len()) as f64, "{moved} moved, {least} suffice");
                slices = new;
            }
        }

        #[test]
        fn a_first_division_keeps_every_quota(
            partitions in 1_u16..2000,
            weights in prop::collection::vec(0_u32..1000, 1..64),
        ) {
            let silos: Vec<_> = weights.iter().enumerate().map(|(number, weight)| (silo(number), *weight)).collect();
            prop_assume!(silos.iter().any(|(_, weight)| *weight > 0));
            check_quotas(&reslice(&[], partitions, &silos, &[]), partitions, &silos);
        }

        #[test]
        fn after_a_join_or_a_leave_every_quota_is_kept(
            weights in prop::collection::vec(1_u32..20, 2..10),
            leaves in any::<usize>(),
        ) {
            let silos: Vec<_> = weights.iter().enumerate().map(|(number, weight)| (silo(number), *weight)).collect();
            let (_, first) = silos.split_last().unwrap();
            let before = reslice(&[], 1024, first, &[]);
            let joined = reslice(&before, 1024, &silos, &[]);
            check_quotas(&joined, 1024, &silos);
            let mut rest = silos.clone();
            rest.remove(leaves % rest.len());
            check_quotas(&reslice(&joined, 1024, &rest, &[]), 1024, &rest);
        }
    }
}
