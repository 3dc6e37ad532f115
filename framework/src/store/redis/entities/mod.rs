//! What is asked of Redis about entities: a [claim](claims) reads a record and makes it its owner's, a [commit](commits) changes it,
//! a trim forgets what nobody needs, a release gives it back; and the two indexes, who is due and who has dead letters.

mod claims;
mod commits;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value, cmd};

use super::faults::{failed, unreadable};
use super::keys::{self, decode_field, decode_id, decode_value, encode_field, encode_id};
use super::lane::{Connections, Reply};
use super::link::Sent;
use super::scripts::Script;
use super::shared::Shared;
use crate::store::{Due, Fence, Field, StoreError, Trim};
use crate::wire::{EntityId, Partition};

/// Something is sent again so often when its entry in an index was just removed, or Redis was just emptied.
const RESENDS_MAX: u32 = 4;
/// Tombstones deleted by one script: it may not take long.
const SWEPT_MAX: usize = 500;

/// A call of a script.
pub(super) fn call(script: &Script, keys: usize) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(&script.digest).arg(keys);
    call
}

pub(super) fn just(command: Cmd) -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.add_command(command);
    pipeline
}

/// What a script answered: a word, the life of the data, and what follows. The life alone stands for OK, since that is what
/// commits are answered with.
struct Answer {
    word: Cow<'static, str>,
    life: u64,
    rest: Vec<Value>,
}

impl Answer {
    fn read(value: Value, of: &EntityId) -> Result<Self, StoreError> {
        let values = match value {
            Value::Array(values) => values,
            life => {
                let life = redis::from_redis_value(life).map_err(|_| unreadable(of))?;
                return Ok(Self { word: "OK".into(), life, rest: Vec::new() });
            }
        };
        let mut values = values.into_iter();
        let word: Option<String> = values.next().and_then(|word| redis::from_redis_value(word).ok());
        let life = values.next().map_or(Some(0), |life| redis::from_redis_value(life).ok());
        match (word, life) {
            (Some(word), Some(life)) => Ok(Self { word: word.into(), life, rest: values.collect() }),
            _ => Err(unreadable(of)),
        }
    }
}

fn is_ok(value: &Value) -> bool {
    match value {
        Value::Array(values) => matches!(values.first(), Some(Value::BulkString(word)) if word == b"OK"),
        value => matches!(value, Value::BulkString(_)),
    }
}

/// Reads and writes of entities, on the thread of their connections.
pub(super) struct Entities {
    pub(super) routes: Rc<Connections>,
    pub(super) shared: Arc<Shared>,
}

impl Entities {
    fn partition(&self, id: &EntityId) -> Partition {
        id.partition(self.routes.setup.partitions)
    }

    fn entity_key(&self, id: &EntityId) -> Vec<u8> {
        self.routes.setup.keys.entity(self.partition(id), id)
    }

    /// Runs a script that looks at the life of the data. If that is gone, Redis was emptied: then there is a new one
    /// first, and the script, which did nothing, runs again.
    async fn ask(&self, id: &EntityId, commands: &Pipeline, sent: Option<Sent>) -> Result<Answer, StoreError> {
        let (partition, mut sent) = (self.partition(id), sent);
        for _ in 0..RESENDS_MAX {
            let answer = Answer::read(self.routes.run_on(partition, commands, sent.take()).await?, id)?;
            if answer.word != "LIFE" {
                self.see(partition, answer.life);
                return Ok(answer);
            }
            let covered = if self.routes.setup.clustered { partition } else { 0 };
            self.routes.link(partition)?.cover(&[covered]).await?;
        }
        Err(failed("Redis forgets what was just written there: is somebody emptying it?"))
    }

    fn see(&self, partition: Partition, life: u64) {
        if self.shared.lives.see(partition, life) {
            self.shared.lives.end();
        }
    }

    /// Sends commands of which the last one is a script. If it says OK, which nearly all do, that is read where it arrives;
    /// anything else, and only that, is worth a task.
    fn begin<T: 'static, F: Future<Output = Result<T, StoreError>> + 'static>(
        self,
        id: EntityId,
        (commands, bytes): (impl IntoIterator<Item = Cmd>, u64),
        reply: Reply<T>,
        read: impl FnOnce(&Self, Answer) -> Result<T, StoreError> + 'static,
        otherwise: impl FnOnce(Self, Sent) -> F + 'static,
    ) {
        let partition = self.partition(&id);
        let link = match self.routes.link(partition) {
            Ok(link) => link,
            Err(error) => return drop(reply.send(Err(error))),
        };
        link.post(commands, bytes, move |sent| match sent {
            Ok((mut values, _)) if values.last().is_some_and(is_ok) => {
                let answer = values.pop().ok_or_else(|| unreadable(&id)).and_then(|value| Answer::read(value, &id));
                let _ = reply.send(answer.and_then(|answer| {
                    self.see(partition, answer.life);
                    read(&self, answer)
                }));
            }
            sent => {
                let connections = self.routes.clone();
                connections.spawn(async move { drop(reply.send(otherwise(self, sent).await)) });
            }
        });
    }

