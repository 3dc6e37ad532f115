//! Interleavings 1 to 10: loss, double effect, false outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use grange::prelude::*;
use grange::testing::{Injected, Simulated};

use super::{apart, rest, surely, two};
use crate::simulation::actor::{ActorRef, seen_outside};

const SOON: Duration = Duration::from_secs(20);

/// What a plain ask that adds may have come to.
fn may_have_added<T, E>(n: u64, asked: &Result<T, CallError<E>>) -> Vec<u64> {
    match asked {
        Ok(_) => vec![n],
        Err(error) if error.may_have_applied() => vec![0, n],
        Err(_) => vec![0],
    }
}

/// The sum is one that these could have made.
async fn adds_up(actor: &ActorRef, parts: &[Vec<u64>]) {
    let mut sums = BTreeSet::from([0]);
    for part in parts {
        sums = sums.iter().flat_map(|sum| part.iter().map(move |n| sum + n)).collect();
    }
    let total = actor.total().await.expect("answers");
    assert!(sums.contains(&total), "{total} is none of {sums:?}: {:?}", actor.came().await);
}

/// The silo of this one is cut off from the store, and does not hear that another takes over.
fn cut_off(cluster: &Simulated, actor: &ActorRef) {
    if let Some(host) = cluster.host_of(actor) {
        cluster.cut_store(host);
    }
}

pub(super) async fn duplicate(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    cluster.inject(format!("message 1 of {} to", a.id()), Injected::FrameTwice);
    cluster.inject(format!("commits version 1 of {}", b.id()), Injected::Crash);
    surely!(cluster, a.tell(b.key().clone(), vec![5]));
    rest(&cluster).await;
    assert_eq!(b.total().await, Ok(5), "it was acknowledged before it was committed");
}

pub(super) async fn looks_refused(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    cluster.inject(format!("commits version 1 of {}", a.id()), Injected::StoreFailsAfter);
    let taken_over = async {
        if cluster.happens("!! StoreFailsAfter", SOON).await {
            cut_off(&cluster, &a);
        }
        surely!(cluster, a.add(10));
        cluster.heal();
    };
    let (asked, ()) = tokio::join!(a.add(1).timeout(SOON), taken_over);
    rest(&cluster).await;
    adds_up(&a, &[may_have_added(1, &asked), vec![10]]).await;
}

pub(super) async fn refused_turn(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let taken_over = async {
        cluster.advance(Duration::from_millis(100)).await;
        if let Some(host) = cluster.host_of(&a) {
            cluster.freeze(host);
        }
        surely!(cluster, a.add(10));
    };
    let queued = async {
        cluster.advance(Duration::from_millis(50)).await;
        a.add(100).timeout(SOON).await
    };
    let (ran, queued, ()) = tokio::join!(a.add_slowly(1, 200).timeout(SOON), queued, taken_over);
    rest(&cluster).await;
    adds_up(&a, &[may_have_added(1, &ran), may_have_added(100, &queued), vec![10]]).await;
}

pub(super) async fn ask_inside(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    let c = apart(&cluster, "c", &[&b]).await;
    cluster.inject(format!("of {} (state", b.id()), Injected::Crash);
    surely!(cluster, a.tell_to_ask(b.key().clone(), c.key().clone()));
    rest(&cluster).await;
    assert_eq!((b.total().await, c.total().await), (Ok(1), Ok(1)), "the second run asks under the same key");
}

pub(super) async fn way_back(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    for _ in 0..2 {
        cluster.inject(format!("{} has message", b.id()), Injected::FrameLost);
    }
    cluster.inject(format!("of {} to {}::hear", b.id(), a.id()), Injected::Crash);
    surely!(cluster, a.tell_and_hear(b.key().clone(), (1..=20).collect()));
    rest(&cluster).await;
    assert_eq!(b.came().await, Ok((1..=20).collect()), "each once, in its order");
    assert_eq!(a.told().await, Ok((20, vec![true; 20])), "each outcome once");
}

pub(super) async fn retiring(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    cluster.inject(format!("{} has message", b.id()), Injected::FrameLost);
    cluster.inject(format!("{} may forget {}", b.id(), a.id()), Injected::FrameLost);
    surely!(cluster, a.tell(b.key().clone(), vec![1, 2, 3]));
    rest(&cluster).await;
    // One side forgets, then the other.
    for (silo, n) in [(cluster.host_of(&b), 4), (cluster.host_of(&a), 5), (cluster.host_of(&b), 6)] {
        if let Some(silo) = silo {
            while cluster.restart(silo).await.is_err() {}
        }
        cluster.inject(format!("of {} to {}", a.id(), b.id()), Injected::FrameTwice);
        surely!(cluster, a.tell(b.key().clone(), vec![n]));
        rest(&cluster).await;
    }
    assert_eq!(b.came().await, Ok(vec![1, 2, 3, 4, 5, 6]), "each once, in its order");
}

