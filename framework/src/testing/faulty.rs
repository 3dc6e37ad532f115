use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::store::{
    Claim, Claimed, Commit, Committed, Due, Fence, Field, Incarnation, Members, Partitions, Pending, Refusal, Stats,
    Store, StoreError, Trim,
};
use crate::wire::EntityId;

/// A store that does what a test told it: holds commits back, fails, loses answers, refuses.
///
/// Without a script it is the store that it wraps, down to answering at once if that one does.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
    /// What waits for the script to go on looks at this.
    seen: watch::Sender<Seen>,
}

/// What goes wrong with one commit, or one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: this one is as it should be.
    None,
    /// It fails, and nothing was written.
    FailBefore,
    /// It is written, and its answer is lost.
    FailAfter,
    /// It is refused, and nothing was written. (A claim: it is taken by somebody.)
    Refuse(Refusal),
}

#[derive(Default)]
struct Script {
    commits: VecDeque<Fault>,
    claims: VecDeque<Fault>,
    trims_lost: usize,
    lose_releases: bool,
    outage: bool,
    keep_open: bool,
    later: bool,
    dead: HashSet<Incarnation>,
}

/// What came to the store so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Claims handed over.
    pub claims: usize,
    /// The commits handed over, in their order: whose, and the commit id. A repeat is listed again.
    pub commits: Vec<(EntityId, u128)>,
    /// Commits from this number on are held back, the first being 0.
    pub held_from: Option<usize>,
    /// The trims handed over, in their order: whose.
    pub trims: Vec<EntityId>,
    /// How many fields the largest of them removes.
    pub trims_max: usize,
    /// Whose trims are held back.
    pub trims_held: HashSet<EntityId>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", *self.seen.borrow())
    }
}

impl FaultyStore {
    /// Around a store.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (seen, _) = watch::channel(Seen::default());
        Arc::new(Self { inner, script: Mutex::default(), seen })
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits wait, unwritten, until [`let_go`](Self::let_go): all that come from now on.
    pub fn hold(&self) {
        self.hold_after(0);
    }

    /// The same, from the commit that has so many more before it.
    pub fn hold_after(&self, more: usize) {
        self.seen.send_modify(|seen| seen.held_from = Some(seen.commits.len() + more));
    }

    /// Commits that were held are written, and those that come are not held.
    pub fn let_go(&self) {
        self.seen.send_modify(|seen| seen.held_from = None);
    }

    /// What happens to the next commits, one each, after those scripted before.
    pub fn commits(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().commits.extend(faults);
    }

    /// What happens to the next claims, one each.
    pub fn claims(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().claims.extend(faults);
    }

    /// The next so many trims fail, and nothing is removed.
    pub fn lose_trims(&self, count: usize) {
        self.script().trims_lost = count;
    }

    /// Trims of this entity wait, unapplied, until [`let_trims_go`](Self::let_trims_go).
    pub fn hold_trims(&self, id: EntityId) {
        self.seen.send_if_modified(|seen| seen.trims_held.insert(id));
    }

    /// This entity's trims are applied: those that were held, and those that come.
    pub fn let_trims_go(&self, id: &EntityId) {
        self.seen.send_if_modified(|seen| seen.trims_held.remove(id));
    }

    /// Releases fail, and nothing is given back, for as long as this is `true`.
    pub fn lose_releases(&self, lose: bool) {
        self.script().lose_releases = lose;
    }

    /// Claims, commits and trims fail before they are written for as long as this is `true`.
    pub fn outage(&self, outage: bool) {
        self.script().outage = outage;
    }

    /// `close` closes nothing: a silo that is shut down leaves the store to the next one.
    pub fn keep_open(&self) {
        self.script().keep_open = true;
    }

    /// Every answer comes at the second look, never at the first: what a store on disk does, unless it is quick.
    pub fn answer_later(&self) {
        self.script().later = true;
    }