    pub(super) async fn trim(&self, trim: Trim) -> Result<bool, StoreError> {
        let setup = &self.routes.setup;
        let (partition, id) = (self.partition(&trim.id), encode_id(&trim.id));
        let agenda = setup.keys.agenda(partition);
        let removes: Vec<Vec<u8>> = trim.removes.iter().map(encode_field).collect();
        let mut swept = self.shared.sweeps.take(&trim.id);
        swept.retain(|name| !removes.contains(name));
        let mut commands = Pipeline::new();
        if let Some(wake) = trim.wake {
            commands.cmd("ZADD").arg(agenda).arg("LT").arg(keys::score(wake)).arg(&id);
        }
        let mut command = call(&setup.scripts.trim, 3);
        command.arg(self.entity_key(&trim.id)).arg(setup.life_key(partition)).arg(agenda);
        push_fence(&mut command, &trim.fence);
        command
            .arg(trim.generation)
            .arg(trim.version)
            .arg(trim.wake.map(|wake| wake.to_string()).unwrap_or_default())
            .arg(&id);
        command.arg(removes.len()).arg(&removes).arg(&swept);
        commands.add_command(command);
        for _ in 0..RESENDS_MAX {
            let answer = self.ask(&trim.id, &commands, None).await?;
            match &*answer.word {
                "OK" => {}
                "MARKED" => {
                    swept.extend(removes);
                    self.sweep_later(&trim.id, swept);
                }
                "HINT" => {
                    let mut hint = call(&setup.scripts.hint, 1);
                    hint.arg(agenda).arg(keys::score(trim.wake.unwrap_or_default())).arg(&id);
                    self.routes.run(partition, &just(hint)).await?;
                    continue;
                }
                "SUPERSEDED" | "GENERATION" | "STALE" => return Ok(false),
                _ => return Err(unreadable(&trim.id)),
            }
            self.shared.count(|stats| stats.trims += 1);
            return Ok(true);
        }
        Err(failed("the entry in the agenda does not stay: is somebody deleting it?"))
    }

    pub(super) async fn release(&self, id: EntityId, fence: Fence) -> Result<(), StoreError> {
        let swept = self.shared.sweeps.take(&id);
        let mut commands = Pipeline::new();
        if !swept.is_empty() {
            commands.add_command(self.sweep(&id, &swept));
        }
        let mut command = call(&self.routes.setup.scripts.release, 1);
        command.arg(self.entity_key(&id));
        push_fence(&mut command, &fence);
        commands.add_command(command);
        self.routes.run(self.partition(&id), &commands).await.map(drop)
    }

    pub(super) async fn has(&self, id: EntityId, field: Field) -> Result<bool, StoreError> {
        let mut command = cmd("HGET");
        command.arg(self.entity_key(&id)).arg(encode_field(&field));
        let value = self.routes.run(self.partition(&id), &just(command)).await?;
        let found: Option<Vec<u8>> = redis::from_redis_value(value).map_err(|_| unreadable(&id))?;
        // An empty one is a tombstone.
        Ok(found.is_some_and(|value| !value.is_empty()))
    }

    pub(super) async fn verify(&self, id: EntityId, fence: Fence) -> Result<bool, StoreError> {
        let mut command = cmd("HMGET");
        command.arg(self.entity_key(&id)).arg(keys::OWNER).arg(keys::NONCE).arg(keys::EPOCH);
        let value = self.routes.run(self.partition(&id), &just(command)).await?;
        let found: [Option<Bytes>; 3] = redis::from_redis_value(value).map_err(|_| unreadable(&id))?;
        let [owner, nonce, epoch] = found.each_ref().map(Option::as_deref);
        Ok(owner == Some(keys::encode_incarnation(fence.owner).as_str().as_bytes())
            && nonce == Some(keys::encode_number(fence.nonce).as_str().as_bytes())
            && epoch == Some(fence.epoch.to_string().as_bytes()))
    }

    /// Deletes tombstones when it is worth a command.
    fn sweep_later(&self, id: &EntityId, names: Vec<Vec<u8>>) {
        for (id, names) in self.shared.sweeps.add(id, names) {
            for some in names.chunks(SWEPT_MAX) {
                let (routes, partition) = (self.routes.clone(), self.partition(&id));
                let sweep = just(self.sweep(&id, some));
                // If it fails, the next claim finds them.
                self.routes.spawn(async move { drop(routes.run(partition, &sweep).await) });
            }
        }
    }

    fn sweep(&self, id: &EntityId, names: &[Vec<u8>]) -> Cmd {
        let mut command = call(&self.routes.setup.scripts.sweep, 1);
        command.arg(self.entity_key(id)).arg(names);
        command
    }

