use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::entity::Realm;
use crate::messaging::Parcel;
use crate::silo::ledger::OUTBOX_WAKE_MS;
use crate::silo::shared::{Post, Shared};
use crate::wire::EntityId;

/// How often the agenda is read.
const PERIOD: Duration = Duration::from_millis(500);

/// Entities woken at a time: after a restart there may be many, and each has to be loaded.
const WAKES_MAX: usize = 1_000;

/// How long an entity that was woken is left to its work before it is woken again, in ms.
const PATIENCE_MS: u64 = 5_000;

/// Wakes the entities that are due: those whose messages were not acknowledged when their activation ended, and those
/// with reminders. The one mechanism of recovery: a woken entity finds its own outbox and reminders and does the work.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut woken: HashMap<EntityId, u64> = HashMap::new();
    // At the start everything in an outbox is due: nobody is delivering it.
    let mut ahead = OUTBOX_WAKE_MS + 1_000;
    while !shared.is_draining() {
        let now = shared.clock.wall_ms();
        woken.retain(|_, at| now.saturating_sub(*at) < PATIENCE_MS);
        match shared.store.due(now + ahead, WAKES_MAX + woken.len()).await {
            Ok(due) => {
                if due.len() < WAKES_MAX + woken.len() {
                    ahead = 0;
                }
                for due in due {
                    if woken.insert(due.id.clone(), now).is_none() {
                        shared.post(Post::Parcel(Parcel::Wake { entity: due.id }));
                    }
                }
            }
            Err(error) => tracing::warn!(target: "grange", %error, "the agenda can't be read; it is tried again"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}
