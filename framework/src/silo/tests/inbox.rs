use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::silo::inbox::Inbox;

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn it_is_taken_in_order_and_who_sleeps_is_woken_once() {
    let (inbox, woken) = (Inbox::new(), Arc::new(Counting::default()));
    let (waker, mut taken) = (Waker::from(woken.clone()), VecDeque::new());
    let mut take = || {
        let polled = inbox.poll_take(&mut taken, &Context::from_waker(&waker)).is_ready();
        (polled, taken.drain(..).collect::<Vec<_>>())
    };
    inbox.push(0).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 0, "nobody sleeps yet");
    assert_eq!(take(), (true, vec![0]));
    assert_eq!(take(), (false, vec![]));
    for item in 1..5 {
        inbox.push(item).unwrap();
    }
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(take(), (true, vec![1, 2, 3, 4]));
}

#[test]
fn one_that_is_closed_gives_everything_back() {
    let inbox = Inbox::new();
    inbox.push("left").unwrap();
    assert_eq!(inbox.close(), ["left"]);
    assert_eq!(inbox.push("late"), Err("late"));
}

#[test]
fn nothing_is_left_behind_by_threads() {
    let inbox = Inbox::new();
    let (threads, each) = (4, 1_000);
    let mut seen = vec![0; threads];
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let inbox = &inbox;
            scope.spawn(move || (0..each).for_each(|item| inbox.push((thread, item)).unwrap()));
        }
        let (parked, mut taken) = (Waker::from(Arc::new(Unpark(std::thread::current()))), VecDeque::new());
        while seen.iter().sum::<usize>() < threads * each {
            match inbox.poll_take(&mut taken, &Context::from_waker(&parked)) {
                Poll::Ready(()) => taken.drain(..).for_each(|(thread, item)| {
                    assert_eq!(seen[thread], item, "out of order");
                    seen[thread] += 1;
                }),
                Poll::Pending => std::thread::park_timeout(std::time::Duration::from_secs(10)),
            }
        }
    });
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
