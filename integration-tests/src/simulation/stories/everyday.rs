//! What applications do every day.

use std::time::Duration;

use grange::prelude::*;
use grange::testing::Simulated;

use super::{rest, surely};
use crate::application::{Ledger, OPENING, Once, Register, Source, Window};
use crate::simulation::actor::Actor;

/// A seat that is held for a while, and then taken or free again: tentative, confirm, cancel.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Seat {
    held_for: Option<String>,
    sold_to: Option<String>,
    expired: u32,
}

/// How long a seat is held.
const HELD: Duration = Duration::from_secs(5);

#[entity]
impl Seat {
    /// Holds it; says whether it was free.
    async fn hold(&mut self, order: String, turn: &mut Turn<Self>) -> bool {
        if self.held_for.is_some() || self.sold_to.is_some() {
            return self.held_for.as_ref() == Some(&order);
        }
        self.held_for = Some(order.clone());
        turn.send(turn.me().expire(order).after(HELD).named("expire"));
        true
    }
    /// Sells it to whom it is held for; says whether that is so.
    async fn confirm(&mut self, order: String, turn: &mut Turn<Self>) -> bool {
        if self.held_for.as_ref() == Some(&order) {
            self.sold_to = self.held_for.take();
            turn.cancel("expire");
        }
        self.sold_to == Some(order)
    }
    async fn expire(&mut self, order: String) {
        if self.held_for.as_ref() == Some(&order) {
            self.held_for = None;
            self.expired += 1;
        }
    }
    /// For whom it is held, to whom it is sold, how often its time was over.
    async fn state(&self) -> (Option<String>, Option<String>, u32) {
        (self.held_for.clone(), self.sold_to.clone(), self.expired)
    }
}

pub(super) async fn transfer(cluster: Simulated) {
    let client = cluster.client();
    let (from, to) = (client.entity::<Ledger>("from"), client.entity::<Ledger>("to"));
    surely!(cluster, from.open(OPENING));
    surely!(cluster, to.open(OPENING));
    for amount in [10, 20, 30] {
        surely!(cluster, from.transfer("to".into(), amount));
    }
    rest(&cluster).await;
    let (from, to) = (from.books().await.expect("answers"), to.books().await.expect("answers"));
    assert_eq!((from.balance, from.underway, to.balance), (OPENING - 60, 0, OPENING + 60));
    assert_eq!((from.debited, to.credited), (60, 60), "each once");
}

pub(super) async fn reservation(cluster: Simulated) {
    let client = cluster.client();
    let (sold, lapsed) = (client.entity::<Seat>("sold"), client.entity::<Seat>("lapsed"));
    assert!(surely!(cluster, sold.hold("one".into())));
    assert!(surely!(cluster, lapsed.hold("two".into())));
    let is_sold = surely!(cluster, sold.confirm("one".into()));
    cluster.calm().await;
    cluster.advance(HELD).await;
    rest(&cluster).await;
    let (held, sold_to, expired) = sold.state().await.expect("answers");
    // A fault may have taken longer than the seat was held.
    assert_eq!((held, sold_to.is_some(), expired == 0), (None, is_sold, is_sold));
    assert_eq!(lapsed.state().await.expect("answers"), (None, None, 1), "its time was over, once");
}

pub(super) async fn idempotent(cluster: Simulated) {
    let list = cluster.client().entity::<Once>("list");
    let (id, key) = (cluster.key(), cluster.key());
    let first = loop {
        if let Ok(place) = list.add(id).idempotent(key).await {
            break place;
        }
    };
    for silo in 0..3 {
        cluster.crash(silo);
        cluster.advance(Duration::from_secs(3)).await;
        let again = loop {
            if let Ok(place) = list.add(id).idempotent(key).await {
                break place;
            }
        };
        assert_eq!(again, first, "the same key, the same reply");
        while cluster.restart(silo).await.is_err() {}
    }
    rest(&cluster).await;
    assert_eq!(list.ids().await, Ok(vec![id]));
}

