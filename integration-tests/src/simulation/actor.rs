//! An entity for stories: it adds, tells others, and fails in every way that a handler can.

use std::cell::RefCell;
use std::time::Duration;

use grange::prelude::*;

thread_local! {
    /// What entities did outside: all of a simulation is in one thread.
    static OUTSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Something happened outside, which no rollback undoes.
fn outside(what: u64) {
    OUTSIDE.with_borrow_mut(|outside| outside.push(what));
}

/// What happened outside since this was asked last.
pub fn seen_outside() -> Vec<u64> {
    OUTSIDE.take()
}

/// Why a handler refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// It always does.
    #[error("it refuses")]
    Always,
    /// Another entity could not be asked.
    #[error("the other: {0}")]
    Other(#[from] CallError),
}

/// What it has, what came, and what it was told of what it sent.
#[entity]
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Actor {
    total: u64,
    came: Vec<u64>,
    told: u64,
    heard: Vec<bool>,
}

#[entity]
impl Actor {
    /// The sum.
    pub async fn total(&self) -> u64 {
        self.total
    }
    /// What was added, in its order.
    pub async fn came(&self) -> Vec<u64> {
        self.came.clone()
    }
    /// How many messages it sent; for each that was to be continued, whether it was applied.
    pub async fn told(&self) -> (u64, Vec<bool>) {
        (self.told, self.heard.clone())
    }
    /// Adds; says the sum.
    pub async fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.came.push(n);
        self.total
    }
    /// The same, after a while.
    pub async fn add_slowly(&mut self, n: u64, ms: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.add(n).await
    }
    /// Sends these to another, each to be added.
    pub async fn tell(&mut self, to: String, these: Vec<u64>, turn: &mut Turn<Self>) -> u64 {
        for n in these {
            self.told += 1;
            turn.send(turn.entity::<Self>(to.clone()).add(n));
        }
        self.told
    }
    /// The same, and hears what became of each.
    pub async fn tell_and_hear(&mut self, to: String, these: Vec<u64>, turn: &mut Turn<Self>) -> u64 {
        for n in these {
            self.told += 1;
            turn.send(turn.entity::<Self>(to.clone()).add(n).then(turn.me().hear()));
        }
        self.told
    }
    async fn hear(&mut self, outcome: Outcome<u64>) {
        self.heard.push(outcome.is_ok());
    }
    /// Sends a message that is refused; hears of it, if it is to.
    pub async fn tell_what_is_refused(&mut self, to: String, hears: bool, turn: &mut Turn<Self>) {
        let call = turn.entity::<Self>(to).refuse();
        if hears { turn.send(call.then(turn.me().hear_of_refusal())) } else { turn.send(call) }
    }
    async fn hear_of_refusal(&mut self, outcome: Outcome<u64, Refused>) {
        self.heard.push(outcome.is_ok());
    }
    /// Changes itself, and refuses all the same.
    pub async fn refuse(&mut self) -> Result<u64, Refused> {
        self.total += 1_000_000;
        Err(Refused::Always)
    }
    /// Refuses the first time, as the world outside knows it; never again.
    pub async fn refuse_once(&mut self) -> Result<u64, Refused> {
        let first = OUTSIDE.with_borrow(Vec::is_empty);
        outside(1);
        if first { Err(Refused::Always) } else { Ok(self.add(1).await) }
    }
    /// Sends a message whose handler asks a third.
    pub async fn tell_to_ask(&mut self, to: String, whom: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Self>(to).ask(whom));
    }
    /// Asks another to add 1, and does so itself.
    pub async fn ask(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, Refused> {
        turn.entity::<Self>(whom).add(1).await?;
        Ok(self.add(1).await)
    }
    /// Asks another for its sum, and keeps it waiting.
    pub async fn ask_back(&mut self, whom: String, turn: &mut Turn<Self>) -> Result<u64, Refused> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(turn.entity::<Self>(whom).add(0).await?)
    }
    /// Sends a message that whoever runs it may not survive.
    pub async fn tell_poison(&mut self, to: String, turn: &mut Turn<Self>) {
        turn.send(turn.entity::<Self>(to).poison());
    }
    /// Where it asks the store, a story lets its silo die.
    pub async fn poison(&mut self, turn: &mut Turn<Self>) -> u64 {
        let _ = turn.verify().await;
        self.add(1).await
    }
    /// Adds so much to itself, later, under this name.
    pub async fn remind(&mut self, name: String, n: u64, after_ms: u64, turn: &mut Turn<Self>) {
        turn.send(turn.me().add(n).after(Duration::from_millis(after_ms)).named(name));
    }
    /// Adds so much to itself again and again, under this name.
    pub async fn repeat(&mut self, name: String, n: u64, every_ms: u64, turn: &mut Turn<Self>) {
        turn.send(turn.me().add(n).every(Duration::from_millis(every_ms)).named(name));
    }
    /// No more of that.
    pub async fn cancel(&mut self, name: String, turn: &mut Turn<Self>) {
        turn.cancel(&name);
    }
    /// Never ends.
    pub async fn hang(&mut self) -> u64 {
        self.total += 1_000_000;
        std::future::pending().await
    }
    /// Panics.
    pub async fn boom(&mut self) -> u64 {
        self.total += 1_000_000;
        panic!("as the story wants")
    }
    /// Tells the world outside its sum, when that is committed.
    pub async fn show(&mut self, turn: &mut Turn<Self>) -> u64 {
        turn.settled().await;
        outside(self.total);
        self.total
    }
    /// Says its fence token.
    pub async fn token(&mut self, turn: &mut Turn<Self>) -> u64 {
        self.total += 1;
        turn.fence_token()
    }
}
