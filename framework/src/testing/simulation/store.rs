//! The store of a simulation, as one process sees it: its calls take time, fail, and lose their answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::faults::{AFTER_STORE, BEFORE_STORE, Injected, LATE, SLOW};
use super::process::Process;
use crate::store::{
    Beat, Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Joined, Member, Members, Partitions,
    Pending, Roster, Slice, StateWrite, Stats, Status, Store, StoreError, Trim,
};
use crate::wire::{EntityId, Partition};

/// A process's way to the store.
#[derive(Clone)]
pub(super) struct Way {
    process: Arc<Process>,
    inner: Arc<dyn Store>,
    members: Arc<dyn Members>,
}

impl Way {
    /// `None`: the store knows no silos.
    pub(super) fn new(process: Arc<Process>, inner: Arc<dyn Store>) -> Option<Self> {
        let members = inner.members()?;
        Some(Self { process, inner, members })
    }

    /// A call, made when it has arrived there.
    fn call<T: Send + 'static>(
        &self,
        what: String,
        make: impl FnOnce(&Self) -> Pending<T> + Send + 'static,
        tell: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Pending<T> {
        let way = self.clone();
        Box::pin(async move {
            let stage = way.process.stage.clone();
            way.lives().await;
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
                        drop(make(&way).await);
                    }));
                    return failed();
                }
                Some(Injected::StoreSlow) => tokio::time::sleep(SLOW).await,
                Some(fault) if way.process.suffers(fault) => std::future::pending().await,
                _ => {}
            }
            tokio::time::sleep(Duration::from_micros(stage.between(200, 2_000))).await;
            way.lives().await;
            let answer = make(&way).await?;
            let told = format!("{what}: {}", tell(&answer));
            let fault = stage.point(&way.process.name, &told, AFTER_STORE);
            tokio::time::sleep(Duration::from_micros(stage.between(200, 2_000))).await;
            match fault {
                Some(Injected::StoreFailsAfter) => failed(),
                Some(fault) if way.process.suffers(fault) => std::future::pending().await,
                _ => Ok(answer),
            }
        })
    }

    /// The dead write nothing.
    async fn lives(&self) {
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
        self.call(format!("claims {}", claim.id), |way| way.inner.claim(claim), tell)
    }
    fn commit(&self, commit: Commit) -> Pending<Committed> {
        let what = format!("commits version {} of {}{}", commit.version + 1, commit.id, contents(&commit));
        self.call(what, |way| way.inner.commit(commit), short)
    }
    fn trim(&self, trim: Trim) -> Pending<bool> {
        self.call(format!("trims {} of {}", trim.removes.len(), trim.id), |way| way.inner.trim(trim), short)
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        self.call(format!("releases {id}"), move |way| way.inner.release(id, fence), short)
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.call(format!("asks for a field of {id}"), move |way| way.inner.has(id, field), short)
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        self.call(format!("verifies its claim of {id}"), move |way| way.inner.verify(id, fence), short)
    }
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        let tell = |due: &Vec<Due>| {
            let names: Vec<String> = due.iter().map(|due| due.id.to_string()).collect();
            names.join(", ")
        };
        self.call("reads the agenda".into(), move |way| way.inner.due(of, until, limit), tell)
    }
    fn letters(&self, limit: usize) -> Pending<Vec<(EntityId, u64, Bytes)>> {
        self.inner.letters(limit)
    }
    fn stats(&self) -> Stats {
        self.inner.stats()
    }
    fn generation(&self, id: &EntityId) -> u64 {
        self.inner.generation(id)
    }
    fn lives(&self) -> u64 {
        self.inner.lives()
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
        self.call("joins".into(), move |way| way.members.join(member, partitions), |_| "done".into())
    }
    fn beat(&self, me: Incarnation) -> Pending<Beat> {
        let tell = |beat: &Beat| match beat {
            Beat::Alive { overdue, .. } => format!("alive, {} overdue", overdue.len()),
            Beat::Dead => "dead".into(),
        };
        self.call("renews its lease".into(), move |way| way.members.beat(me), tell)
    }
    fn roster(&self) -> Pending<Roster> {
        let tell = |roster: &Roster| format!("version {}", roster.version);
        self.call("reads the table".into(), |way| way.members.roster(), tell)
    }
    fn advance(&self, me: Incarnation, to: Status) -> Pending<bool> {
        self.call(format!("says that it is {to:?}"), move |way| way.members.advance(me, to), short)
    }
    fn declare_dead(&self, who: Incarnation, missed_ms: u64) -> Pending<bool> {
        let what = format!("declares {} dead", self.process.stage.name_of(who));
        self.call(what, move |way| way.members.declare_dead(who, missed_ms), short)
    }
    fn place(&self, version: u64, slices: Vec<Slice>) -> Pending<bool> {
        self.call("places the partitions".into(), move |way| way.members.place(version, slices), short)
    }
    fn partitions(&self) -> Partition {
        self.members.partitions()
    }
}
