//! What threads share of a connection's calls, in many orders: compiled once more, over atomics whose order a scheduler draws.

use shuttle::sync;
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::spawn;

#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "../unanswered.rs"]
mod unanswered;

use unanswered::Unanswered;

const ORDERS: usize = 5_000;

/// The connection: what it has of a [`Link`](crate::wire::Link) when reading does not go on.
#[derive(Default)]
struct Reading {
    resumed: Mutex<bool>,
    changed: Condvar,
}

impl Reading {
    fn resume(&self) {
        *self.resumed.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn sleep(&self) {
        let mut resumed = self.resumed.lock().unwrap();
        while !*resumed {
            resumed = self.changed.wait(resumed).unwrap();
        }
        *resumed = false;
    }
}

/// Reads as many calls as there is room for, while two arbiters answer them: it must not sleep when there is room.
fn read_all(unanswered: Unanswered, bytes: usize) {
    let (unanswered, reading) = (Arc::new(unanswered), Arc::new(Reading::default()));
    let (arbiters, calls): (Vec<_>, Vec<_>) = [(); 2]
        .map(|()| {
            let (unanswered, reading) = (unanswered.clone(), reading.clone());
            let (send, calls): (_, Receiver<()>) = channel();
            let answering = move || {
                while calls.recv().is_ok() {
                    if unanswered.end(bytes) {
                        reading.resume();
                    }
                }
            };
            (spawn(answering), send)
        })
        .into_iter()
        .unzip();
    for call in 0..6 {
        while !unanswered.has_room() {
            reading.sleep();
        }
        unanswered.begin(bytes);
        calls[call % 2].send(()).unwrap();
    }
    drop(calls);
    arbiters.into_iter().for_each(|arbiter| arbiter.join().unwrap());
    assert!(unanswered.is_empty());
}

#[test]
fn a_connection_with_too_many_calls_is_read_again_when_there_is_room() {
    shuttle::check_random(|| read_all(Unanswered::new(2, usize::MAX), 1), ORDERS);
}

#[test]
fn a_connection_with_too_many_bytes_is_read_again_when_there_is_room() {
    shuttle::check_random(|| read_all(Unanswered::new(usize::MAX, 15), 10), ORDERS);
}
