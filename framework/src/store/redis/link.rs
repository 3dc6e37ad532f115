use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::faults::failed;
use super::greeting::{Greeting, Watched};
use super::server::{Driver, Server, away};
use super::setup::Setup;
use crate::store::StoreError;
use crate::wire::Partition;

/// So many calls in a row without an answer, and the connection is given up: it may lead nowhere.
const TIMEOUTS_MAX: u32 = 2;
/// So many callers share a write and an answer: with more, Redis and they would take turns in working.
const TOGETHER_MAX: usize = 32;
/// With so much to send, the next ones wait for an answer of their own.
const TOGETHER_BYTES: u64 = 1 << 20;
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// What has come is read within that, once the thread runs again.
const STOOD_STILL: Duration = Duration::from_millis(20);
/// How often it is looked whether the data still is what it was.
const WATCH: Duration = Duration::from_secs(1);

/// The connection to one server, made anew whenever it is lost. Nothing is sent twice here.
pub(super) struct Link {
    setup: Rc<Setup>,
    /// Where it may be found: several only if no more than one of them is primary.
    servers: Vec<Server>,
    /// The partitions whose lives are looked at before anything else is sent.
    partitions: RefCell<Vec<Partition>>,
    state: RefCell<State>,
    /// What is not sent yet. The task that sends it owns it, and who waits for it with it: they hold this link in turn.
    outgoing: Weak<Outgoing>,
    /// How many connections there were.
    connections: Cell<u64>,
    /// How many calls in a row had no answer.
    timeouts: Cell<u32>,
    lost: Notify,
    /// Held while a connection is made: a second one would end what is on its way on the first.
    connecting: Mutex<()>,
}

/// What commands were answered with, and by whom.
pub(super) type Sent = Result<(Vec<Value>, Rc<Server>), StoreError>;

/// Commands that are about to be sent together, and who waits for which of their answers.
#[derive(Default)]
struct Batch {
    commands: Pipeline,
    /// About so many.
    bytes: u64,
    waiting: Vec<Waiting>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.waiting.len() >= TOGETHER_MAX || self.bytes >= TOGETHER_BYTES
    }
}

/// What waits to be sent on a link.
#[derive(Default)]
struct Outgoing {
    /// The oldest first.
    batches: RefCell<Vec<Batch>>,
    posted: Notify,
}

impl Outgoing {
    /// Sends what has gathered, in the order in which it came, until the link is gone.
    async fn send(self: Rc<Self>, link: Weak<Link>) {
        loop {
            self.posted.notified().await;
            let Some(link) = link.upgrade() else { return };
            self.batches.take().into_iter().for_each(|batch| _ = spawn_local(link.clone().send_together(batch)));
        }
    }
}

struct Waiting {
    count: usize,
    answered: Box<dyn FnOnce(Sent)>,
}

enum State {
    /// Why nothing can be sent.
    Away(StoreError),
    Up(Open, Driver),
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    server: Rc<Server>,
    /// Which one it is: a call on an earlier one must not end this one.
    number: u64,
}

impl Link {
    pub(super) fn new(setup: Rc<Setup>, servers: Vec<Server>, partitions: Vec<Partition>) -> Rc<Self> {
        let state = State::Away(failed("Redis is not connected yet"));
        let outgoing = Rc::new(Outgoing::default());
        let link = Rc::new(Self {
            setup,
            servers,
            partitions: RefCell::new(partitions),
            state: RefCell::new(state),
            outgoing: Rc::downgrade(&outgoing),
            connections: Cell::new(0),
            timeouts: Cell::new(0),
            lost: Notify::new(),
            connecting: Mutex::new(()),
        });
        spawn_local(outgoing.send(Rc::downgrade(&link)));
        link
    }

    /// Connects, unless it is connected.
    pub(super) async fn connect(&self, server: &Server) -> Result<(), StoreError> {
        let _alone = self.connecting.lock().await;
        if self.is_up() {
            return Ok(());
        }
        let (mut connection, driver) = self.setup.access.connect(server).await?;
        let partitions = self.partitions.borrow().clone();
        let greeting = async {
            Greeting::read(&mut connection, server).await?.check_primary(server)?;
            self.setup.load_scripts(&mut connection, server).await?;
            self.setup.look_at_lives(&mut connection, server, &partitions).await
        };
        let greeted = timeout(self.setup.response_timeout.max(Duration::from_secs(1)), greeting).await;
        greeted.map_err(|_| away(server, &"no answer in time"))??;
        let number = self.connections.get() + 1;
        self.connections.set(number);
        self.timeouts.set(0);
        *self.state.borrow_mut() = State::Up(Open { connection, server: Rc::new(server.clone()), number }, driver);
        // Partitions may have come meanwhile, which were not looked at.
        let added: Vec<Partition> =
            self.partitions.borrow().iter().filter(|partition| !partitions.contains(partition)).copied().collect();
        if added.is_empty() { Ok(()) } else { self.cover(&added).await }
    }

