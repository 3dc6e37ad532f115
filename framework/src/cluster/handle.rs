use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use crate::cluster::{Lease, Probed, Table};
use crate::store::{Incarnation, StoreError};

/// A silo's place in its cluster, as the rest of the silo sees it. When the last one is dropped, the membership ends
/// where it is, as if the process had been killed.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(super) incarnation: watch::Receiver<Incarnation>,
    pub(super) table: watch::Receiver<Arc<Table>>,
    pub(super) lease: Arc<Lease>,
    pub(super) inbox: mpsc::Sender<Notice>,
    pub(super) abandoned: Arc<AtomicBool>,
    /// The store knows that this silo left.
    pub(super) has_left: Arc<AtomicBool>,
}

/// What happened to this silo's place.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is in, under this incarnation, and is given work.
    Active(Incarnation),
    /// This life is over: others may own its entities by now. The lease holds no more.
    Lost {
        /// The life that ended.
        incarnation: Incarnation,
        /// Why.
        loss: Loss,
        /// To be told once nothing of that life is in memory any more: then the silo joins again, as another
        /// incarnation. Dropped instead, the membership ends.
        dropped: oneshot::Sender<()>,
    },
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The store has no living row of it: others declared it dead, or the store lost it.
    Dead,
    /// This silo gave it up itself.
    Renounced,
}

/// What the membership's loop is told.
#[derive(Debug)]
pub(super) enum Notice {
    Suspect(Incarnation),
    Probed(Incarnation, Probed),
    Reread(oneshot::Sender<Result<Arc<Table>, StoreError>>),
    Renounce(Incarnation),
    Drain,
    Leave,
}

impl Handle {
    /// This life. It changes only after [`Event::Lost`].
    pub(crate) fn incarnation(&self) -> Incarnation {
        *self.incarnation.borrow()
    }

    /// The newest table.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.borrow().clone()
    }

    /// To wait for changes of the table.
    pub(crate) fn tables(&self) -> watch::Receiver<Arc<Table>> {
        self.table.clone()
    }

    /// Whether the silo may still answer.
    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// A connection to this silo broke: look whether it lives, now and not at the next renewal. A hint only.
    pub(crate) fn suspect(&self, who: Incarnation) {
        // When there is no room, others have said it already, or the next renewal will.
        let _ = self.inbox.try_send(Notice::Suspect(who));
    }

    /// A table whose reading begins after this call: a silo that is named as an owner and is not in it, or dead in it,
    /// is truly so. Many who ask at the same time share one reading.
    ///
    /// # Errors
    /// When the store does not answer: nothing is known about the silo then.
    pub(crate) async fn reread(&self) -> Result<Arc<Table>, StoreError> {
        let (answer, read) = oneshot::channel();
        self.inbox.send(Notice::Reread(answer)).await.map_err(|_| StoreError::Closed)?;
        read.await.map_err(|_| StoreError::Closed)?
    }

    /// Gives this life up, because what is in memory can't be trusted: the store began a new generation. `Event::Lost`
    /// follows, unless that life is over already.
    pub(crate) async fn renounce(&self, incarnation: Incarnation) {
        let _ = self.inbox.send(Notice::Renounce(incarnation)).await;
    }

    /// Nothing of the silo runs any more, though handles may be held: ends the membership as dropping the last one does.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.lease.revoke();
    }

    /// Says to all others that this silo takes nothing new. It goes on renewing its lease.
    pub(crate) async fn drain(&self) {
        let _ = self.inbox.send(Notice::Drain).await;
    }

    /// Says that everything was given back, and ends the membership; returns when that is done, or was tried for
    /// `LEAVE_MS_MAX`. `false`: it was tried in vain, and others find out by themselves.
    pub(crate) async fn leave(&self) -> bool {
        let _ = self.inbox.send(Notice::Leave).await;
        self.inbox.closed().await;
        self.has_left.load(Ordering::Acquire)
    }
}
