//! What threads share of a connection's calls and of what comes to a host, in many orders: compiled once more, over atomics
//! and locks whose order a scheduler draws.

use std::collections::VecDeque;
use std::future::poll_fn;

use shuttle::future::block_on;
use shuttle::sync;
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::spawn;

// What a copy leaves unused, the other one uses.
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "../inbox.rs"]
mod inbox;
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "../unanswered.rs"]
mod unanswered;

use inbox::Inbox;
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

#[test]
fn whatever_comes_to_a_host_wakes_it() {
    let run = || {
        let inbox = Arc::new(Inbox::new());
        let senders: Vec<_> = [0, 10]
            .map(|first| {
                let inbox = inbox.clone();
                spawn(move || (first..first + 3).for_each(|item| inbox.push(item).unwrap()))
            })
            .into();
        let (mut taken, mut all) = (VecDeque::new(), Vec::new());
        while all.len() < 6 {
            block_on(poll_fn(|context| inbox.poll_take(&mut taken, context)));
            all.extend(taken.drain(..));
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let of = |first: i32| all.iter().copied().filter(|item| (first..first + 3).contains(item)).collect::<Vec<_>>();
        assert_eq!((of(0), of(10)), (vec![0, 1, 2], vec![10, 11, 12]));
    };
    shuttle::check_random(run, ORDERS);
}

#[test]
fn whatever_comes_to_a_host_that_ends_comes_back() {
    let run = || {
        let inbox = Arc::new(Inbox::new());
        let sender = {
            let inbox = inbox.clone();
            spawn(move || (0..4).filter(|item| inbox.push(*item).is_err()).count())
        };
        let left = inbox.close().len();
        assert_eq!(left + sender.join().unwrap(), 4);
    };
    shuttle::check_random(run, ORDERS);
}
