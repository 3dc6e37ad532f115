//! Interleavings 22 to 32: conditions.

use std::time::Duration;

use grange::prelude::*;
use grange::testing::{Injected, Simulated};

use super::{apart, rest, surely, two};
use crate::simulation::actor::{Actor, seen_outside};

const SOON: Duration = Duration::from_secs(20);

pub(super) async fn clock(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let since = cluster.events();
    surely!(cluster, a.add(1));
    cluster.store_clock_jumps(Duration::from_secs(30));
    for _ in 0..20 {
        cluster.advance(Duration::from_millis(500)).await;
        surely!(cluster, a.add(1));
    }
    let died = (0..3).any(|silo| cluster.happened(since, &format!("declares silo-{silo} dead: true")));
    assert!(!died || cluster.unexpected_faults() > 0, "a clock that jumps kills nobody");
    rest(&cluster).await;
    assert_eq!(a.total().await, Ok(21));
}

pub(super) async fn too_large(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    let flood = a.tell(b.key().clone(), vec![1; 200_000]);
    let (flood, good) = tokio::join!(flood.timeout(SOON), async { surely!(cluster, a.add(1)) });
    assert!(flood.is_err(), "{flood:?}");
    assert!(good >= 1);
    surely!(cluster, a.tell(b.key().clone(), vec![5]));
    rest(&cluster).await;
    assert_eq!((a.total().await, b.came().await), (Ok(1), Ok(vec![5])), "nothing of it stays, and nobody waits for it");
}

pub(super) async fn panic(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    cluster.inject(format!("commits version 1 of {}", a.id()), Injected::StoreSlow);
    let first = async { surely!(cluster, a.add(1)) };
    let rest_of_them = async {
        cluster.happens("!! StoreSlow", SOON).await;
        let boom = a.boom().timeout(SOON);
        tokio::join!(async { surely!(cluster, a.add(10)) }, boom, async { surely!(cluster, a.add(100)) }).1
    };
    let (_, boom) = tokio::join!(first, rest_of_them);
    assert!(boom.is_err(), "{boom:?}");
    rest(&cluster).await;
    assert_eq!(a.total().await, Ok(111), "the good turns around it stand, and nothing of it");
}

pub(super) async fn tokens(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let mut tokens = Vec::new();
    for lost in [0, 100, 2_000, 50, 5_000] {
        tokens.push(surely!(cluster, a.token()));
        cluster.fail_over(Duration::from_millis(lost));
        if let (100, Some(host)) = (lost, cluster.host_of(&a)) {
            while cluster.restart(host).await.is_err() {}
        }
        cluster.advance(Duration::from_secs(1)).await;
    }
    tokens.push(surely!(cluster, a.token()));
    // Of turns that were acknowledged: one that lost its claim may show an older one, which is why there are tokens.
    assert!(tokens.is_sorted(), "an older token after a newer one: {tokens:?}");
    assert!(tokens.last() > tokens.first(), "{tokens:?}");
    rest(&cluster).await;
}

pub(super) async fn new_owner(cluster: Simulated) {
    let actors: Vec<_> = (0..8).map(|n| cluster.client().entity::<Actor>(format!("a{n}"))).collect();
    cluster.inject("silo-0: reads the table", Injected::StoreSlow);
    while cluster.add().await.is_err() {}
    let Ok(late) = cluster.client_of(&[0]).await else { return };
    for (n, actor) in actors.iter().enumerate() {
        let seen_late = late.entity::<Actor>(actor.key());
        tokio::join!(
            async {
                surely!(cluster, actor.add(1));
            },
            async {
                surely!(cluster, seen_late.add(10));
            }
        );
        assert_eq!(actor.total().await.unwrap_or(11), 11, "{n}");
    }
    rest(&cluster).await;
    for actor in &actors {
        assert_eq!(actor.total().await, Ok(11));
    }
}

pub(super) async fn late_release(cluster: Simulated) {
    for fault in [Injected::StoreLate, Injected::StoreFailsBefore] {
        let a = apart(&cluster, if fault == Injected::StoreLate { "a" } else { "b" }, &[]).await;
        surely!(cluster, a.add(1));
        cluster.inject(format!("releases {}", a.id()), fault);
        let Some(host) = cluster.host_of(&a) else { continue };
        let _ = cluster.leave(host).await;
        let asked = cluster.now();
        surely!(cluster, a.add(10));
        let took = cluster.now() - asked;
        assert!(
            took < Duration::from_secs(3) || cluster.unexpected_faults() > 0,
            "its owner left, and it took {took:?}"
        );
        cluster.advance(Duration::from_secs(2)).await;
        surely!(cluster, a.add(100));
        while cluster.restart(host).await.is_err() {}
        rest(&cluster).await;
        assert_eq!(a.total().await, Ok(111));
    }
}

pub(super) async fn outside(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let _ = seen_outside();
    cluster.inject(format!("commits version 1 of {}", a.id()), Injected::Crash);
    let shown = async {
        cluster.advance(Duration::from_millis(1)).await;
        a.show().timeout(SOON).await
    };
    let (added, _) = tokio::join!(a.add(5).timeout(SOON), shown);
    let seen = seen_outside();
    rest(&cluster).await;
    let total = a.total().await.expect("answers");
    assert!(seen.iter().all(|seen| *seen <= total), "outside saw {seen:?}, and there is {total}: {added:?}");
}

pub(super) async fn order(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    let faults = [
        (3, Injected::FrameTwice),
        (5, Injected::FrameLate),
        (8, Injected::FrameLost),
        (11, Injected::CutAfter),
        (14, Injected::FrameDelayed),
        (17, Injected::CutBefore),
    ];
    for (message, fault) in faults {
        cluster.inject(format!("message {message} of {} to", a.id()), fault);
    }
    for part in 0..4 {
        surely!(cluster, a.tell(b.key().clone(), (5 * part + 1..=5 * part + 5).collect()));
    }
    rest(&cluster).await;
    assert_eq!(b.came().await, Ok((1..=20).collect()), "in the order in which they were staged");
}
