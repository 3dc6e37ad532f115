//! What the loop is told between two looks.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Table;
use crate::cluster::handle::Notice;
use crate::cluster::membership::{Course, Membership};
use crate::store::StoreError;

impl Membership {
    /// Lets time pass, and takes what comes. Ends early when there is reason to look, or to go. `false`: nobody has a handle
    /// any more, or a use for it.
    pub(super) async fn pause_until(&mut self, until: Instant) -> bool {
        self.take_until(until).await && !self.abandoned.load(Ordering::Acquire)
    }

    async fn take_until(&mut self, until: Instant) -> bool {
        loop {
            let notice = match self.backlog.pop_front() {
                Some(notice) => Some(notice),
                None => match timeout_at(until, self.inbox.recv()).await {
                    Ok(notice) => notice,
                    Err(_) => return true,
                },
            };
            let Some(notice) = notice else { return false };
            if self.take(notice).await {
                return true;
            }
        }
    }

    /// Says whether to look at once.
    async fn take(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::Suspect(who) => {
                let (was, table) = (self.suspicions.any(), self.table());
                self.suspicions.hint(who, &table, self.now());
                !was && self.suspicions.any()
            }
            Notice::Probed(who, probed) => {
                let table = self.table();
                self.suspicions.probed(who, probed, &table);
                false
            }
            Notice::Reread(asker) => {
                self.reread(asker).await;
                false
            }
            Notice::Renounce(life) => {
                self.renounced |= life == self.me();
                self.renounced
            }
            Notice::Drain => {
                let was = self.course;
                self.course = was.max(Course::Drain);
                was != self.course
            }
            Notice::Leave => {
                self.course = Course::Leave;
                true
            }
        }
    }

    /// One reading for all who have asked before it begins.
    async fn reread(&mut self, first: oneshot::Sender<Result<Arc<Table>, StoreError>>) {
        let mut askers = vec![first];
        let waiting = std::mem::take(&mut self.backlog);
        for notice in waiting.into_iter().chain(std::iter::from_fn(|| self.inbox.try_recv().ok())) {
            match notice {
                Notice::Reread(asker) => askers.push(asker),
                other => self.backlog.push_back(other),
            }
        }
        let table = self.read().await;
        for asker in askers {
            let _ = asker.send(table.clone());
        }
    }

    /// Waits for consent, and takes what comes.
    pub(super) async fn until_dropped(&mut self, mut consent: oneshot::Receiver<()>) -> bool {
        loop {
            let notice = {
                let next = pin!(self.inbox.recv());
                match select(&mut consent, next).await {
                    Either::Left((dropped, _)) => return dropped.is_ok(),
                    Either::Right((notice, _)) => notice,
                }
            };
            let Some(notice) = notice else { return false };
            self.take(notice).await;
            if self.course == Course::Leave {
                // Who leaves has given everything back.
                return true;
            }
        }
    }
}
