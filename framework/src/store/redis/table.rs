use std::collections::HashMap;
use std::rc::Rc;

use redis::{Pipeline, Value, cmd};

use super::entities::{call, just};
use super::faults::unreadable;
use super::keys::encode_incarnation;
use super::lane::Connections;
use crate::store::{Beat, Incarnation, Joined, Member, OVERDUE_MS, Roster, Slice, Status, StoreError};

/// Rows of silos that are gone are kept so long, in ms, however many there are.
const ROW_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// So many of them are kept, however old they are.
const ROWS_KEPT: usize = 1_000;

/// The table of members, on the thread of its connection.
pub(super) struct Table {
    pub(super) routes: Rc<Connections>,
}

/// A row, and what only the store knows of it.
struct Row {
    member: Member,
    /// The version of the table that it joined with: no two joined with the same.
    place: u64,
    /// Of its status, in ms.
    since: u64,
}

impl Table {
    async fn ask(&self, commands: &Pipeline) -> Result<Value, StoreError> {
        self.routes.run(0, commands).await
    }

    fn members(&self) -> String {
        self.routes.setup.keys.members()
    }

    fn renewals(&self) -> String {
        self.routes.setup.keys.renewals()
    }

    pub(super) async fn join(&self, member: Member, partitions: u16) -> Result<Joined, StoreError> {
        let scripts = &self.routes.setup.scripts;
        let me = encode_incarnation(member.incarnation);
        let row = rmp_serde::to_vec_named(&member).map_err(|_| unreadable(&"a member"))?;
        let mut commands = Pipeline::new();
        // First: a row without a renewal would be overdue never, a renewal without a row harms nobody.
        commands.add_command(call(&scripts.renew, 1).arg(self.renewals()).arg(me).take());
        commands.add_command(call(&scripts.join, 1).arg(self.members()).arg(me).arg(row).arg(partitions).take());
        let answer: Vec<String> = read(self.ask(&commands).await?)?;
        let number = |at: usize| answer.get(at).and_then(|number| number.parse::<u64>().ok()).ok_or_else(bad);
        match answer.first().map(String::as_str) {
            Some("PARTITIONS") => Ok(Joined::Partitions(u16::try_from(number(1)?).map_err(|_| bad())?)),
            Some("OK") => {
                let (version, now) = (number(1)?, number(2)?);
                self.prune(now).await?;
                Ok(Joined::Done { version, now })
            }
            _ => Err(bad()),
        }
    }

    pub(super) async fn beat(&self, me: Incarnation) -> Result<Beat, StoreError> {
        let mut command = call(&self.routes.setup.scripts.beat, 2);
        command.arg(self.members()).arg(self.renewals()).arg(encode_incarnation(me)).arg(OVERDUE_MS);
        let Value::Array(mut answer) = self.ask(&just(command)).await? else { return Err(bad()) };
        if answer.len() < 4 {
            return Ok(Beat::Dead);
        }
        let late: Vec<(String, u64)> = read(answer.pop().unwrap_or_default())?;
        let now = read(answer.pop().unwrap_or_default())?;
        let version = read(answer.pop().unwrap_or_default())?;
        let late = late.into_iter().filter_map(|(who, ms)| Some((Incarnation::try_parse(&who).ok()?, ms)));
        Ok(Beat::Alive { version, now, overdue: late.collect() })
    }

    pub(super) async fn roster(&self) -> Result<Roster, StoreError> {
        let (version, mut rows, slices) = self.read().await?;
        rows.sort_by_key(|row| row.place);
        Ok(Roster { version, members: rows.into_iter().map(|row| row.member).collect(), slices })
    }

