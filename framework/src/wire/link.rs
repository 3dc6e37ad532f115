use std::fmt;
use std::task::Waker;

use bytes::Bytes;

use super::frame::{self, Header, Oversized};
use super::limits::WireLimits;
use super::peer::Peer;
use super::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use super::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A buffer that grew larger than this is given back when it is empty.
const BUFFER_KEPT_BYTES: usize = 256 << 10;

/// So much is written before more of the peer's frames are handed on.
const HEAVY_BYTES: usize = 256 << 10;

/// It outlives every run of an interleaving.
static LINKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// The sending end of one connection. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    id: u64,
    peer: Peer,
    frame_bytes_max: usize,
    queued_bytes_max: usize,
    closed: AtomicBool,
    polls: AtomicU64,
    outgoing: Mutex<Outgoing>,
}

/// What senders and the connection's task share, under a lock that is held only to append to it or to take it.
#[derive(Default)]
struct Outgoing {
    /// Whole frames that nobody has begun to write.
    ready: Vec<u8>,
    frames: u64,
    /// How many the connection has taken.
    taken: u64,
    /// How much the connection has taken and not written yet.
    writing_bytes: usize,
    waker: Option<Waker>,
    /// The connection sleeps and would write if there were something: the first sender wakes it, those after it need not.
    wants_output: bool,
    /// Reading may go on: said since the connection last looked.
    resumed: bool,
    /// Why it is to end.
    closing: Option<String>,
}

/// Why a frame was not queued. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// The connection is over.
    #[error("the connection is closed")]
    Closed,
    /// The peer does not read as fast as we send: wait, or send less.
    #[error("the connection's queue is full: the peer reads too slowly")]
    Full,
    /// No frame of this size is taken, now or later.
    #[error("a frame of {size} bytes, over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
}

/// What the peer sent can't be: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

/// Takes what comes in on one connection.
pub(crate) trait Inbound: Send + 'static {
    /// Each message of the peer, in order, on the connection's task. The body shares the read buffer: what is kept for long
    /// should be copied.
    fn frame(&mut self, link: &Link, header: Header, body: Bytes) -> Result<(), Violation>;

    /// Whether reading goes on. After `false` the connection stops reading, and in time the peer stops sending, until
    /// [`Link::resume_reading`].
    fn may_read(&self, link: &Link) -> bool;

    /// No more comes. Called once, whatever the reason.
    fn closed(&mut self, link: &Link, reason: &str);
}

impl Link {
    pub(super) fn new(peer: Peer, limits: &WireLimits) -> Self {
        Self(Arc::new(Shared {
            id: LINKS.fetch_add(1, Ordering::Relaxed),
            frame_bytes_max: limits.frame_bytes_max.min(peer.frame_bytes_max),
            queued_bytes_max: limits.queued_bytes_max,
            peer,
            closed: AtomicBool::new(false),
            polls: AtomicU64::new(0),
            outgoing: Mutex::default(),
        }))
    }

