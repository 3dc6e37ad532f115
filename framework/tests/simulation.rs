//! A cluster in one thread, under virtual time.

use grange::prelude::*;
use grange::testing::{Faults, Injected, Report, Simulated, Simulation};

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    log: Vec<u64>,
}

#[entity]
impl Account {
    async fn balance(&self) -> u64 {
        self.balance
    }
    async fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }
    async fn transfer(&mut self, to: String, amount: u64, turn: &mut Turn<Self>) -> Result<(), String> {
        self.balance = self.balance.checked_sub(amount).ok_or("insufficient funds")?;
        let payee = turn.entity::<Account>(to);
        turn.send(payee.receive(amount).then(turn.me().on_received(amount)));
        Ok(())
    }
    async fn receive(&mut self, amount: u64) {
        self.balance += amount;
        self.log.push(amount);
    }
    async fn on_received(&mut self, amount: u64, outcome: Outcome<()>) {
        if outcome.is_err() {
            self.balance += amount;
        }
    }
    async fn log(&self) -> Vec<u64> {
        self.log.clone()
    }
}

fn simulation(seed: u64) -> Simulation {
    Simulation::new(seed).silos(3, |silo| silo.entity::<Account>())
}

const PAYEES: [&str; 3] = ["one", "two", "three"];

/// Ten transfers of rising amounts to each of three others, each tried until it is answered.
async fn transfers(cluster: Simulated) {
    let client = cluster.client();
    let from = client.entity::<Account>("from");
    let key = cluster.key();
    while from.deposit(1_000).idempotent(key).await.is_err() {}
    for amount in 1..=10 {
        for payee in PAYEES {
            let key = cluster.key();
            while from.transfer(payee.into(), amount).idempotent(key).await.is_err() {}
        }
    }
    cluster.calm().await;
    cluster.settled(Duration::from_secs(120)).await;
    assert_eq!(from.balance().await, Ok(1_000 - 3 * 55));
    for payee in PAYEES {
        let to = client.entity::<Account>(payee);
        assert_eq!(to.balance().await, Ok(55));
        assert_eq!(to.log().await, Ok((1..=10).collect()), "each once, in order");
    }
    assert_eq!(cluster.dead_letters().await, 0);
}

#[test]
fn a_cluster_runs_in_virtual_time() {
    let report = simulation(1).run(async |cluster| {
        let account = cluster.client().entity::<Account>("a");
        assert_eq!(account.deposit(5).await, Ok(5));
        cluster.advance(Duration::from_secs(500)).await;
        assert_eq!(account.balance().await, Ok(5));
        cluster.now()
    });
    let (points, now) = (report.points, report.expect_success());
    assert!(points > 0 && now > Duration::from_secs(500), "{points} points until {now:?}");
}

/// One transfer, and what becomes of it.
async fn a_transfer(cluster: Simulated) {
    let from = cluster.client().entity::<Account>("from");
    let (deposit, transfer) = (cluster.key(), cluster.key());
    while from.deposit(10).idempotent(deposit).await.is_err() {}
    while from.transfer("one".into(), 1).idempotent(transfer).await.is_err() {}
    cluster.advance(Duration::from_secs(1)).await;
}

/// Runs each of these seeds twice, on all processors.
fn are_the_same(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Report + Sync) {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (one, other) = (run(seed), run(seed));
                    if one.timeline.hash() != other.timeline.hash() {
                        let mut both = one.timeline.events().zip(other.timeline.events());
                        let differs = both.find(|(one, other)| one != other);
                        panic!("seed {seed} was two runs, {one:?} and {other:?}, which differ first in {differs:#?}");
                    }
                }
            });
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| simulation(seed).faults(Faults::all()).clocks_that_drift().run(transfers);
    are_the_same(0..20, run);
    assert_ne!(run(1).timeline.hash(), run(2).timeline.hash());
}

#[test]
fn a_thousand_seeds_are_the_same_runs() {
    // What goes wrong does so from the start: more of it in less time.
    let often = |faults: Faults, fault| faults.with(fault, 0.01);
    let faults = Injected::ALL.into_iter().fold(Faults::all(), often);
    are_the_same(0..1_000, |seed| simulation(seed).faults(faults.clone()).clocks_that_drift().run(a_transfer));
}

#[test]
fn transfers_are_applied_once_and_in_order_whatever_goes_wrong() {
    let mut injected = std::collections::BTreeMap::<Injected, u64>::new();
    for seed in 0..50 {
        let report = simulation(seed).faults(Faults::all()).clocks_that_drift().run(transfers);
        report.injected.iter().for_each(|(fault, count)| *injected.entry(*fault).or_default() += count);
        report.expect_success();
    }
    assert_eq!(injected.len(), Injected::ALL.len(), "each fault was injected somewhere: {injected:?}");
}

#[test]
fn what_fails_under_a_single_fault_says_how_it_is_repeated() {
    // Wrong: it takes the first answer for the only one.
    let asked_once = async |cluster: Simulated| {
        let deposited = cluster.client().entity::<Account>("a").deposit(5).await;
        assert_eq!(deposited, Ok(5));
    };
    let sweep = simulation(7).sweep(0, asked_once);
    let failure = sweep.failures.first().expect("a lost frame is enough");
    let (fault, point) = &failure.faults[0];
    let repeats =
        format!("`run_exactly([({}, Injected::{fault:?})], …)` of the same `Simulation::new(7)`", point.number);
    assert!(failure.to_string().contains(&repeats), "{failure}");
    let again = simulation(7).run_exactly([(point.number, *fault)], asked_once);
    assert!(again.outcome.is_err(), "{again:?}");
    let panicked = std::panic::catch_unwind(|| simulation(7).holds_under_every_fault(asked_once));
    assert!(panicked.is_err());
}
