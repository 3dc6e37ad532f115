//! What Orleans' benchmarks call grains.

use std::collections::HashMap;
use std::sync::Mutex;

use futures_util::future::join_all;
use grange::prelude::*;
use tokio::sync::oneshot;

/// `PingGrain`: answers, and that is all. It keeps no state, so it is volatile here.
#[entity(volatile, key = u64)]
#[derive(Debug, Default)]
pub(crate) struct Ping;

#[entity]
impl Ping {
    pub(crate) async fn run(&mut self) {}
}

/// `TreeGrain`: asks its children, 16 of them, down to the fourth level, and says whether all have answered.
#[entity(volatile, key = u64)]
#[derive(Debug, Default)]
pub(crate) struct Tree;

pub(crate) const FAN_OUT: u64 = 16;
const LEVELS: u32 = 4;

#[entity]
impl Tree {
    pub(crate) async fn ping(&mut self, turn: &mut Turn<Self>) -> bool {
        let children: Vec<_> = children(*turn.key()).map(|child| turn.entity::<Tree>(child).ping()).collect();
        join_all(children).await.into_iter().all(|answer| answer == Ok(true))
    }
}

/// Numbered as Orleans does it: the level is in the number.
fn children(id: u64) -> impl Iterator<Item = u64> {
    let level = if id == 0 { 0 } else { id.ilog(FAN_OUT) };
    let count = if level < LEVELS { FAN_OUT } else { 0 };
    (1..=count).map(move |child| (id + 1) * FAN_OUT + child)
}

/// How many grains a tree has.
pub(crate) fn tree_size(root: u64) -> u64 {
    1 + children(root).map(tree_size).sum::<u64>()
}

/// `PersistentGrain`: a payload of so many bytes, of which each write changes one.
#[entity(key = u64)]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Document {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
}

#[entity]
impl Document {
    pub(crate) async fn init(&mut self, bytes: u64) {
        self.payload = vec![0; bytes as usize];
    }

    /// Changes one byte; the whole payload is written.
    pub(crate) async fn set(&mut self, at: u64) {
        let byte = &mut self.payload[at as usize];
        *byte = byte.wrapping_add(1);
    }

    /// The whole payload.
    pub(crate) async fn get(&self) -> Vec<u8> {
        self.payload.clone()
    }
}

/// One of the two of a transfer.
#[entity(key = u64)]
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Purse {
    balance: i64,
}

/// Who waits for the end of a transfer, by the payer's key.
static WAITING: Mutex<Option<HashMap<u64, oneshot::Sender<()>>>> = Mutex::new(None);

#[entity]
impl Purse {
    /// Takes from this one; the payee is credited by a durable message.
    pub(crate) async fn pay(&mut self, to: u64, amount: i64, turn: &mut Turn<Self>) {
        self.balance -= amount;
        let payee = turn.entity::<Purse>(to);
        turn.send(payee.credit(amount).then(turn.me().credited(amount)));
    }

    /// A read: it loads the state, and changes nothing.
    pub(crate) async fn look(&self) -> i64 {
        self.balance
    }

    async fn credit(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    /// The payee has committed it, or gave it up.
    async fn credited(&mut self, amount: i64, turn: &mut Turn<Self>, outcome: Outcome<i64>) {
        if outcome.is_err() {
            self.balance += amount;
        }
        let waiting = WAITING.lock().expect("whole").as_mut().and_then(|waiting| waiting.remove(turn.key()));
        if let Some(waiting) = waiting {
            let _ = waiting.send(());
        }
    }
}

/// Pays, and waits until the payee has it and the payer knows.
pub(crate) async fn transfer(client: &Client, from: u64, to: u64) -> bool {
    let (done, ended) = oneshot::channel();
    WAITING.lock().expect("whole").get_or_insert_default().insert(from, done);
    client.entity::<Purse>(from).pay(to, 1).await.is_ok() && ended.await.is_ok()
}
