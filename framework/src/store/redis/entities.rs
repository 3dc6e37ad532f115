use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline, RedisWrite, Value, cmd};

use super::faults::{failed, unreadable};
use super::keys::{self, decode_field, decode_id, decode_value, encode_field, encode_id};
use super::lane::{Connections, Reply};
use super::link::Sent;
use super::scripts::Script;
use super::shared::Shared;
use crate::store::{
    Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Record, Refusal, StateWrite, StoreError, Trim,
};
use crate::wire::{EntityId, Partition};

/// A commit is sent again so often when its entry in an index was just removed, or Redis was just emptied.
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

    pub(super) fn claim(self, claim: Claim, reply: Reply<Claimed>) {
        let setup = &self.routes.setup;
        let partition = self.partition(&claim.id);
        let mut command = call(&setup.scripts.claim, 2);
        command.arg(self.entity_key(&claim.id)).arg(setup.life_key(partition));
        command.arg(keys::encode_incarnation(claim.owner)).arg(keys::encode_number(claim.nonce));
        match claim.over {
            Some(over) => command.arg(keys::encode_incarnation(over)),
            None => command.arg(""),
        };
        let (again, asked) = (just(command.clone()), claim.clone());
        self.begin(
            claim.id.clone(),
            ([command], 0),
            reply,
            move |entities, answer| entities.claimed(&claim, answer),
            move |entities, sent| async move {
                let answer = entities.ask(&asked.id, &again, Some(sent)).await?;
                entities.claimed(&asked, answer)
            },
        );
    }

    fn claimed(&self, claim: &Claim, mut answer: Answer) -> Result<Claimed, StoreError> {
        let found = answer.rest.pop().ok_or_else(|| unreadable(&claim.id))?;
        let claimed = match &*answer.word {
            "TAKEN" => Claimed::Taken { owner: read_incarnation(found).ok_or_else(|| unreadable(&claim.id))? },
            "OK" => {
                let (record, tombstones) = read_record(found, claim, answer.life)?;
                self.sweep_later(&claim.id, tombstones);
                Claimed::Granted(Box::new(record))
            }
            _ => return Err(unreadable(&claim.id)),
        };
        self.shared.count(|stats| stats.claims += 1);
        Ok(claimed)
    }

    pub(super) fn commit(self, commit: Commit, reply: Reply<Committed>) {
        let commands = self.commands_of(&commit, commit.named);
        let commit = Rc::new(commit);
        let applied = commit.clone();
        self.begin(
            commit.id.clone(),
            (commands, applied.bytes()),
            reply,
            move |entities, _| Ok(entities.applied(&applied)),
            move |entities, sent| async move { entities.commit_on(&commit, sent).await },
        );
    }

    /// `named`: its entry in the agenda is there, as far as is known.
    fn commands_of(&self, commit: &Commit, named: bool) -> impl IntoIterator<Item = Cmd> + use<> {
        let setup = &self.routes.setup;
        let partition = self.partition(&commit.id);
        let agenda = commit.wake.filter(|_| setup.scripts.hints && !named).map(|wake| {
            let mut add = cmd("ZADD");
            add.arg(setup.keys.agenda(partition)).arg("LT").arg(keys::score(wake)).arg(encode_id(&commit.id));
            add
        });
        let lettered = commit.puts.iter().any(|(field, _)| matches!(field, Field::Letter(_)));
        let letters = lettered.then(|| {
            let mut add = cmd("ZADD");
            add.arg(setup.keys.letters(partition)).arg(0).arg(encode_id(&commit.id));
            add
        });
        let entity = self.entity_key(&commit.id);
        let applied = keys::encode_number(commit.commit);
        // One allocation for the words and one for where each ends: this is the command that is sent most.
        let words = 20 + 2 * (commit.puts.len() + commit.removes.len());
        let names = [setup.life_key(partition), setup.keys.agenda(partition), setup.keys.letters(partition)];
        let names = match (commit.wake.is_some(), lettered) {
            (false, false) => &names[..1],
            (true, false) => &names[..2],
            (_, true) => &names[..],
        };
        let lengths = entity.len() + names.iter().map(|name| name.len()).sum::<usize>();
        let bytes = 320 + lengths + commit.bytes() as usize + 64 * commit.puts.len();
        let mut command = Cmd::with_capacity(words, bytes);
        command.arg("EVALSHA").arg(&setup.scripts.commit.digest).arg(1 + names.len()).arg(&entity[..]).arg(names);
        push_fence(&mut command, &commit.fence);
        command.arg(commit.generation).arg(commit.version);
        command.arg(keys::VERSION).arg(commit.version.saturating_add(1)).arg(keys::COMMIT).arg(applied);
        command.arg(keys::WAKE);
        push_wake(&mut command, commit.wake);
        match &commit.state {
            StateWrite::Keep => {}
            StateWrite::Put(state) => push_value(command.arg(keys::STATE), state),
            StateWrite::Delete => drop(command.arg(keys::STATE).arg("")),
        }
        for (field, value) in &commit.puts {
            push_value(command.arg(encode_field(field)), value);
        }
        for field in &commit.removes {
            command.arg(encode_field(field)).arg("");
        }
        [agenda, letters, Some(command)].into_iter().flatten()
    }

    fn applied(&self, commit: &Commit) -> Committed {
        self.shared.count(|stats| {
            stats.commits += 1;
            stats.bytes += commit.bytes();
        });
        self.sweep_later(&commit.id, commit.removes.iter().map(encode_field).collect());
        Committed::Done
    }

    /// From what a commit was answered with when it was sent first.
    async fn commit_on(&self, commit: &Commit, sent: Sent) -> Result<Committed, StoreError> {
        let mut commands = Pipeline::new();
        self.commands_of(commit, false).into_iter().for_each(|command| _ = commands.add_command(command));
        let mut sent = Some(sent);
        for _ in 0..RESENDS_MAX {
            return Ok(match self.ask(&commit.id, &commands, sent.take()).await?.word.as_ref() {
                "OK" => self.applied(commit),
                "AGAIN" => Committed::Done,
                "SUPERSEDED" => Committed::Refused(Refusal::Superseded),
                "GENERATION" => Committed::Refused(Refusal::Generation),
                "STALE" => Committed::Refused(Refusal::Stale),
                // Somebody tidied the index before our commit, which did not run.
                "HINT" => continue,
                _ => return Err(unreadable(&commit.id)),
            });
        }
        Err(failed("the entry in the agenda does not stay: is somebody deleting it?"))
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

fn push_wake(command: &mut Cmd, wake: Option<u64>) {
    match wake {
        Some(wake) => command.arg(wake),
        None => command.arg(""),
    };
}

fn push_value(command: &mut Cmd, value: &[u8]) {
    let mut stored = command.writer_for_next_arg();
    // Writing to memory can't fail.
    let _ = keys::write_value(&mut stored, value);
}

fn read_incarnation(value: Value) -> Option<Incarnation> {
    let text: String = redis::from_redis_value(value).ok()?;
    Incarnation::try_parse(&text).ok()
}

/// Names and values, as they are stored.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn read_fields(value: Value, id: &EntityId) -> Result<Fields, StoreError> {
    redis::from_redis_value(value).map_err(|_| unreadable(id))
}