    /// Nothing that this incarnation does is written from now on: its process is dead.
    pub fn kill(&self, owner: Incarnation) {
        self.script().dead.insert(owner);
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what came so far is like this.
    pub async fn until(&self, enough: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        // The sender is in `self`: it can't be gone.
        seen.wait_for(enough).await.map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits until so many commits were handed over.
    pub async fn until_commits(&self, count: usize) -> Seen {
        self.until(|seen| seen.commits.len() >= count).await
    }

    fn fails(&self, owner: Incarnation) -> bool {
        let script = self.script();
        script.outage || script.dead.contains(&owner)
    }
}

impl FaultyStore {
    fn claimed(&self, claim: Claim) -> Pending<Claimed> {
        self.seen.send_modify(|seen| seen.claims += 1);
        // Under the script: a claim is made before its silo is killed, or it fails; never after its claims were freed.
        let mut script = self.script();
        if script.outage || script.dead.contains(&claim.owner) {
            return failed();
        }
        match script.claims.pop_front().unwrap_or(Fault::None) {
            Fault::None => self.inner.claim(claim),
            Fault::FailBefore => failed(),
            Fault::FailAfter => {
                let answer = self.inner.claim(claim);
                Box::pin(async {
                    answer.await?;
                    failed().await
                })
            }
            Fault::Refuse(_) => Box::pin(std::future::ready(Ok(Claimed::Taken { owner: Incarnation::nil() }))),
        }
    }

    fn committed(&self, commit: Commit) -> Pending<Committed> {
        let fault = self.script().commits.pop_front().unwrap_or(Fault::None);
        let mut number = 0;
        self.seen.send_modify(|seen| {
            number = seen.commits.len();
            seen.commits.push((commit.id.clone(), commit.commit));
        });
        if self.fails(commit.fence.owner) {
            return failed();
        }
        let inner = self.inner.clone();
        let write = move || -> Pending<Committed> {
            match fault {
                Fault::None => inner.commit(commit),
                Fault::FailBefore => failed(),
                Fault::FailAfter => {
                    let answer = inner.commit(commit);
                    Box::pin(async {
                        answer.await?;
                        failed().await
                    })
                }
                Fault::Refuse(refusal) => Box::pin(std::future::ready(Ok(Committed::Refused(refusal)))),
            }
        };
        let goes = move |seen: &Seen| seen.held_from.is_none_or(|from| number < from);
        if goes(&self.seen.borrow()) {
            return write();
        }
        let mut seen = self.seen.subscribe();
        Box::pin(async move {
            if seen.wait_for(goes).await.is_err() {
                return failed().await;
            }
            write().await
        })
    }

    fn answer<T: Send + 'static>(&self, answer: Pending<T>) -> Pending<T> {
        if !self.script().later {
            return answer;
        }
        Box::pin(async {
            tokio::task::yield_now().await;
            answer.await
        })
    }
}

fn failed<T: Send + 'static>() -> Pending<T> {
    Box::pin(std::future::ready(Err(StoreError::Failed { reason: "the test said so".into() })))
}

impl Store for FaultyStore {
    fn claim(&self, claim: Claim) -> Pending<Claimed> {
        self.answer(self.claimed(claim))
    }

    fn commit(&self, commit: Commit) -> Pending<Committed> {
        self.answer(self.committed(commit))
    }

    fn trim(&self, trim: Trim) -> Pending<bool> {
        let lost = {
            let mut script = self.script();
            let lost = script.trims_lost > 0;
            script.trims_lost = script.trims_lost.saturating_sub(1);
            lost
        };
        self.seen.send_modify(|seen| {
            seen.trims.push(trim.id.clone());
            seen.trims_max = seen.trims_max.max(trim.removes.len());
        });
        if lost || self.fails(trim.fence.owner) {
            return failed();
        }
        let id = trim.id.clone();
        let goes = move |seen: &Seen| !seen.trims_held.contains(&id);
        if goes(&self.seen.borrow()) {
            return self.inner.trim(trim);
        }
        let (inner, mut seen) = (self.inner.clone(), self.seen.subscribe());
        Box::pin(async move {
            if seen.wait_for(goes).await.is_err() {
                return failed().await;
            }
            inner.trim(trim).await
        })
    }
    fn release(&self, id: EntityId, fence: Fence) -> Pending<()> {
        if self.script().lose_releases || self.fails(fence.owner) { failed() } else { self.inner.release(id, fence) }
    }
    fn has(&self, id: EntityId, field: Field) -> Pending<bool> {
        self.inner.has(id, field)
    }
    fn verify(&self, id: EntityId, fence: Fence) -> Pending<bool> {
        if self.fails(fence.owner) { failed() } else { self.inner.verify(id, fence) }
    }
    fn due(&self, of: Partitions, until: u64, limit: usize) -> Pending<Vec<Due>> {
        self.inner.due(of, until, limit)
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
        self.inner.members()
    }
    fn open_here(&self) -> Pending<()> {
        self.inner.open_here()
    }
    fn close(&self) -> Pending<()> {
        if self.script().keep_open { Box::pin(std::future::ready(Ok(()))) } else { self.inner.close() }
    }
}