    async fn read(&self) -> Result<(u64, Vec<Row>, Vec<Slice>), StoreError> {
        let mut command = cmd("HGETALL");
        command.arg(self.members());
        let fields: HashMap<String, Vec<u8>> = read(self.ask(&just(command)).await?)?;
        let text = |name: &str| fields.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let number = |text: &str| text.parse::<u64>().ok();
        let mut rows = Vec::new();
        for (name, value) in &fields {
            let Some(who) = name.strip_prefix("r:") else { continue };
            let of = |what: &str| text(&format!("{what}:{who}"));
            let mut member: Member = rmp_serde::from_slice(value).map_err(|_| bad())?;
            let (place, joined) = of("j").and_then(|joined| joined.split_once(':')).ok_or_else(bad)?;
            member.status = of("s").and_then(read_status).ok_or_else(bad)?;
            member.joined = number(joined).ok_or_else(bad)?;
            let since = of("t").and_then(number).ok_or_else(bad)?;
            rows.push(Row { member, place: number(place).ok_or_else(bad)?, since });
        }
        let slices = match fields.get("slices") {
            Some(slices) => rmp_serde::from_slice(slices).map_err(|_| bad())?,
            None => Vec::new(),
        };
        Ok((text("version").and_then(number).unwrap_or(0), rows, slices))
    }

    pub(super) async fn advance(&self, me: Incarnation, to: Status) -> Result<bool, StoreError> {
        let mut command = call(&self.routes.setup.scripts.advance, 1);
        command.arg(self.members()).arg(encode_incarnation(me)).arg(status_word(to));
        let moved = read(self.ask(&just(command)).await?)?;
        if moved && !to.lives() {
            self.forget_renewals(&[me]).await?;
        }
        Ok(moved)
    }

    pub(super) async fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Result<bool, StoreError> {
        let mut command = call(&self.routes.setup.scripts.declare_dead, 2);
        command.arg(self.members()).arg(self.renewals()).arg(encode_incarnation(who)).arg(missed_ms);
        let dead = read(self.ask(&just(command)).await?)?;
        if dead {
            self.forget_renewals(&[who]).await?;
        }
        Ok(dead)
    }

    pub(super) async fn place(&self, version: u64, slices: Vec<Slice>) -> Result<bool, StoreError> {
        let slices = rmp_serde::to_vec(&slices).map_err(|_| bad())?;
        let mut command = call(&self.routes.setup.scripts.place, 1);
        read(self.ask(&just(command.arg(self.members()).arg(version).arg(slices).take())).await?)
    }

    /// Whoever is gone for good is not overdue. If this is lost, a renewal's script passes over them.
    async fn forget_renewals(&self, gone: &[Incarnation]) -> Result<(), StoreError> {
        let mut command = cmd("ZREM");
        command.arg(self.renewals());
        for who in gone {
            command.arg(encode_incarnation(*who));
        }
        self.ask(&just(command)).await.map(drop)
    }

    /// Drops the rows of silos that ended long ago. An entity that still names one may be taken over all the same:
    /// whoever is not in the table is not alive.
    async fn prune(&self, now: u64) -> Result<(), StoreError> {
        let (_, mut rows, _) = self.read().await?;
        rows.retain(|row| !row.member.status.lives());
        rows.sort_by_key(|row| std::cmp::Reverse(row.since));
        let old = rows.iter().skip(ROWS_KEPT).filter(|row| now.saturating_sub(row.since) > ROW_KEPT_MS);
        let gone: Vec<Incarnation> = old.map(|row| row.member.incarnation).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut command = cmd("HDEL");
        command.arg(self.members());
        for who in &gone {
            let who = encode_incarnation(*who);
            command.arg(["r", "s", "j", "t"].map(|what| format!("{what}:{}", who.as_str())).as_slice());
        }
        self.ask(&just(command)).await?;
        self.forget_renewals(&gone).await
    }
}

fn read<T: redis::FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(|_| bad())
}

fn bad() -> StoreError {
    unreadable(&"the table of members")
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Joining => "joining",
        Status::Active => "active",
        Status::Draining => "draining",
        Status::Dead => "dead",
        Status::Left => "left",
    }
}

fn read_status(word: &str) -> Option<Status> {
    [Status::Joining, Status::Active, Status::Draining, Status::Dead, Status::Left]
        .into_iter()
        .find(|status| status_word(*status) == word)
}
