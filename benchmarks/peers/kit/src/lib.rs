//! What the drivers of peers share.
//!
//! A driver is a program that is started twice: `server …` says a line when it serves, `client …` says one when it can ask.
//! From then on the client reads lines of two numbers, callers and asks of each, has them asked, and says how many nanoseconds
//! that took. Whoever measures starts both and compares peers round by round: `src/bin/peers` of the benchmarks.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Says a line at once.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // Whoever started this may be gone: then the end of the input ends it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// One round: how many callers, and how many asks each of them makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Callers at the same time, an entity each.
    pub callers: u64,
    /// Asks of each, one after the other.
    pub each: u64,
}

/// The rounds that are asked for; none when the other side is gone.
pub fn rounds() -> mpsc::UnboundedReceiver<Round> {
    let (rounds, asked_for) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
            let [callers, each] = numbers[..] else { panic!("two numbers, and not `{line}`") };
            if rounds.send(Round { callers, each }).is_err() {
                return;
            }
        }
        // Nothing here has an orderly end, and nothing needs one.
        std::process::exit(0);
    });
    asked_for
}

/// Ends this process when the one that started it is gone.
pub fn end_when_alone() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// Makes a round: a task for each caller, which makes all of its asks.
///
/// # Panics
/// When a caller does.
pub async fn work<F: Future<Output = ()> + Send + 'static>(round: Round, caller: impl Fn(u64) -> F) -> Duration {
    let started = Instant::now();
    let tasks: Vec<_> = (0..round.callers).map(|number| tokio::spawn(caller(number))).collect();
    for task in tasks {
        task.await.expect("a caller ends well");
    }
    started.elapsed()
}

/// The argument at this place, after the name of the program.
///
/// # Panics
/// When there is none.
pub fn argument(place: usize) -> String {
    std::env::args().nth(place + 1).unwrap_or_else(|| panic!("argument {place} is missing"))
}
