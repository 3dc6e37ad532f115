use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::entity::Realm;
use crate::messaging::Parcel;
use crate::silo::ledger::OUTBOX_WAKE_MS;
use crate::silo::shared::{Post, Shared};
use crate::store::{Due, Partitions};
use crate::wire::EntityId;

/// How often the agenda is read.
const PERIOD: Duration = Duration::from_millis(500);

/// Entities woken at a time: after a restart there may be many, and each has to be loaded.
const WAKES_MAX: usize = 1_000;

/// How long an entity that was woken is left to its work before it is woken again, in ms; twice as long each time, so
/// that those that can't do it (an unreadable state, a kind that nobody hosts) don't keep the others from their turn.
const PATIENCE_MS: u64 = 5_000;

/// The longest patience, as a power of two.
const PATIENCE_DOUBLINGS: u32 = 7;

/// An entity that was woken and is still due, as far as is known.
struct Woken {
    at: u64,
    times: u32,
    /// The time for which it was: with another one it has done its work, and is due for more.
    wake: u64,
}

impl Woken {
    fn patience(&self) -> u64 {
        PATIENCE_MS << self.times.min(PATIENCE_DOUBLINGS)
    }
}

/// Wakes the entities that are due: those whose messages were not acknowledged when their activation ended, and those
/// with reminders. The one mechanism of recovery: a woken entity finds its own outbox and reminders and does the work.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut woken: HashMap<EntityId, Woken> = HashMap::new();
    // At the start everything in an outbox is due: nobody is delivering it.
    let mut ahead = OUTBOX_WAKE_MS + 1_000;
    while !shared.is_draining() {
        let now = shared.clock.wall_ms();
        // Kept for a while after its patience: one that is still listed then has its next one doubled.
        woken.retain(|_, woken| now.saturating_sub(woken.at) < 2 * woken.patience());
        let limit = WAKES_MAX + woken.len();
        let Some(partitions) = watched(&shared) else {
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        match shared.store.due(partitions, now + ahead, limit).await {
            Ok(due) => {
                if due.len() < limit {
                    ahead = 0;
                }
                wake(&shared, &mut woken, due, now);
            }
            // Whoever looks after the store says in the log that it is away.
            Err(error) => tracing::debug!(target: "grange", %error, "the agenda can't be read; it is tried again"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The partitions that placement gives to this silo; `None`: it has no place yet.
fn watched(shared: &Shared) -> Option<Partitions> {
    if !shared.clustered {
        return Some(Partitions::All);
    }
    let own = shared.courier()?.table().owned_by(shared.incarnation());
    (!own.is_empty()).then(|| Partitions::These(own.into()))
}

fn wake(shared: &Shared, woken: &mut HashMap<EntityId, Woken>, due: Vec<Due>, now: u64) {
    for entity in to_wake(woken, due, now) {
        shared.post(Post::Parcel(Parcel::Wake { entity }));
    }
}

fn to_wake(woken: &mut HashMap<EntityId, Woken>, due: Vec<Due>, now: u64) -> Vec<EntityId> {
    let mut wakes = Vec::new();
    for Due { id, wake } in due {
        let times = match woken.get(&id).filter(|woken| woken.wake == wake) {
            Some(woken) if now.saturating_sub(woken.at) < woken.patience() => continue,
            Some(woken) => woken.times + 1,
            None => 0,
        };
        if wakes.len() >= WAKES_MAX {
            break;
        }
        woken.insert(id.clone(), Woken { at: now, times, wake });
        wakes.push(id);
    }
    wakes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken_at(woken: &mut HashMap<EntityId, Woken>, wake: u64, now: u64) -> bool {
        !to_wake(woken, vec![Due { wake, id: EntityId::new("A", "a") }], now).is_empty()
    }

    #[test]
    fn who_can_not_do_its_work_is_woken_more_and_more_rarely() {
        let mut woken = HashMap::new();
        let times: Vec<u64> = (0..100).filter(|second| woken_at(&mut woken, 0, second * 1_000)).collect();
        assert_eq!(times, [0, 5, 15, 35, 75]);
    }

    #[test]
    fn who_does_its_work_is_woken_for_each_of_its_times() {
        let mut woken = HashMap::new();
        for second in 0..100 {
            assert!(woken_at(&mut woken, second * 1_000, second * 1_000), "second {second}");
            assert!(!woken_at(&mut woken, second * 1_000, second * 1_000 + 500), "second {second}, again");
        }
    }
}
