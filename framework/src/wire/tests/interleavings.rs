//! Senders and the task of their connection, in many orders: compiled once more, over locks whose order a scheduler draws. Where
//! the task sleeps and nobody wakes it, the scheduler says so.

use std::future::poll_fn;
use std::task::Poll;

use shuttle::future::block_on;
use shuttle::sync;
use shuttle::thread::spawn;
use uuid::Uuid;

use crate::wire::{Header, Role, WireLimits, frame, limits, peer};

#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "../link.rs"]
mod link;

use link::{Link, SendError};

const ORDERS: usize = 5_000;

fn link() -> Link {
    let peer = peer::Peer {
        role: Role::Silo,
        incarnation: Uuid::nil(),
        address: None,
        protocol: 1,
        build: String::new(),
        frame_bytes_max: 1_000,
    };
    Link::new(peer, &WireLimits::default())
}

/// What the connection's task does: it takes what is ready, and sleeps when nothing is, until it has so many bytes or the
/// connection is to end; then it takes the rest. Says how many bytes it took.
fn take(link: &Link, enough: usize) -> usize {
    let (mut taken, mut writing) = (0, Vec::new());
    block_on(poll_fn(|context| {
        link.unpark();
        while link.closing().is_none() && taken < enough {
            let frames = link.take_ready(&mut writing);
            taken += writing.len();
            if frames == 0 && link.park(context.waker(), true) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }));
    taken + link.end(true).len()
}

fn frame_bytes() -> usize {
    let mut frame = Vec::new();
    frame::append(&mut frame, Header::default(), 1_000, |_| {}).unwrap();
    frame.len()
}

#[test]
fn no_frame_waits_for_a_connection_that_sleeps() {
    let run = || {
        let link = link();
        let task = spawn({
            let link = link.clone();
            move || take(&link, 2 * frame_bytes())
        });
        let senders = [(); 2].map(|()| {
            let link = link.clone();
            spawn(move || link.send(Header::default(), |_| {}).unwrap())
        });
        let mut numbers = senders.map(|sender| sender.join().unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
        assert_eq!((task.join().unwrap(), link.left()), (2 * frame_bytes(), 2));
    };
    shuttle::check_random(run, ORDERS);
}

#[test]
fn a_frame_that_was_queued_before_the_end_is_taken_and_none_after_it_is() {
    let run = || {
        let link = link();
        let task = spawn({
            let link = link.clone();
            move || take(&link, usize::MAX)
        });
        let sender = spawn({
            let link = link.clone();
            move || link.send(Header::default(), |_| {})
        });
        link.close("it is over");
        let sent = sender.join().unwrap();
        let taken = task.join().unwrap();
        match sent {
            Ok(number) => assert_eq!((number, taken, link.left()), (1, frame_bytes(), 1)),
            Err(error) => assert_eq!((error, taken, link.left()), (SendError::Closed, 0, 0)),
        }
    };
    shuttle::check_random(run, ORDERS);
}

#[test]
fn a_connection_that_waits_to_write_hears_that_reading_may_go_on() {
    let run = || {
        let link = link();
        let task = spawn({
            let link = link.clone();
            move || {
                // The system takes no more: what is queued does not wake it. The first sleep ends when reading may go on.
                let mut slept = false;
                block_on(poll_fn(|context| {
                    link.unpark();
                    if !slept && link.park(context.waker(), false) {
                        slept = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                }));
            }
        });
        link.resume_reading();
        task.join().unwrap();
    };
    shuttle::check_random(run, ORDERS);
}