    /// Queues a frame; says which it is, counted from one. `write_body` appends the body to the shared buffer, under its lock: it must not send.
    ///
    /// # Errors
    ///
    /// Nothing was queued. After `Ok` the frame leaves unless the connection ends first: only an answer says that it arrived.
    pub(crate) fn send(&self, header: Header, write_body: impl FnOnce(&mut Vec<u8>)) -> Result<u64, SendError> {
        let mut outgoing = self.outgoing();
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        if outgoing.ready.len() + outgoing.writing_bytes >= self.0.queued_bytes_max {
            return Err(SendError::Full);
        }
        frame::append(&mut outgoing.ready, header, self.0.frame_bytes_max, write_body)
            .map_err(|Oversized { size, limit }| SendError::TooLarge { size, limit })?;
        outgoing.frames += 1;
        let number = outgoing.taken + outgoing.frames;
        let waker = if std::mem::take(&mut outgoing.wants_output) { outgoing.waker.take() } else { None };
        drop(outgoing);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(number)
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Whether it is over: nothing more can be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Bytes that were queued and that the operating system has not taken yet.
    #[cfg(test)]
    pub(crate) fn queued_bytes(&self) -> usize {
        let outgoing = self.outgoing();
        outgoing.ready.len() + outgoing.writing_bytes
    }

    /// Ends the connection, once what is queued is written. The peer is told the reason.
    pub(crate) fn close(&self, reason: &str) {
        let waker = {
            let mut outgoing = self.outgoing();
            if self.is_closed() {
                return;
            }
            self.0.closed.store(true, Ordering::Release);
            outgoing.closing = Some(reason.to_owned());
            outgoing.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Reading may go on: [`Inbound::may_read`] is asked again.
    pub(crate) fn resume_reading(&self) {
        let waker = {
            let mut outgoing = self.outgoing();
            outgoing.resumed = true;
            outgoing.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why it is to end, if it is.
    pub(super) fn closing(&self) -> Option<String> {
        if self.is_closed() { self.outgoing().closing.clone() } else { None }
    }

    /// How often the connection's task was polled: it does so at least as often as it pings.
    pub(crate) fn polls(&self) -> u64 {
        self.0.polls.load(Ordering::Relaxed)
    }

    /// The connection is awake: senders need not wake it until it sleeps again.
    pub(super) fn unpark(&self) {
        self.0.polls.fetch_add(1, Ordering::Relaxed);
        self.outgoing().wants_output = false;
    }

    /// Takes all that is ready, in exchange for an empty buffer; says how many frames it is.
    pub(super) fn take_ready(&self, writing: &mut Vec<u8>) -> u64 {
        writing.clear();
        if writing.capacity() > BUFFER_KEPT_BYTES {
            *writing = Vec::new();
        }
        let mut outgoing = self.outgoing();
        std::mem::swap(&mut outgoing.ready, writing);
        outgoing.writing_bytes = writing.len();
        let frames = std::mem::take(&mut outgoing.frames);
        outgoing.taken += frames;
        frames
    }

    /// Ends a connection that nobody polls: what was not taken by then never leaves.
    pub(crate) fn give_up(&self, reason: &str) {
        self.close(reason);
        let mut outgoing = self.outgoing();
        outgoing.ready = Vec::new();
        outgoing.frames = 0;
    }

    /// The last frame that may have left. When the connection is over, those after it have not, and never will.
    pub(crate) fn left(&self) -> u64 {
        self.outgoing().taken
    }

    /// There is enough to be written before more is made.
    pub(super) fn is_heavy(&self) -> bool {
        let outgoing = self.outgoing();
        outgoing.ready.len() + outgoing.writing_bytes >= self.0.queued_bytes_max.min(HEAVY_BYTES)
    }

    /// The peer takes so little that half of what may wait does.
    pub(super) fn is_clogged(&self) -> bool {
        let outgoing = self.outgoing();
        outgoing.ready.len() + outgoing.writing_bytes >= self.0.queued_bytes_max / 2
    }

    /// Goes to sleep, unless something happened since the connection last looked.
    pub(super) fn park(&self, waker: &Waker, wants_output: bool) -> bool {
        let mut outgoing = self.outgoing();
        let happened = std::mem::take(&mut outgoing.resumed)
            || outgoing.closing.is_some()
            || (wants_output && !outgoing.ready.is_empty());
        if happened {
            return false;
        }
        match &mut outgoing.waker {
            Some(before) => before.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        outgoing.wants_output = wants_output;
        true
    }

    /// Over: nothing can be sent, and nothing that was queued takes memory.
    /// Says what was queued, for a farewell if there is one.
    pub(super) fn end(&self, has_farewell: bool) -> Vec<u8> {
        let mut outgoing = self.outgoing();
        self.0.closed.store(true, Ordering::Release);
        outgoing.waker = None;
        outgoing.writing_bytes = 0;
        let frames = std::mem::take(&mut outgoing.frames);
        if has_farewell {
            outgoing.taken += frames;
        }
        std::mem::take(&mut outgoing.ready)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        // A body's writer that panicked left the buffer as it was: `frame::append` sees to it.
        self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.0.id)
            .field("peer", &self.0.peer)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
