//! The store of a simulation, as one process sees it: its calls take time, fail, and lose their answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::faults::{AFTER_STORE, BEFORE_STORE, FORGETS, Injected, LATE, SLOW};
use super::process::Process;
use super::stage::{EPOCH_MS, Stage};
use super::writers::Write;
use crate::store::{
    Beat, Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Joined, Member, Members, MemoryStore,
    Partitions, Pending, Roster, Slice, StateWrite, Stats, Status, Store, StoreError, Trim,
};
use crate::wire::{EntityId, Partition};

/// A shard fails over to a replica that missed its last writes: writers are judged by what is left. Says how many are gone.
pub(super) fn fail_over(store: &MemoryStore, stage: &Stage, shard: usize, lost: Duration) -> usize {
    let gone = store.fail_over(shard, lost, stage.draw() >> 12);
    stage.writers().forget(|id| store.shard_of(id) == shard);
    stage.note("store", format!("shard {shard} fails over, and {gone} writes are gone"));
    gone
}

/// The shard that has the table of silos.
const TABLE: usize = 0;

/// A process's way to the store.
#[derive(Clone)]
pub(super) struct Way {
    process: Arc<Process>,
    inner: Arc<MemoryStore>,
    members: Arc<dyn Members>,
    seen: Arc<Seen>,
}

/// Which lives of the store's data a process knows of: it learns of another when it calls.
struct Seen {
    lives: Mutex<Vec<u64>>,
    ended: AtomicU64,
}

impl Way {
    /// `None`: the store knows no silos.
    pub(super) fn new(process: Arc<Process>, inner: Arc<MemoryStore>) -> Option<Self> {
        let members = inner.members()?;
        let lives = (0..inner.shards()).map(|shard| inner.life(shard)).collect();
        let seen = Arc::new(Seen { lives: Mutex::new(lives), ended: AtomicU64::new(0) });
        Some(Self { process, inner, members, seen })
    }

    /// What the first word on a connection says: in which life this shard's data is.
    fn greet(&self, shard: usize) {
        let life = self.inner.life(shard);
        let mut lives = self.seen.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = lives.get_mut(shard) else { return };
        if std::mem::replace(seen, life) != life {
            self.seen.ended.fetch_add(1, Ordering::AcqRel);
            drop(lives);
            self.process
                .stage
                .note(&self.process.name, format!("sees that shard {shard} of the store began a new life"));
        }
    }

    /// A call, made when it has arrived there.
    fn call<T: Send + 'static>(
        &self,
        shard: usize,
        what: String,
        make: impl FnOnce(&Self) -> Pending<T> + Send + 'static,
        tell: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Pending<T> {
        let way = self.clone();
        Box::pin(async move {
            let stage = way.process.stage.clone();
            way.stays_if_dead().await;
            if !way.process.reaches_store() {
                tokio::time::sleep(SLOW).await;
                return failed();
            }
            match stage.point(&way.process.name, &what, BEFORE_STORE) {
                Some(Injected::StoreFailsBefore) => return failed(),
                Some(Injected::StoreLate) => {
                    // On its way, whatever becomes of the process.
                    drop(tokio::spawn(async move {
                        tokio::time::sleep(LATE).await;
                        way.greet(shard);
                        drop(make(&way).await);
                    }));
                    return failed();
                }
                Some(Injected::StoreSlow) => tokio::time::sleep(SLOW).await,
                Some(fault) if way.process.suffers(fault) => std::future::pending().await,
                _ => {}
            }
            tokio::time::sleep(Duration::from_micros(stage.between(200, 2_000))).await;
            way.stays_if_dead().await;
            way.greet(shard);
            let answer = make(&way).await?;
            let told = format!("{what}: {}", tell(&answer));
            let fault = stage.point(&way.process.name, &told, AFTER_STORE);
            tokio::time::sleep(Duration::from_micros(stage.between(200, 2_000))).await;
            match fault {
                Some(Injected::StoreFailsAfter) => failed(),
                Some(Injected::StoreForgets) => {
                    fail_over(&way.inner, &stage, shard, FORGETS);
                    Ok(answer)
                }
                Some(fault) if way.process.suffers(fault) => std::future::pending().await,
                _ => Ok(answer),
            }
        })
    }

    fn claim_seen(&self, mut claim: Claim) -> Pending<Claimed> {
        // A store that several processes share goes by its own clock.
        claim.now = EPOCH_MS + self.process.stage.now_ms();
        let (id, stage) = (claim.id.clone(), self.process.stage.clone());
        let claiming = self.inner.claim(claim);
        Box::pin(async move {
            let claimed = claiming.await?;
            stage.writers().claimed(&id, &claimed);
            Ok(claimed)
        })
    }