    pub(super) async fn due(&self, of: Vec<Partition>, until: u64, limit: usize) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        if limit == 0 || of.is_empty() {
            return Ok(due);
        }
        for group in self.routes.by_link(&of)? {
            due.extend(self.due_of_server(&group, until, limit).await?);
        }
        due.sort_by(|one, other| (one.wake, &one.id).cmp(&(other.wake, &other.id)));
        due.truncate(limit);
        Ok(due)
    }

    async fn due_of_server(&self, of: &[Partition], until: u64, limit: usize) -> Result<Vec<Due>, StoreError> {
        let setup = &self.routes.setup;
        // In a Redis Cluster, a script may only touch one slot.
        let groups = if setup.clustered { of.chunks(1) } else { of.chunks(of.len().max(1)) };
        let mut commands = Pipeline::new();
        for group in groups.clone() {
            let mut command = call(&setup.scripts.due, group.len());
            command.arg(group.iter().map(|partition| setup.keys.agenda(*partition)).collect::<Vec<_>>());
            commands.add_command(command.arg(until).arg(limit).take());
        }
        let first = of.first().copied().unwrap_or_default();
        loop {
            let (mut due, mut settled) = (Vec::new(), false);
            let answers = self.routes.run_all(first, &commands).await?;
            for (answer, group) in answers.into_iter().zip(groups.clone()) {
                let (found, early): (Vec<Bytes>, Vec<Bytes>) =
                    redis::from_redis_value(answer).map_err(|_| unreadable(&"the agenda"))?;
                let place = |place: &Bytes| -> Option<Partition> {
                    let place: usize = std::str::from_utf8(place).ok()?.parse().ok()?;
                    group.get(place.checked_sub(1)?).copied()
                };
                for entry in found.chunks_exact(3) {
                    if let [_, wake, id] = entry
                        && let Some(wake) = std::str::from_utf8(wake).ok().and_then(|wake| wake.parse().ok())
                        && let Some(id) = decode_id(id)
                    {
                        due.push(Due { wake, id });
                    }
                }
                let mut settles = Pipeline::new();
                for entry in early.chunks_exact(2) {
                    if let [at, encoded] = entry
                        && let Some(partition) = place(at)
                        && let Some(id) = decode_id(encoded)
                    {
                        let mut settle = call(&setup.scripts.settle, 2);
                        settle.arg(setup.keys.agenda(partition)).arg(self.entity_key(&id)).arg(encoded.as_ref());
                        settles.add_command(settle);
                    }
                }
                if !settles.is_empty() {
                    settled = true;
                    self.routes.run_all(first, &settles).await?;
                }
            }
            // Entries that named too early a time may have hidden others: they don't any more.
            if !settled || due.len() >= limit {
                return Ok(due);
            }
        }
    }

    pub(super) async fn letters(&self, limit: usize) -> Result<Vec<(EntityId, u64, Bytes)>, StoreError> {
        let setup = &self.routes.setup;
        let all: Vec<Partition> = (0..setup.partitions).collect();
        let mut ids = Vec::new();
        for group in self.routes.by_link(&all)?.into_iter().filter(|_| limit > 0) {
            let mut commands = Pipeline::new();
            for partition in &group {
                // One more, since an entity of the index may have none.
                commands.cmd("ZRANGE").arg(setup.keys.letters(*partition)).arg(0).arg(limit);
            }
            let first = group.first().copied().unwrap_or_default();
            for answer in self.routes.run_all(first, &commands).await? {
                let found: Vec<Bytes> = redis::from_redis_value(answer).map_err(|_| unreadable(&"dead letters"))?;
                ids.extend(found.iter().filter_map(|id| decode_id(id)));
            }
        }
        ids.sort();
        let mut letters = Vec::new();
        for id in ids {
            if letters.len() >= limit {
                break;
            }
            let found = self.letters_of(&id).await?;
            if found.is_empty() {
                let mut unlist = call(&setup.scripts.unlist, 2);
                unlist.arg(setup.keys.letters(self.partition(&id))).arg(self.entity_key(&id)).arg(encode_id(&id));
                self.routes.run(self.partition(&id), &just(unlist)).await?;
            }
            letters.extend(found.into_iter().map(|(number, content)| (id.clone(), number, content)));
        }
        letters.truncate(limit);
        Ok(letters)
    }

    async fn letters_of(&self, id: &EntityId) -> Result<BTreeMap<u64, Bytes>, StoreError> {
        let mut read = cmd("HGETALL");
        read.arg(self.entity_key(id));
        let fields = read_fields(self.routes.run(self.partition(id), &just(read)).await?, id)?;
        let mut letters = BTreeMap::new();
        for (name, value) in fields {
            if let Some(Field::Letter(number)) = decode_field(&name)
                && let Some(content) = decode_value(&value).map_err(|()| unreadable(id))?
            {
                letters.insert(number, content);
            }
        }
        Ok(letters)
    }
}

fn push_fence(command: &mut Cmd, fence: &Fence) {
    command.arg(keys::encode_incarnation(fence.owner)).arg(keys::encode_number(fence.nonce)).arg(fence.epoch);
}

/// Names and values, as they are stored.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn read_fields(value: Value, id: &EntityId) -> Result<Fields, StoreError> {
    redis::from_redis_value(value).map_err(|_| unreadable(id))
}
