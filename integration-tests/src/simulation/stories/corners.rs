//! Interleavings 11 to 21: stuck for ever, or lost in a corner.

use std::cell::Cell;
use std::time::Duration;

use grange::SiloBuilder;
use grange::prelude::*;
use grange::testing::{Injected, Simulated};

use super::{apart, rest, surely, two};
use crate::simulation::actor::{Actor, Refused};

thread_local! {
    /// A silo that starts now is of the old version.
    static OLD: Cell<bool> = const { Cell::new(false) };
}

/// What the old version knows of a wallet.
mod old {
    use grange::prelude::*;

    #[entity(name = "Wallet")]
    #[derive(Debug, Default, Serialize, Deserialize)]
    pub(super) struct Wallet {
        balance: u64,
    }

    #[entity]
    impl Wallet {
        async fn deposit(&mut self, amount: u64) -> u64 {
            self.balance += amount;
            self.balance
        }
    }
}

#[entity(name = "Wallet")]
#[derive(Debug, Default, Serialize, Deserialize)]
struct Wallet {
    balance: u64,
    #[serde(default)]
    limit: u64,
}

#[entity]
impl Wallet {
    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }
    async fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }
    async fn both(&self) -> (u64, u64) {
        (self.balance, self.limit)
    }
}

/// With the wallet of the version that is deployed now.
pub(super) fn some_version(silo: SiloBuilder) -> SiloBuilder {
    if OLD.get() { silo.entity::<old::Wallet>() } else { silo.entity::<Wallet>() }
}

pub(super) async fn unreachable(cluster: Simulated) {
    for other in ["silo-1", "silo-2"] {
        cluster.part("silo-0", other);
        cluster.part(other, "silo-0");
    }
    let since = cluster.events();
    let actors: Vec<_> = (0..6).map(|n| cluster.client().entity::<Actor>(format!("a{n}"))).collect();
    for actor in &actors {
        surely!(cluster, actor.add(1));
    }
    cluster.advance(Duration::from_secs(20)).await;
    let died = (0..3).any(|silo| cluster.happened(since, &format!("declares silo-{silo} dead: true")));
    assert!(!died || cluster.unexpected_faults() > 0, "it renews its lease: nobody may declare it dead");
    rest(&cluster).await;
    for actor in &actors {
        assert_eq!(actor.total().await, Ok(1));
    }
}

/// The others stand still until their connections broke; when they are back, the client must find them.
pub(super) async fn only_way(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let Some(host) = cluster.host_of(&a) else { return };
    cluster.cut_store(host);
    (0..3).filter(|silo| *silo != host).for_each(|silo| cluster.freeze(silo));
    let asked = cluster.now();
    surely!(cluster, a.add(1));
    let took = cluster.now() - asked;
    // They stand still for 7 s, are quiet for 5 s when they are back, and declare the silent one dead.
    assert!(took < Duration::from_secs(25) || cluster.unexpected_faults() > 0, "two of three silos are well: {took:?}");
    rest(&cluster).await;
    assert_eq!(a.total().await, Ok(1));
}

pub(super) async fn locked_out(cluster: Simulated) {
    let a = cluster.client().entity::<Actor>("a");
    cluster.inject(format!("claims {}: granted", a.id()), Injected::StoreFailsAfter);
    let asked = cluster.now();
    surely!(cluster, a.add(1));
    let took = cluster.now() - asked;
    assert!(took < Duration::from_secs(2) || cluster.unexpected_faults() > 0, "its own claim kept it out for {took:?}");
    rest(&cluster).await;
    assert_eq!(a.total().await, Ok(1));
}

pub(super) async fn dead_letters(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    surely!(cluster, a.tell_what_is_refused(b.key().clone(), false));
    surely!(cluster, a.tell_what_is_refused(b.key().clone(), true));
    surely!(cluster, a.tell(b.key().clone(), vec![1]));
    cluster.calm().await;
    cluster.settled(Duration::from_secs(60)).await;
    assert_eq!(cluster.dead_letters().await, 1, "the one that nobody was to hear of");
    assert_eq!(a.told().await, Ok((1, vec![false])), "the other was heard of, once");
    assert_eq!(b.total().await, Ok(1), "nothing of it stays, and the pair goes on");
}