pub(super) async fn failovers(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    for round in 0..6 {
        surely!(cluster, a.tell(b.key().clone(), vec![1, 1]));
        if round % 2 == 1 {
            // There and back: each is another life all the same.
            cluster.fail_over(Duration::from_millis(40));
            cluster.fail_over(Duration::from_millis(5));
        }
    }
    // Until they call the store again, silos don't know that it has forgotten what they answer with.
    cluster.advance(Duration::from_secs(3)).await;
    rest(&cluster).await;
    let told = a.told().await.expect("answers").0;
    assert_eq!(b.total().await, Ok(told), "what is left is in agreement");
    surely!(cluster, a.tell(b.key().clone(), vec![1]));
    rest(&cluster).await;
    assert_eq!(b.total().await, Ok(told + 1), "and goes on");
}

/// As by `FLUSHALL`: all is gone, and what is in memory goes with it.
pub(super) async fn emptied(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    surely!(cluster, a.add(100));
    surely!(cluster, a.tell(b.key().clone(), vec![1, 2]));
    cluster.empty_store();
    cluster.advance(Duration::from_secs(3)).await;
    cluster.calm().await;
    let told = a.told().await.expect("answers").0;
    assert_eq!((told, a.total().await), (0, Ok(0)), "memory has outlived the store");
    surely!(cluster, a.tell(b.key().clone(), vec![3, 4]));
    rest(&cluster).await;
    let came = b.came().await.expect("answers");
    assert!(came.ends_with(&[3, 4]) && came.len() <= 4, "each once, and nothing stands in its way: {came:?}");
}

pub(super) async fn shard(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let mut b = apart(&cluster, "b", &[&a]).await;
    for name in ["c", "d", "e", "f", "g", "h"] {
        if cluster.shard_of(&b) != cluster.shard_of(&a) {
            break;
        }
        b = apart(&cluster, name, &[&a]).await;
    }
    assert_ne!(cluster.shard_of(&a), cluster.shard_of(&b), "on two shards");
    surely!(cluster, a.tell(b.key().clone(), vec![1, 2, 3]));
    rest(&cluster).await;
    // It forgets that it told, and numbers what it tells next as before.
    cluster.fail_over_at(&a, Duration::from_secs(9));
    surely!(cluster, a.tell(b.key().clone(), vec![4, 5, 6]));
    rest(&cluster).await;
    let came = b.came().await.expect("answers");
    for n in [4, 5, 6] {
        assert_eq!(came.iter().filter(|came| **came == n).count(), 1, "{n} was swallowed, or came twice: {came:?}");
    }
}

pub(super) async fn idempotent(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let _ = seen_outside();
    let key = cluster.key();
    let refused = loop {
        match a.refuse_once().idempotent(key).await {
            Err(error) if error.is_retryable() => cluster.advance(Duration::from_millis(50)).await,
            ended => break ended,
        }
    };
    if let Some(host) = cluster.host_of(&a) {
        cluster.crash(host);
        cluster.advance(Duration::from_secs(3)).await;
        while cluster.restart(host).await.is_err() {}
    }
    let again = loop {
        match a.refuse_once().idempotent(key).await {
            Err(error) if error.is_retryable() => cluster.advance(Duration::from_millis(50)).await,
            ended => break ended,
        }
    };
    assert_eq!(refused, again, "an `Err` is an outcome");
    let total = a.total().await.unwrap_or_default();

    // The second comes while the first runs.
    let key = cluster.key();
    let (one, other) = tokio::join!(a.add_slowly(1, 100).idempotent(key), a.add_slowly(1, 100).idempotent(key));
    if let (Ok(one), Ok(other)) = (&one, &other) {
        assert_eq!(one, other, "the same key, the same reply");
    }
    let reused = a.add(1).idempotent(key).await;
    assert!(reused.is_err(), "the key of another call: {reused:?}");
    let of_2090 = Uuid::from_u128(0x0374_8c27_5000_7000_8000_0000_0000_0001);
    assert!(a.add(1).idempotent(of_2090).await.is_err(), "from the future");
    rest(&cluster).await;
    let now = a.total().await.expect("answers");
    assert!((total..=total + 1).contains(&now) || cluster.unexpected_faults() > 0, "{total}, then {now}");
    surely!(cluster, a.add(1));
    assert_eq!(a.total().await, Ok(now + 1), "the future's key bars nobody");
}

pub(super) async fn agenda(cluster: Simulated) {
    const TOMORROW_MS: u64 = 24 * 3_600 * 1_000;
    let (a, b) = two(&cluster).await;
    let hosts = (cluster.host_of(&a), cluster.host_of(&b));
    if let (Some(from), Some(to)) = hosts {
        cluster.part(&format!("silo-{from}"), &format!("silo-{to}"));
    }
    surely!(cluster, a.tell(b.key().clone(), vec![1]));
    surely!(cluster, a.remind("tomorrow".into(), 1, TOMORROW_MS));
    if let Some(host) = hosts.0 {
        cluster.crash(host);
        cluster.heal();
        while cluster.restart(host).await.is_err() {}
    }
    cluster.calm().await;
    // Nobody asks `a`: it is woken.
    let end = cluster.now() + Duration::from_secs(60);
    while cluster.now() < end && b.total().await != Ok(1) {
        cluster.advance(Duration::from_millis(100)).await;
    }
    assert_eq!(b.total().await, Ok(1), "what is due soon does not wait for what is due tomorrow");
    surely!(cluster, a.cancel("tomorrow".into()));
    rest(&cluster).await;
}
