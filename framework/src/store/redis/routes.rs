use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Pipeline, Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::faults::{answered, failed, unreadable};
use super::greeting::Greeting;
use super::link::{Link, Sent};
use super::server::{Access, Server, away};
use super::setup::Setup;
use crate::store::StoreError;
use crate::wire::Partition;

/// How often a Redis Cluster is asked who has which slot.
const REFRESH: Duration = Duration::from_secs(1);
/// So often a command that did not run is sent again.
const RESENDS_MAX: u32 = 3;

/// What a thread's connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The partitions: entities.
    Entities,
    /// The table of members: a connection of its own, so that no load holds up a renewal.
    Members,
}

/// Which server is asked about what.
pub(super) struct Routes {
    pub(super) setup: Rc<Setup>,
    lane: Lane,
    seeds: Vec<Server>,
    map: RefCell<Map>,
    /// Somebody wants the map to be read anew.
    wanted: Notify,
    /// How often it was.
    refreshed: watch::Sender<u64>,
}

#[derive(Default)]
struct Map {
    kept: HashMap<Server, Kept>,
    /// By partition, or one for the members.
    of: Vec<Option<Rc<Link>>>,
}

/// A link and the task that keeps it connected.
struct Kept {
    link: Rc<Link>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Routes {
    /// Connects to every server that is needed.
    pub(super) async fn open(mut setup: Setup, seeds: Vec<Server>, lane: Lane) -> Result<Rc<Self>, StoreError> {
        let (mut error, mut found) = (failed("there is no URL of Redis"), None);
        for seed in &seeds {
            match greet(&setup.access, seed, setup.speaks).await {
                Ok(greeting) => {
                    found = Some((seed.clone(), greeting));
                    break;
                }
                Err(why) => error = why,
            }
        }
        let (seed, greeting) = found.ok_or(error)?;
        setup.clustered = greeting.is_cluster();
        if setup.clustered {
            setup.access.without_database();
        } else {
            setup.lives.share();
        }
        let (refreshed, _) = watch::channel(0);
        let routes = Rc::new(Self {
            setup: Rc::new(setup),
            lane,
            seeds,
            map: RefCell::default(),
            wanted: Notify::new(),
            refreshed,
        });
        if routes.setup.clustered {
            routes.open_cluster().await?
        } else {
            routes.open_single(&seed).await?
        }
        Ok(routes)
    }

    async fn open_single(&self, seed: &Server) -> Result<(), StoreError> {
        let link = Link::new(self.setup.clone(), self.seeds.clone(), vec![0]);
        let mut connected = link.connect(seed).await;
        for server in &self.seeds {
            if connected.is_err() && server != seed {
                connected = link.connect(server).await.or(connected);
            }
        }
        connected?;
        let mut map = self.map.borrow_mut();
        map.of = vec![Some(link.clone()); self.places()];
        map.kept.insert(seed.clone(), keep(link));
        Ok(())
    }

    async fn open_cluster(self: &Rc<Self>) -> Result<(), StoreError> {
        self.refresh().await?;
        let links: Vec<Option<Rc<Link>>> = self.map.borrow().of.clone();
        if links.iter().any(Option::is_none) {
            return Err(failed("the Redis Cluster has slots that no server holds: see CLUSTER INFO"));
        }
        for link in self.links() {
            if let Some(server) = link.first_server().filter(|_| !link.is_up()) {
                link.connect(server).await?;
            }
        }
        let routes = Rc::downgrade(self);
        spawn_local(async move {
            while let Some(routes) = routes.upgrade() {
                // A failure leaves the map as it is; the next look may find another server to ask.
                if let Err(error) = routes.refresh().await {
                    tracing::debug!(%error, "the slots of the Redis Cluster are not known");
                }
                routes.refreshed.send_modify(|times| *times += 1);
                let _ = timeout(REFRESH, routes.wanted.notified()).await;
            }
        });
        Ok(())
    }

    fn places(&self) -> usize {
        if self.lane == Lane::Members { 1 } else { usize::from(self.setup.partitions) }
    }

    fn slot(&self, place: usize) -> u16 {
        match self.lane {
            Lane::Members => self.setup.keys.members_slot(),
            Lane::Entities => self.setup.keys.slot(place as Partition),
        }
    }

    /// Reads who has which slot, and connects to whom it has to.
    async fn refresh(&self) -> Result<(), StoreError> {
        let slots = self.read_slots().await?;
        let owner =
            |slot: u16| slots.iter().find(|(from, to, _)| (*from..=*to).contains(&slot)).map(|(.., server)| server);
        let owners: Vec<Option<&Server>> = (0..self.places()).map(|place| owner(self.slot(place))).collect();
        let mut wanted: HashMap<&Server, Vec<Partition>> = HashMap::new();
        for (place, server) in owners.iter().enumerate() {
            if let Some(server) = server {
                let partitions = wanted.entry(server).or_default();
                if self.lane == Lane::Entities {
                    partitions.push(place as Partition);
                }
            }
        }
        let mut links: HashMap<&Server, Rc<Link>> = HashMap::new();
        for (server, partitions) in wanted {
            let known = self.map.borrow().kept.get(server).map(|kept| kept.link.clone());
            let link = match known {
                Some(link) => {
                    let had = self.partitions_of(&link);
                    let added: Vec<Partition> = partitions.iter().filter(|p| !had.contains(p)).copied().collect();
                    // Before anything else is sent there: they come from another server.
                    if !added.is_empty() && link.is_up() {
                        link.cover(&added).await?;
                    }
                    link.keep_only(&partitions);
                    link
                }
                None => {
                    let link = Link::new(self.setup.clone(), vec![server.clone()], partitions);
                    let kept = keep(link.clone());
                    self.map.borrow_mut().kept.insert(server.clone(), kept);
                    link
                }
            };
            links.insert(server, link);
        }
        let of = owners.iter().map(|server| server.and_then(|server| links.get(server)).cloned()).collect();
        let mut map = self.map.borrow_mut();
        map.of = of;
        // A server that has no slot any more may get some back later: then it is greeted anew.
        map.kept.retain(|server, _| links.contains_key(server));
        Ok(())
    }

    fn links(&self) -> Vec<Rc<Link>> {
        self.map.borrow().kept.values().map(|kept| kept.link.clone()).collect()
    }

    fn partitions_of(&self, link: &Rc<Link>) -> Vec<Partition> {
        let map = self.map.borrow();
        let theirs = map.of.iter().enumerate().filter(|(_, of)| of.as_ref().is_some_and(|of| Rc::ptr_eq(of, link)));
        theirs.map(|(place, _)| place as Partition).collect()
    }

    async fn read_slots(&self) -> Result<Vec<(u16, u16, Server)>, StoreError> {
        let known = self.links();
        let mut ask = Pipeline::new();
        ask.cmd("CLUSTER").arg("SLOTS");
        for link in known.iter().filter(|link| link.is_up()) {
            if let Ok((mut values, server)) = link.send(&ask).await
                && let Some(Ok(slots)) = values.pop().map(|value| parse_slots(value, &server))
            {
                return Ok(slots);
            }
        }
        let mut error = failed("no server of the Redis Cluster is known");
        let servers = self.map.borrow().kept.keys().cloned().collect::<Vec<_>>();
        for server in self.seeds.iter().chain(&servers) {
            let asked = timeout(self.setup.response_timeout, self.ask_slots(server)).await;
            match asked.unwrap_or_else(|_| Err(away(server, &"no answer in time"))) {
                Ok(slots) => return Ok(slots),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    async fn ask_slots(&self, server: &Server) -> Result<Vec<(u16, u16, Server)>, StoreError> {
        let (mut connection, _driver) = self.setup.access.connect(server).await?;
        let mut command = cmd("CLUSTER");
        command.arg("SLOTS");
        let answer = connection.req_packed_command(&command).await.map_err(|error| away(server, &error))?;
        parse_slots(answer, server)
    }

    /// The connection that leads to a partition; the members have only one.
    pub(super) fn link(&self, partition: Partition) -> Result<Rc<Link>, StoreError> {
        let place = if self.lane == Lane::Members { 0 } else { usize::from(partition) };
        let link = self.map.borrow().of.get(place).cloned().flatten();
        link.ok_or_else(|| {
            failed("the Redis Cluster has no server for the slot, or it is not known: it is tried again")
        })
    }

    /// Sends commands about one partition, of which the last one matters; those before it may have failed. What
    /// certainly did not run is sent again where it could; an error says that the outcome is unknown, or that it was
    /// refused.
    pub(super) async fn run(&self, partition: Partition, commands: &Pipeline) -> Result<Value, StoreError> {
        self.run_on(partition, commands, None).await
    }

    /// The same, where they were sent before, and this came back.
    pub(super) async fn run_on(
        &self,
        partition: Partition,
        commands: &Pipeline,
        sent: Option<Sent>,
    ) -> Result<Value, StoreError> {
        let mut values = self.send(partition, commands, |values| values.last(), sent).await?;
        values.pop().ok_or_else(|| unreadable(&"an answer"))
    }

    /// Sends commands about one partition, all of which have to succeed, and may be repeated.
    pub(super) async fn run_all(&self, partition: Partition, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let first_error = |values: &[Value]| values.iter().position(|value| matches!(value, Value::ServerError(_)));
        self.send(partition, commands, |values| first_error(values).and_then(|at| values.get(at)), None).await
    }

    async fn send(
        &self,
        partition: Partition,
        commands: &Pipeline,
        deciding: impl Fn(&[Value]) -> Option<&Value>,
        mut sent: Option<Sent>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut resends = 0;
        loop {
            let link = self.link(partition)?;
            let came = match sent.take() {
                Some(came) => came,
                None => link.send(commands).await,
            };
            let (values, server) = match came {
                Ok(sent) => sent,
                Err(error) => {
                    self.wanted.notify_one();
                    return Err(error);
                }
            };
            let error = match deciding(&values) {
                Some(Value::ServerError(error)) => error,
                _ => return Ok(values),
            };
            let problem = answered(&*server, error);
            match error.code() {
                // None of these ran. Where another command of the same pipeline did, it may run again.
                "NOSCRIPT" if resends < RESENDS_MAX => self.load_scripts(&link).await?,
                "MOVED" | "ASK" if resends < RESENDS_MAX => self.wait_for_map().await,
                "READONLY" => {
                    link.demoted(problem.clone());
                    self.wanted.notify_one();
                    return Err(problem);
                }
                _ => return Err(problem),
            }
            resends += 1;
        }
    }

    async fn load_scripts(&self, link: &Rc<Link>) -> Result<(), StoreError> {
        let mut loads = Pipeline::new();
        for script in self.setup.scripts.all() {
            loads.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        link.send(&loads).await.map(drop)
    }

    async fn wait_for_map(&self) {
        let mut refreshed = self.refreshed.subscribe();
        self.wanted.notify_one();
        // What is known after this time is tried, and says what is wrong.
        let _ = timeout(self.setup.response_timeout, refreshed.changed()).await;
        sleep(Duration::from_millis(5)).await;
    }

    /// The partitions among these, by the connection that leads to them.
    pub(super) fn by_link(&self, partitions: &[Partition]) -> Result<Vec<Vec<Partition>>, StoreError> {
        let mut groups: Vec<(Rc<Link>, Vec<Partition>)> = Vec::new();
        for partition in partitions {
            let link = self.link(*partition)?;
            match groups.iter_mut().find(|(of, _)| Rc::ptr_eq(of, &link)) {
                Some((_, group)) => group.push(*partition),
                None => groups.push((link, vec![*partition])),
            }
        }
        Ok(groups.into_iter().map(|(_, group)| group).collect())
    }
}

fn keep(link: Rc<Link>) -> Kept {
    let task = spawn_local(link.clone().keep()).abort_handle();
    Kept { link, task }
}

async fn greet(access: &Access, server: &Server, speaks: bool) -> Result<Greeting, StoreError> {
    let (mut connection, _driver) = access.connect(server).await?;
    let greeting = Greeting::read(&mut connection, server).await?;
    if !greeting.is_cluster() {
        greeting.check_primary(server)?;
    }
    greeting.check_version(server)?;
    if speaks {
        greeting.warn_of(server);
    }
    Ok(greeting)
}

/// The answer to `CLUSTER SLOTS`: from, to, primary, replicas ....
fn parse_slots(answer: Value, asked: &Server) -> Result<Vec<(u16, u16, Server)>, StoreError> {
    let of = |value: &Value| redis::from_redis_value::<u16>(value.clone()).ok();
    let ranges = match answer {
        Value::Array(ranges) => ranges,
        Value::ServerError(error) => return Err(answered(asked, &error)),
        _ => return Err(unreadable(asked)),
    };
    let mut slots = Vec::new();
    for range in &ranges {
        let Value::Array(range) = range else { return Err(unreadable(asked)) };
        let [from, to, Value::Array(primary), ..] = range.as_slice() else { return Err(unreadable(asked)) };
        let [host, port, ..] = primary.as_slice() else { return Err(unreadable(asked)) };
        let host = match host {
            Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
            _ => String::new(),
        };
        // A server that does not know its own name leaves it out.
        let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
        let (Some(from), Some(to), Some(port)) = (of(from), of(to), of(port)) else { return Err(unreadable(asked)) };
        slots.push((from, to, Server { host, port }));
    }
    Ok(slots)
}