    fn commit_seen(&self, commit: Commit) -> Pending<Committed> {
        let (write, stage) = (Write::of(&commit), self.process.stage.clone());
        let committing = self.inner.commit(commit);
        Box::pin(async move {
            let committed = committing.await?;
            stage.writers().committed(&write, &committed);
            Ok(committed)
        })
    }

    /// The dead write nothing.
    async fn stays_if_dead(&self) {
        if self.process.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a commit writes, for people.
fn contents(commit: &Commit) -> String {
    let mut parts = Vec::new();
    if !matches!(commit.state, StateWrite::Keep) {
        parts.push("state".to_owned());
    }
    let name = |field: &Field| match field {
        Field::Activity(partner) => format!("activity of {partner}"),
        Field::Attempts(partner) => format!("attempts of {partner}"),
        Field::Outbox(number) => format!("message {number}"),
        other => format!("{other:?}").chars().take(40).collect(),
    };
    parts.extend(commit.puts.iter().map(|(field, _)| format!("+{}", name(field))));
    parts.extend(commit.removes.iter().map(|field| format!("-{}", name(field))));
    format!(" ({})", parts.join(", "))
}

fn failed<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed { reason: "the simulation said so".into() })
}

fn short<T: std::fmt::Debug>(answer: &T) -> String {
    format!("{answer:?}")
}

impl Store for Way {
    fn claim(&self, claim: Claim) -> Pending<Claimed> {
        let tell = |claimed: &Claimed| match claimed {
            Claimed::Granted(record) => format!("granted at version {}", record.version),
            Claimed::Taken { .. } => "taken".into(),
        };
        self.call(self.inner.shard_of(&claim.id), format!("claims {}", claim.id), |way| way.claim_seen(claim), tell)
    }
    fn commit(&self, commit: Commit) -> Pending<Committed> {
        let what = format!("commits version {} of {}{}", commit.version + 1, commit.id, contents(&commit));
        self.call(self.inner.shard_of(&commit.id), what, |way| way.commit_seen(commit), short)
    }
    fn trim(&self, trim: Trim) -> Pending<bool> {
        self.call(
            self.inner.shard_of(&trim.id),
            format!("trims {} of {}", trim.removes.len(), trim.id),
            |way| way.inner.trim(trim),
            short,
        )
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        self.call(self.inner.shard_of(&id), format!("releases {id}"), move |way| way.inner.release(id, fence), short)
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.call(
            self.inner.shard_of(&id),
            format!("asks for a field of {id}"),
            move |way| way.inner.has(id, field),
            short,
        )
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        self.call(
            self.inner.shard_of(&id),
            format!("verifies its claim of {id}"),
            move |way| way.inner.verify(id, fence),
            short,
        )
    }
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        let tell = |due: &Vec<Due>| {
            let names: Vec<String> = due.iter().map(|due| due.id.to_string()).collect();
            names.join(", ")
        };
        (0..self.inner.shards()).for_each(|shard| self.greet(shard));
        self.call(TABLE, "reads the agenda".into(), move |way| way.inner.due(of, until, limit), tell)
    }
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>> {
        self.inner.letters(limit)
    }
    fn stats(&self) -> Stats {
        self.inner.stats()
    }
    fn generation(&self, id: &EntityId) -> u64 {
        let lives = self.seen.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.get(self.inner.shard_of(id)).copied().unwrap_or(0)
    }
    fn lives(&self) -> u64 {
        self.seen.ended.load(Ordering::Acquire)
    }
    fn members(&self) -> Option<Arc<dyn Members>> {
        Some(Arc::new(self.clone()))
    }
    fn close(&self) -> Pending<()> {
        // Silos end, and the store stays.
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Members for Way {
    fn join(&self, member: Member, partitions: u16) -> Pending<Joined> {
        self.call(TABLE, "joins".into(), move |way| way.members.join(member, partitions), |_| "done".into())
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        let tell = |beat: &Beat| match beat {
            Beat::Alive { overdue, .. } => format!("alive, {} overdue", overdue.len()),
            Beat::Dead => "dead".into(),
        };
        self.call(TABLE, "renews its lease".into(), move |way| way.members.beat(me), tell)
    }
    fn roster(&self) -> Pending<Roster> {
        let tell = |roster: &Roster| format!("version {}", roster.version);
        self.call(TABLE, "reads the table".into(), |way| way.members.roster(), tell)
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.call(TABLE, format!("says that it is {to:?}"), move |way| way.members.advance(me, to), short)
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        let what = format!("declares {} dead", self.process.stage.name_of(who));
        self.call(TABLE, what, move |way| way.members.declare_dead(who, missed_ms), short)
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.call(TABLE, "places the partitions".into(), move |way| way.members.place(version, slices), short)
    }
    fn partitions(&self) -> Partition {
        self.members.partitions()
    }
}
