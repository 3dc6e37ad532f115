//! What threads share of a turn, in many orders: compiled once more, over locks whose order a scheduler draws.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shuttle::future::block_on;
use shuttle::sync;
use shuttle::thread::spawn;

#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "gate.rs"]
mod gate;

use gate::Gate;

const ORDERS: usize = 5_000;

/// One waits, one leaves something to be done, one ends the gate. Says what the first heard, and how often the second's was done.
fn through(end: fn(&Gate)) -> (bool, u32) {
    let (gate, ran) = (Arc::new(Gate::shut()), Arc::new(AtomicU32::new(0)));
    let waiter = spawn({
        let gate = gate.clone();
        move || block_on(poll_fn(|context| gate.poll(context)))
    });
    let asker = spawn({
        let (gate, ran) = (gate.clone(), ran.clone());
        move || {
            gate.run_when_open(Box::new(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            }))
        }
    });
    end(&gate);
    asker.join().unwrap();
    (waiter.join().unwrap(), ran.load(Ordering::Relaxed))
}

#[test]
fn whoever_waits_for_a_commit_hears_that_it_landed_and_an_ask_leaves_once() {
    shuttle::check_random(|| assert_eq!(through(Gate::open), (true, 1)), ORDERS);
}

#[test]
fn whoever_waits_for_a_commit_hears_that_it_failed_and_no_ask_leaves() {
    shuttle::check_random(|| assert_eq!(through(Gate::fail), (false, 0)), ORDERS);
}
