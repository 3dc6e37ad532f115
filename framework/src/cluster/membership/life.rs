//! How a life in the cluster begins, and how one that was lost is followed by another.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::membership::{Course, End, LOOK, Membership, limited, probed};
use crate::cluster::{ClusterError, Event, Loss, Probed, Suspicions};
use crate::store::{Joined, Member, Status};

impl Membership {
    /// Joins, tries until it is in; `Some`: it ended before it was.
    pub(super) async fn join(&mut self, limit: Option<Duration>) -> Result<Option<End>, ClusterError> {
        let started = Instant::now();
        let mut is_in_table = false;
        loop {
            match self.try_join(&mut is_in_table).await {
                Ok(true) => break,
                Ok(false) => return Ok(Some(End::Lost(Loss::Dead))),
                Err(error) if error.is_final() || limit.is_some_and(|limit| started.elapsed() >= limit) => {
                    return Err(error);
                }
                Err(error) => self.trouble(&error),
            }
            if !self.pause_until(Instant::now() + LOOK).await {
                return Ok(Some(End::Abandoned));
            } else if self.course != Course::Stay {
                return Err(ClusterError::Stopped);
            }
        }
        self.suspicions = Suspicions::new(self.me(), self.now());
        self.recovered();
        let told = self.events.send(Event::Active(self.me())).await;
        Ok(told.is_err().then_some(End::Abandoned))
    }

    /// One try. `false`: this life is over.
    async fn try_join(&mut self, is_in_table: &mut bool) -> Result<bool, ClusterError> {
        let me = self.me();
        if !*is_in_table {
            let (partitions, member) = (self.settings.partitions, self.member());
            match limited(self.members.join(member, partitions)).await? {
                Joined::Done { .. } => *is_in_table = true,
                Joined::Partitions(fixed) => return Err(ClusterError::Partitions { fixed, wanted: partitions }),
            }
        }
        if self.renew().await?.is_none() {
            return Ok(false);
        }
        let address = self.settings.address.clone();
        match probed(&*self.probe, &address).await {
            Probed::Answers(who) if who == me => {}
            Probed::Answers(by) if self.former != Some(by) => return Err(ClusterError::AddressTaken { address, by }),
            probed => return Err(ClusterError::Unreachable { address, probed, limit: self.settings.join }),
        }
        // `false` may be a lost answer's doing: if it means death, the next renewal says so.
        limited(self.members.advance(me, Status::Active)).await?;
        self.read().await?;
        self.place(true).await?;
        Ok(true)
    }

    fn member(&self) -> Member {
        let mut kinds = self.settings.kinds.clone();
        kinds.sort();
        kinds.dedup();
        Member {
            incarnation: self.me(),
            address: self.settings.address.clone(),
            weight: self.settings.weight,
            kinds,
            protocol: self.settings.protocol,
            build: self.settings.build.clone(),
            status: Status::Joining,
            joined: 0,
        }
    }

    /// This life is over: everything of it has to be gone before the next one begins. `false`: there will be none.
    pub(super) async fn begin_anew(&mut self, loss: Loss) -> bool {
        let old = self.me();
        let (dropped, consent) = oneshot::channel();
        if self.events.send(Event::Lost { incarnation: old, loss, dropped }).await.is_err() {
            return false;
        }
        if !self.until_dropped(consent).await {
            return false;
        }
        if loss == Loss::Renounced {
            // Nothing of it is in memory: others need not wait. If this fails, they find that a younger one is there.
            let _ = limited(self.members.advance(old, Status::Left)).await;
        }
        if self.course != Course::Stay {
            return false;
        }
        self.former = Some(old);
        self.renounced = false;
        self.incarnation.send_replace((self.settings.fresh)());
        true
    }
}