/// The record as a claim finds it, and the names of its tombstones.
fn read_record(value: Value, claim: &Claim, generation: u64) -> Result<(Record, Vec<Vec<u8>>), StoreError> {
    let bad = || unreadable(&claim.id);
    let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    let fence = Fence { owner: claim.owner, nonce: claim.nonce, epoch: 0 };
    let mut record = Record { fence, generation, version: 0, state: None, fields: BTreeMap::new(), wake: None };
    let mut tombstones = Vec::new();
    for (name, value) in read_fields(value, &claim.id)? {
        match name.as_slice() {
            keys::OWNER | keys::NONCE | keys::COMMIT => {}
            keys::EPOCH => record.fence.epoch = number(&value).ok_or_else(bad)?,
            keys::VERSION => record.version = number(&value).ok_or_else(bad)?,
            keys::WAKE if value.is_empty() => {}
            keys::WAKE => record.wake = Some(number(&value).ok_or_else(bad)?),
            keys::STATE => record.state = decode_value(&value).map_err(|()| bad())?,
            _ => match (decode_field(&name), decode_value(&value).map_err(|()| bad())?) {
                (Some(field), Some(value)) => drop(record.fields.insert(field, value)),
                (_, None) => tombstones.push(name),
                // Of a newer version, which knows what it is for: it stays where it is.
                (None, Some(_)) => {}
            },
        }
    }
    Ok((record, tombstones))
}
