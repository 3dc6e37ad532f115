//! Commits: what turns did, in one command where that is enough.

use std::rc::Rc;

use redis::{Cmd, Pipeline, RedisWrite, cmd};

use super::{Entities, RESENDS_MAX, push_fence};
use crate::store::redis::faults::{failed, unreadable};
use crate::store::redis::keys::{self, encode_field, encode_id};
use crate::store::redis::lane::Reply;
use crate::store::redis::link::Sent;
use crate::store::{Commit, Committed, Field, Refusal, StateWrite, StoreError};

impl Entities {
    pub(crate) fn commit(self, commit: Commit, reply: Reply<Committed>) {
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