pub(super) async fn poison(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    // More often than it is tried.
    for _ in 0..20 {
        cluster.inject(format!("verifies its claim of {}", b.id()), Injected::Crash);
    }
    surely!(cluster, a.tell_poison(b.key().clone()));
    surely!(cluster, a.tell(b.key().clone(), vec![7]));
    cluster.calm().await;
    cluster.settled(Duration::from_secs(200)).await;
    cluster.forget_injections();
    assert_eq!(cluster.dead_letters().await, 1, "given up by who could not run it");
    assert_eq!(b.came().await, Ok(vec![7]), "it did not block its pair");
}

pub(super) async fn retry_that_kills(cluster: Simulated) {
    const KILLS: usize = 6;
    let a = apart(&cluster, "a", &[]).await;
    let crash = format!("verifies its claim of {}", a.id());
    let before = cluster.not_injected().len();
    (0..KILLS).for_each(|_| cluster.inject(crash.clone(), Injected::Crash));
    let asked = a.poison().idempotent(cluster.key()).timeout(Duration::from_secs(60)).await;
    let killed = KILLS + before - cluster.not_injected().len();
    assert!(killed <= 3, "it went through {killed} silos: {asked:?}");
    cluster.calm().await;
    // Nobody is there to be killed by what is left.
    cluster.forget_injections();
    rest(&cluster).await;
    assert!(a.total().await.is_ok_and(|total| total <= 1));
}

pub(super) async fn name_again(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    for round in 1..=3 {
        surely!(cluster, a.remind("name".into(), 1, 2_000));
        // In the place of the one before: another time, another effect.
        surely!(cluster, a.remind("name".into(), 10, 1_000));
        rest(&cluster).await;
        let came = a.came().await.expect("answers");
        // A fault may have taken longer than the first one waited.
        assert_eq!(came.iter().filter(|n| **n == 10).count(), round, "fired once a round: {came:?}");
        assert!(came.len() == round || cluster.unexpected_faults() > 0, "the first was replaced: {came:?}");
    }
}

pub(super) async fn upgrade(cluster: Simulated) {
    let wallets: Vec<_> = (0..6).map(|n| cluster.client().entity::<Wallet>(format!("w{n}"))).collect();
    for wallet in &wallets {
        surely!(cluster, wallet.set_limit(7));
    }
    OLD.set(true);
    for silo in 0..3 {
        while cluster.restart(silo).await.is_err() {}
    }
    OLD.set(false);
    for wallet in &wallets {
        surely!(cluster, wallet.deposit(5));
    }
    for silo in 0..3 {
        while cluster.restart(silo).await.is_err() {}
    }
    rest(&cluster).await;
    for wallet in &wallets {
        assert_eq!(wallet.both().await, Ok((5, 7)), "the old version wrote back what it does not know");
    }
}

pub(super) async fn cycle(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    let asked = cluster.now();
    let (one, other) = tokio::join!(a.ask_back(b.key().clone()), b.ask_back(a.key().clone()));
    let took = cluster.now() - asked;
    let is_cycle = |asked: &Result<u64, CallError<Refused>>| {
        matches!(asked, Err(CallError::Cycle { .. } | CallError::Rejected(Refused::Other(CallError::Cycle { .. }))))
    };
    if cluster.unexpected_faults() == 0 {
        assert!(is_cycle(&one) || is_cycle(&other), "{one:?}, {other:?}");
        assert!(took < Duration::from_millis(500), "found after {took:?}");
    }
    surely!(cluster, a.add(1));
    surely!(cluster, b.add(1));
    rest(&cluster).await;
}

pub(super) async fn hangs(cluster: Simulated) {
    let a = apart(&cluster, "a", &[]).await;
    let asked = cluster.now();
    let hung = a.hang().timeout(Duration::from_secs(1)).await;
    assert!(hung.is_err(), "{hung:?}");
    assert!(cluster.now() - asked < Duration::from_secs(2), "it ended after its deadline");
    surely!(cluster, a.add(1));
    rest(&cluster).await;
    assert_eq!(a.total().await, Ok(1), "nothing of it stays");
}

pub(super) async fn no_refusal(cluster: Simulated) {
    let (a, b) = two(&cluster).await;
    let c = apart(&cluster, "c", &[&b]).await;
    if let (Some(from), Some(to)) = (cluster.host_of(&b), cluster.host_of(&c)) {
        cluster.part(&format!("silo-{from}"), &format!("silo-{to}"));
    }
    surely!(cluster, a.tell_to_ask(b.key().clone(), c.key().clone()));
    cluster.advance(Duration::from_secs(40)).await;
    rest(&cluster).await;
    assert_eq!((b.total().await, c.total().await), (Ok(1), Ok(1)), "it was asked again when it could be");
}