    /// Keeps it connected, for as long as the task is let run.
    pub(super) async fn keep(self: Rc<Self>) {
        let (mut pause, mut told) = (RETRY_MIN, self.setup.speaks);
        loop {
            if self.is_up() {
                pause = RETRY_MIN;
                self.watch().await;
            }
            for server in &self.servers {
                match self.connect(server).await {
                    Ok(()) => {
                        if told {
                            tracing::info!(%server, "connected to Redis again");
                            told = self.setup.speaks;
                        }
                        break;
                    }
                    Err(why) => *self.state.borrow_mut() = State::Away(retried(why)),
                }
            }
            if !self.is_up() {
                // Not all silos at the same time.
                sleep(pause.mul_f64(0.5 + jitter() / 2.0)).await;
                pause = (pause * 2).min(RETRY_MAX);
                // It may be the only one that has none.
                if pause == RETRY_MAX && !told {
                    told = true;
                    tracing::warn!(
                        "an arbiter has had no connection to Redis for a while: its entities are unavailable"
                    );
                }
            }
        }
    }

    /// Until it is lost.
    async fn watch(&self) {
        while self.is_up() {
            if timeout(WATCH, self.until_lost()).await.is_err() {
                self.look_again().await;
            }
        }
    }

    async fn until_lost(&self) {
        let mut lost = pin!(self.lost.notified());
        poll_fn(|context| {
            let ended = match &mut *self.state.borrow_mut() {
                State::Up(open, driver) => match Pin::new(&mut driver.ended).poll(context) {
                    Poll::Ready(_) => Some(open.clone()),
                    Poll::Pending => None,
                },
                State::Away(_) => return Poll::Ready(()),
            };
            if let Some(open) = ended {
                self.lose(&open, away(&open.server, &"the connection was lost"));
                return Poll::Ready(());
            }
            lost.as_mut().poll(context)
        })
        .await;
    }

    /// Whether the data was emptied under the connection: that closes none.
    async fn look_again(&self) {
        let Ok(mut open) = self.open() else { return };
        let partitions: Vec<Partition> = self.partitions.borrow().iter().take(1).copied().collect();
        let looking = self.setup.look_at_lives(&mut open.connection, &open.server, &partitions);
        let looked = within(self.setup.response_timeout, looking).await;
        match looked {
            Ok(Ok(Watched::Moved)) => {
                let partitions = self.partitions.borrow().clone();
                if let Err(error) = self.cover(&partitions).await {
                    self.lose(&open, error);
                }
            }
            Ok(Ok(Watched::Same)) => self.timeouts.set(0),
            Ok(Err(error)) => self.lose(&open, error),
            Err(_) => self.timed_out(&open),
        }
    }

    /// Looks at the lives of these partitions; from now on, also whenever it connects.
    pub(super) async fn cover(&self, partitions: &[Partition]) -> Result<(), StoreError> {
        let missing: Vec<Partition> = {
            let covered = self.partitions.borrow();
            partitions.iter().filter(|partition| !covered.contains(partition)).copied().collect()
        };
        self.partitions.borrow_mut().extend(missing);
        let mut open = self.open()?;
        let looking = self.setup.look_at_lives(&mut open.connection, &open.server, partitions);
        let looked = within(self.setup.response_timeout, looking).await;
        looked.map_err(|_| away(&open.server, &"no answer in time"))?.map(drop)
    }

    /// What this server is asked for from now on.
    pub(super) fn keep_only(&self, partitions: &[Partition]) {
        *self.partitions.borrow_mut() = partitions.to_vec();
    }

    /// Sends commands and waits for their answers. An error says that the outcome is unknown, unless they could not
    /// be sent.
    pub(super) async fn send(self: &Rc<Self>, commands: &Pipeline) -> Sent {
        let (answered, answer) = oneshot::channel();
        self.post(commands.cmd_iter().cloned(), 0, |sent| _ = answered.send(sent));
        answer.await.unwrap_or_else(|_| Err(failed("the connection ended; the outcome is unknown")))
    }