pub(super) async fn fan_out(cluster: Simulated) {
    let client = cluster.client();
    let source = client.entity::<Source>("source");
    for round in 1..=2 {
        for window in 0..10 {
            assert_eq!(surely!(cluster, source.emit(format!("window-{window}"), 3)), 3 * round);
        }
    }
    rest(&cluster).await;
    for window in 0..10 {
        let streams = client.entity::<Window>(format!("window-{window}")).streams().await.expect("answers");
        let stream = streams.get("source").cloned().unwrap_or_default();
        let seen = (stream.count, stream.highest, stream.reordered, stream.duplicated, stream.corrupted);
        assert_eq!(seen, (6, 6, 0, 0, 0), "{stream:?}");
    }
}

pub(super) async fn moving(cluster: Simulated) {
    let client = cluster.client();
    let source = client.entity::<Source>("source");
    for round in 1..=12 {
        assert_eq!(surely!(cluster, source.emit("window".into(), 2)), 2 * round);
        // Its target, or itself, has to go.
        match round {
            3 => drop(cluster.leave(0).await),
            6 => while cluster.restart(0).await.is_err() {},
            9 => drop(cluster.leave(1).await),
            _ => {}
        }
    }
    while cluster.restart(1).await.is_err() {}
    rest(&cluster).await;
    let streams = client.entity::<Window>("window").streams().await.expect("answers");
    let stream = streams.get("source").cloned().unwrap_or_default();
    assert_eq!((stream.count, stream.reordered, stream.duplicated, stream.corrupted), (24, 0, 0, 0), "{stream:?}");
}

pub(super) async fn stale(cluster: Simulated) {
    let register = cluster.client().entity::<Register>("register");
    for round in 0..3 {
        surely!(cluster, register.write(10 + round));
        let Some(host) = cluster.host_of(&register) else { continue };
        // This one knows of nobody else, and goes on asking a silo that nobody else asks any more.
        let Ok(follower) = cluster.client_of(&[host]).await else { continue };
        let followed = follower.entity::<Register>("register");
        let _ = followed.read().await;
        cluster.cut_store(host);
        // Nothing is written there meanwhile: what it has in memory looks well to it when another has taken over.
        cluster.advance(Duration::from_secs(6)).await;
        for try_ in 0..20 {
            cluster.advance(Duration::from_millis(250)).await;
            let written = 100 * (round + 1) + try_;
            let write = register.write(written).timeout(Duration::from_millis(200));
            if write.idempotent(cluster.key()).await.is_err() {
                continue;
            }
            if let Ok(read) = followed.read().timeout(Duration::from_millis(200)).await {
                assert_eq!(read, written, "read after it was overwritten, from a silo that is cut off");
            }
        }
        cluster.calm().await;
    }
}

/// One fires once, another again and again until it is cancelled, whoever dies meanwhile.
pub(super) async fn reminder(cluster: Simulated) {
    let clock = cluster.client().entity::<Actor>("clock");
    surely!(cluster, clock.remind("once".into(), 1_000, 3_000));
    surely!(cluster, clock.repeat("again".into(), 1, 1_000));
    cluster.advance(Duration::from_secs(2)).await;
    if let Some(silo) = cluster.host_of(&clock) {
        cluster.crash(silo);
        cluster.advance(Duration::from_secs(10)).await;
        while cluster.restart(silo).await.is_err() {}
    }
    surely!(cluster, clock.cancel("again".into()));
    rest(&cluster).await;
    let fired = clock.came().await.expect("answers");
    assert_eq!(fired.iter().filter(|n| **n == 1_000).count(), 1, "once");
    let again = fired.iter().filter(|n| **n == 1).count();
    // Two more deaths at once are looked at for longer before anybody is declared dead.
    assert!((1..=60).contains(&again), "{again} times in more than 12 s, once a second at most");
}
