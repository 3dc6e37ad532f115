//! Entities that are kept apart: what one of them takes from a neighbour is found.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use grange::prelude::*;
use grange::testing::{Faults, Simulated, Simulation, TestCluster};

/// What one process has learned: a cache that is right for whoever lives beside the one that filled it.
#[derive(Clone, Default)]
struct Prices(Arc<Mutex<HashMap<String, u64>>>);

thread_local! {
    static LAST_PRICE: Cell<u64> = const { Cell::new(0) };
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Item {
    price: u64,
}

#[entity]
impl Item {
    async fn set_price(&mut self, price: u64, turn: &mut Turn<Self>) {
        self.price = price;
        LAST_PRICE.set(price);
        turn.data::<Prices>().0.lock().unwrap().insert(turn.key().clone(), price);
    }
    async fn price(&self) -> u64 {
        self.price
    }
}

#[entity]
#[derive(Default, Serialize, Deserialize)]
struct Order {}

#[entity]
impl Order {
    /// The mistake: it believes that the item lives in its process.
    async fn total(&self, item: String, turn: &Turn<Self>) -> Option<u64> {
        turn.data::<Prices>().0.lock().unwrap().get(&item).copied()
    }
    async fn total_of_this_thread(&self) -> u64 {
        LAST_PRICE.get()
    }
    /// What it should do.
    async fn total_asked(&self, item: String, turn: &Turn<Self>) -> Option<u64> {
        turn.entity::<Item>(item).price().await.ok()
    }
    /// The first to name this item.
    async fn order_new(&self, item: String, turn: &Turn<Self>) -> Option<u64> {
        turn.entity::<Item>(&item).set_price(7).await.ok()?;
        turn.data::<Prices>().0.lock().unwrap().get(&item).copied()
    }
}

fn shop(seed: u64) -> Simulation {
    // A cache for each silo, as each process has one.
    let described = |silo: grange::SiloBuilder| silo.entity::<Item>().entity::<Order>().data(Prices::default());
    Simulation::new(seed).silos(2, described)
}

async fn is_priced_by_its_neighbour(cluster: Simulated) -> bool {
    let client = cluster.client();
    let item = format!("item-{}", cluster.random(1_000));
    client.entity::<Item>(&item).set_price(5).await.expect("a price");
    let order = client.entity::<Order>(format!("order-{}", cluster.random(1_000)));
    assert_eq!(order.total_asked(item.clone()).await, Ok(Some(5)), "who asks is told, wherever it lives");
    order.total(item).await.expect("an answer") == Some(5)
}

#[test]
fn a_neighbour_that_is_relied_on_is_there_by_chance_and_scattered_never() {
    let lucky = |seed: &u64| shop(*seed).run(is_priced_by_its_neighbour).expect_success();
    let by_chance = (0..20).filter(lucky).count();
    assert!(by_chance > 0 && by_chance < 20, "without `scatter` {by_chance} of 20 seeds pass");
    for seed in 0..20 {
        assert!(!shop(seed).scatter().run(is_priced_by_its_neighbour).expect_success(), "seed {seed}");
    }
}

/// With more entities than silos.
#[test]
fn who_is_named_first_by_a_turn_lives_elsewhere() {
    shop(0)
        .scatter()
        .run(async |cluster| {
            let order = cluster.client().entity::<Order>("one");
            for number in 0..10 {
                assert_eq!(order.order_new(format!("item-{number}")).await, Ok(None), "{number}");
            }
        })
        .expect_success();
}

#[test]
fn what_is_scattered_survives_what_goes_wrong() {
    for seed in 0..10 {
        shop(seed)
            .scatter()
            .faults(Faults::all())
            .run(async |cluster| {
                let item = |number: u64| cluster.client().entity::<Item>(number.to_string());
                for number in 0..6 {
                    let key = cluster.key();
                    while item(number).set_price(number).idempotent(key).await.is_err() {}
                }
                cluster.calm().await;
                for number in 0..6 {
                    assert_eq!(item(number).price().await, Ok(number));
                }
            })
            .expect_success();
    }
}

#[tokio::test]
async fn threads_are_no_neighbours_either() {
    let described =
        |silo: grange::SiloBuilder| silo.entity::<Item>().entity::<Order>().data(Prices::default()).workers(1);
    let cluster = TestCluster::scattered(2, described).await.expect("it starts");
    for number in 0..5 {
        let item = cluster.client().entity::<Item>(number.to_string());
        let order = cluster.client().entity::<Order>(number.to_string());
        item.set_price(5).await.expect("a price");
        assert_eq!(order.total_asked(number.to_string()).await, Ok(Some(5)));
        if number == 0 {
            assert_eq!(order.total_of_this_thread().await, Ok(0), "it was set in another silo's thread");
        }
        assert_eq!(order.total(number.to_string()).await, Ok(None));
    }
    cluster.stop().await.expect("it stops");
}