    /// The same without a task: what they were answered with is given to this. `bytes`: about how much there is to send.
    pub(super) fn post(
        self: &Rc<Self>,
        commands: impl IntoIterator<Item = Cmd>,
        bytes: u64,
        answered: impl FnOnce(Sent) + 'static,
    ) {
        // Where the task has ended, its thread is ending: whoever waits hears that the store is closed.
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        let mut batches = outgoing.batches.borrow_mut();
        if batches.last().is_none_or(Batch::is_full) {
            batches.push(Batch::default());
        }
        let Some(batch) = batches.last_mut() else { return };
        let before = batch.commands.len();
        commands.into_iter().for_each(|command| _ = batch.commands.add_command(command));
        let count = batch.commands.len() - before;
        batch.waiting.push(Waiting { count, answered: Box::new(answered) });
        batch.bytes += bytes;
        outgoing.posted.notify_one();
    }

    /// One write, one limit and one wake-up for many callers.
    async fn send_together(self: Rc<Self>, batch: Batch) {
        let Batch { commands, waiting, .. } = batch;
        match self.send_all(&commands).await {
            Ok((values, server)) => {
                let mut values = values.into_iter();
                for Waiting { count, answered } in waiting {
                    let own = values.by_ref().take(count).collect();
                    answered(Ok((own, server.clone())));
                }
            }
            Err(error) => waiting.into_iter().for_each(|waiting| (waiting.answered)(Err(error.clone()))),
        }
    }

    async fn send_all(&self, commands: &Pipeline) -> Sent {
        let mut open = self.open()?;
        let sending = open.connection.send_packed_commands(commands, 0, commands.len());
        match within(self.setup.response_timeout, sending).await {
            Ok(Ok(values)) => {
                self.timeouts.set(0);
                Ok((values, open.server))
            }
            Ok(Err(error)) => {
                let error = away(&open.server, &error);
                self.lose(&open, error.clone());
                Err(error)
            }
            Err(_) => {
                self.timed_out(&open);
                let limit = self.setup.response_timeout;
                Err(failed(format!("Redis at {} did not answer within {limit:?}; the outcome is unknown", open.server)))
            }
        }
    }

    /// It can't be written to any more: another look is taken at where the primary is.
    pub(super) fn demoted(&self, why: StoreError) {
        if let Ok(open) = self.open() {
            self.lose(&open, why);
        }
    }

    /// Lets go of a connection, unless it was let go of before: it is made anew.
    fn lose(&self, open: &Open, why: StoreError) {
        let current = matches!(&*self.state.borrow(), State::Up(current, _) if current.number == open.number);
        if current {
            if self.setup.speaks {
                tracing::warn!(error = %why, "the connection to Redis is given up");
            }
            *self.state.borrow_mut() = State::Away(retried(why));
            self.lost.notify_waiters();
        }
    }

    fn timed_out(&self, open: &Open) {
        self.timeouts.set(self.timeouts.get() + 1);
        if self.timeouts.get() >= TIMEOUTS_MAX {
            self.lose(open, away(&open.server, &"it stopped answering"));
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.open().is_ok()
    }

    fn open(&self) -> Result<Open, StoreError> {
        match &*self.state.borrow() {
            State::Up(open, _) => Ok(open.clone()),
            State::Away(why) => Err(why.clone()),
        }
    }

    pub(super) fn first_server(&self) -> Option<&Server> {
        self.servers.first()
    }
}

/// The thread may be an arbiter that stood still: what has come meanwhile is read before it counts as missing.
async fn within<T>(limit: Duration, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    match timeout(limit, answer.as_mut()).await {
        Ok(answered) => Ok(answered),
        Err(_) => timeout(STOOD_STILL, answer).await,
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The task that would send ends.
        if let Some(outgoing) = self.outgoing.upgrade() {
            outgoing.posted.notify_one();
        }
    }
}

/// What calls are told until there is a connection again.
fn retried(why: StoreError) -> StoreError {
    match why {
        StoreError::Failed { reason } => failed(format!("{reason}; it is tried again and again")),
        other => other,
    }
}

/// Between 0 and 1.
fn jitter() -> f64 {
    Uuid::new_v4().as_u128() as f64 / u128::MAX as f64
}
