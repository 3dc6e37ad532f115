//! A placement for tests: nobody lives beside another by accident.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::FixedState;

use crate::cluster::Table;
use crate::store::Incarnation;
use crate::wire::EntityId;

/// Whom each entity was given to, the same for all processes of a test: each new one goes to the silo that was given the
/// fewest, and not to the silo that names it first.
///
/// So no two share a silo while there are as many silos as entities; and with more entities, one that another's turn is
/// the first to name is elsewhere than that turn.
#[derive(Default)]
pub(crate) struct Scatter(Mutex<Given>);

#[derive(Default)]
struct Given {
    /// The newest that anybody asked with. Who has an older one goes by it, too: there is one answer at a time.
    table: Option<Arc<Table>>,
    silos: HashMap<EntityId, Incarnation, FixedState>,
    counts: HashMap<Incarnation, usize, FixedState>,
}

impl fmt::Debug for Scatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scatter")
    }
}

impl Scatter {
    /// Where this entity belongs, for the process `asking`. `None`: no active silo hosts it.
    pub(crate) fn place(&self, table: &Arc<Table>, id: &EntityId, asking: Incarnation) -> Option<Incarnation> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = given.table.take().filter(|newest| newest.version() > table.version());
        let hosts = given.table.insert(newest.unwrap_or_else(|| table.clone())).hosts_of(&id.kind);
        match given.silos.get(id).copied() {
            Some(silo) if hosts.contains(&silo) && !given.is_crowded(silo, &hosts) => Some(silo),
            before => {
                let silo = given.choose(&hosts, asking)?;
                if let Some(before) = before {
                    given.counts.entry(before).and_modify(|count| *count -= 1);
                }
                *given.counts.entry(silo).or_default() += 1;
                given.silos.insert(id.clone(), silo);
                Some(silo)
            }
        }
    }
}

impl Given {
    fn count(&self, silo: Incarnation) -> usize {
        self.counts.get(&silo).copied().unwrap_or(0)
    }

    /// Entities share it, and another one is there that has none.
    fn is_crowded(&self, silo: Incarnation, hosts: &[Incarnation]) -> bool {
        self.count(silo) > 1 && hosts.iter().any(|host| self.count(*host) == 0)
    }

    /// The silo with the fewest, of equals the oldest. Not the one that asks, if there is another: who lives there is
    /// about to talk to this one.
    fn choose(&self, hosts: &[Incarnation], asking: Incarnation) -> Option<Incarnation> {
        let fewest = |hosts: &mut dyn Iterator<Item = Incarnation>| hosts.min_by_key(|host| self.count(*host));
        let mut others = hosts.iter().copied().filter(|host| *host != asking || self.count(asking) == 0);
        fewest(&mut others).or_else(|| fewest(&mut hosts.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::store::{Member, Roster, Status};

    const CLIENT: Incarnation = Uuid::nil();

    fn silo(number: u128) -> Incarnation {
        Uuid::from_u128(number)
    }

    fn table(version: u64, silos: &[u128]) -> Arc<Table> {
        let member = |number: &u128| Member {
            incarnation: silo(*number),
            address: format!("host:{number}"),
            weight: 1,
            kinds: vec!["A".into()],
            protocol: 1,
            build: "test".into(),
            status: Status::Active,
            joined: 0,
        };
        Arc::new(Table::new(Roster { version, members: silos.iter().map(member).collect(), slices: vec![] }, 64))
    }

    fn id(number: u32) -> EntityId {
        EntityId::new("A", number.to_be_bytes().to_vec())
    }

    fn used(scatter: &Scatter, table: &Arc<Table>, entities: u32) -> BTreeSet<Incarnation> {
        (0..entities).filter_map(|number| scatter.place(table, &id(number), CLIENT)).collect()
    }

    #[test]
    fn no_two_share_a_silo_while_there_are_enough() {
        let (scatter, three) = (Scatter::default(), table(1, &[1, 2, 3]));
        assert_eq!(used(&scatter, &three, 3).len(), 3);
        assert_eq!(used(&scatter, &table(2, &[1, 3]), 3).len(), 2, "one is gone: two share");
        assert_eq!(used(&scatter, &table(3, &[1, 3, 4]), 3).len(), 3, "and no longer than they must");
    }

    #[test]
    fn who_is_named_by_another_is_not_beside_it() {
        let (scatter, three) = (Scatter::default(), table(1, &[1, 2, 3]));
        let from = scatter.place(&three, &id(0), CLIENT).unwrap();
        for number in 1..20 {
            assert_ne!(scatter.place(&three, &id(number), from), Some(from), "{number}");
        }
        let (alone, one) = (Scatter::default(), table(1, &[1]));
        assert_eq!(alone.place(&one, &id(0), silo(1)), Some(silo(1)));
        assert_eq!(alone.place(&one, &id(1), silo(1)), Some(silo(1)), "there is no other");
    }

    #[test]
    fn an_old_table_moves_nothing() {
        let scatter = Scatter::default();
        let (old, both) = (table(1, &[1]), table(2, &[1, 2]));
        let places =
            |table: &Arc<Table>| (0..2).map(|number| scatter.place(table, &id(number), CLIENT)).collect::<Vec<_>>();
        let before = places(&both);
        assert_eq!(places(&old), before);
        assert_eq!(places(&both), before);
    }
}
