use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::frame::{self, Decoder, Header, KIND_GOODBYE, KIND_MESSAGES, KIND_PING, KIND_PONG};
use super::limits::WireLimits;
use super::link::{Inbound, Link, Violation};
use super::stats::{Cause, WireStats};

/// More of a peer's words of farewell is not worth reading.
const GOODBYE_BYTES_MAX: usize = 256;

/// So many rounds, and the connection lets others of its thread run, however much there is to read.
const ROUNDS_MAX: u32 = 16;

/// So many frames are handed on, or this share of what has come if that is more, and what they are answered with leaves before
/// the next: so both sides work at the same time.
const FRAMES_MAX: u64 = 32;
const SHARE: usize = 4;

/// The task of one connection: it alone reads and writes the stream.
///
/// Each round reads what is there, hands some of its frames on, and writes all that became ready meanwhile with one write. So what
/// a batch of requests is answered with leaves as one batch.
pub(crate) struct Connection<S> {
    stream: S,
    link: Link,
    /// `None` once it was told that nothing more comes.
    inbound: Option<Box<dyn Inbound>>,
    decoder: Decoder,
    writing: Vec<u8>,
    written: usize,
    /// There may be more complete frames.
    more: bool,
    /// Bytes went into the stream that it may keep back until it is flushed.
    unflushed: bool,
    limits: WireLimits,
    stats: Arc<WireStats>,
    tick: Pin<Box<Sleep>>,
    /// Something came since the last tick.
    heard: bool,
    pings_missed: u32,
    pings: u64,
    /// Since when bytes wait of which the peer has taken none.
    stalled_since: Option<Instant>,
    /// Since when the frame at the head of the buffer is incomplete.
    inside_since: Option<Instant>,
}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// We close it.
    Closed(String),
    /// The peer closed it.
    Left(String),
    /// The peer did what it must not.
    Refused(Cause, String),
}

impl End {
    /// Whether the peer is there to be told.
    fn has_farewell(&self) -> bool {
        !matches!(self, End::Left(_) | End::Refused(Cause::Stalled | Cause::Silent, _))
    }

    fn reason(&self) -> &str {
        match self {
            End::Closed(reason) | End::Left(reason) | End::Refused(_, reason) => reason,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    pub(crate) fn new(
        stream: S,
        link: Link,
        inbound: Box<dyn Inbound>,
        limits: &WireLimits,
        stats: Arc<WireStats>,
    ) -> Self {
        Self {
            stream,
            link,
            inbound: Some(inbound),
            decoder: Decoder::new(limits.frame_bytes_max),
            writing: Vec::new(),
            written: 0,
            unflushed: false,
            more: false,
            tick: Box::pin(sleep(limits.ping_every)),
            limits: limits.clone(),
            stats,
            heard: false,
            pings_missed: 0,
            pings: 0,
            stalled_since: None,
            inside_since: None,
        }
    }

    /// Runs until the connection is over.
    pub(crate) async fn run(mut self) {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        if let End::Refused(cause, why) = &end {
            self.stats.refuse(*cause, self.link.peer(), why);
        }
        tracing::debug!(peer = %self.link.peer(), reason = end.reason(), "connection over");
        let queued = self.link.end(end.has_farewell());
        self.finish(end.reason());
        self.farewell(&end, queued).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.link.unpark();
        for _ in 0..ROUNDS_MAX {
            let mut progress = false;
            if let Err(end) = self.poll_round(cx, &mut progress) {
                return Poll::Ready(end);
            }
            if self.more {
                break;
            }
            if !progress && self.link.park(cx.waker(), self.writing.len() == self.written) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_round(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Result<(), End> {
        if let Some(reason) = self.link.closing() {
            return Err(End::Closed(reason));
        }
        *progress |= self.hand_on()?;
        if !self.more
            && self.may_read()
            && let Poll::Ready(read) = self.poll_read(cx)
        {
            self.heard(read)?;
            *progress = true;
            self.hand_on()?;
        }
        if let Poll::Ready(wrote) = self.poll_write(cx) {
            *progress |= wrote.map_err(|error| End::Left(format!("writing failed: {error}")))?;
        }
        // Last: what came while the thread was kept busy counts before time that passed does.
        if self.tick.as_mut().poll(cx).is_ready() {
            self.on_tick()?;
            self.tick.as_mut().reset(Instant::now() + self.limits.ping_every);
            *progress = true;
        }
        Ok(())
    }

    fn may_read(&self) -> bool {
        // A peer that takes no answers gets no more of them to take.
        !self.link.is_clogged() && self.inbound.as_ref().is_some_and(|inbound| inbound.may_read(&self.link))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let space = self.decoder.space(self.limits.read_chunk_bytes);
        pin!(self.stream.read_buf(space)).poll(cx)
    }

    fn heard(&mut self, read: io::Result<usize>) -> Result<(), End> {
        match read {
            Ok(0) if self.decoder.is_inside_frame() => Err(End::Left("the peer was cut off inside a frame".into())),
            Ok(0) => Err(End::Left("the peer closed the connection".into())),
            Ok(bytes) => {
                self.heard = true;
                self.stats.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(End::Left(format!("reading failed: {error}"))),
        }
    }

    /// Hands on the frames that are complete; says whether there were any.
    fn hand_on(&mut self) -> Result<bool, End> {
        let mut frames = 0;
        let mut end = Ok(());
        let rest = self.decoder.buffered_bytes() - self.decoder.buffered_bytes() / SHARE;
        self.more = false;
        while end.is_ok() && !self.link.is_closed() && self.may_read() {
            let had_share = frames >= FRAMES_MAX && self.decoder.buffered_bytes() <= rest;
            if had_share || (frames > 0 && self.link.is_heavy()) {
                self.more = true;
                break;
            }
            match self.decoder.next() {
                Ok(None) => break,
                Ok(Some((header, body))) => {
                    frames += 1;
                    end = self.on_frame(header, body);
                }
                Err(malformed) => end = Err(End::Refused(Cause::Violation, malformed.to_string())),
            }
        }
        if frames > 0 {
            self.inside_since = None;
            // Also of what was read long ago: nothing is read while it is handed on.
            self.heard = true;
            self.stats.frames_in.fetch_add(frames, Ordering::Relaxed);
        }
        end.map(|()| frames > 0)
    }

    fn on_frame(&mut self, header: Header, body: Bytes) -> Result<(), End> {
        let violation = |Violation(why)| End::Refused(Cause::Violation, why);
        match header.kind {
            KIND_MESSAGES.. => match &mut self.inbound {
                Some(inbound) => inbound.frame(&self.link, header, body).map_err(violation),
                None => Ok(()),
            },
            KIND_PING | KIND_PONG if !body.is_empty() => Err(violation(Violation("a ping with a body".into()))),
            KIND_PING => {
                // When the queue is full, the peer sees by what is in it that we are here.
                let _ = self.link.send(Header { kind: KIND_PONG, ..header }, |_| {});
                Ok(())
            }
            KIND_PONG => Ok(()),
            KIND_GOODBYE => {
                let words = body.get(..body.len().min(GOODBYE_BYTES_MAX)).unwrap_or_default();
                let words = String::from_utf8_lossy(words);
                Err(End::Left(format!("the peer said goodbye: {}", words.escape_debug())))
            }
            kind => Err(violation(Violation(format!("a frame of kind {kind}, which this protocol does not have")))),
        }
    }

    /// Writes what is ready. `Ready(false)`: there is nothing to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.written == self.writing.len() {
            self.written = 0;
            let frames = self.link.take_ready(&mut self.writing);
            self.stats.frames_out.fetch_add(frames, Ordering::Relaxed);
        }
        let polled = self.poll_write_rest(cx);
        match polled {
            Poll::Ready(_) => self.stalled_since = None,
            Poll::Pending => {
                self.stalled_since.get_or_insert_with(Instant::now);
            }
        }
        polled
    }

    fn poll_write_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let rest = self.writing.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            return Poll::Ready(Ok(false));
        }
        let bytes = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += bytes;
        self.unflushed = true;
        self.stats.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        Poll::Ready(Ok(true))
    }

    /// Looks after a peer that is silent, takes nothing, or does not finish a frame.
    fn on_tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if let Some(since) = self.stalled_since
            && now.duration_since(since) >= self.limits.write_stall_max
        {
            return Err(End::Refused(Cause::Stalled, format!("the peer took no bytes for {:?}", now - since)));
        }
        if !self.may_read() {
            // What the peer says is not read, so its silence proves nothing. It is told instead that we are here.
            (self.heard, self.pings_missed, self.inside_since) = (false, 0, None);
            self.ping();
            return Ok(());
        }
        if self.decoder.is_inside_frame() {
            let since = *self.inside_since.get_or_insert(now);
            if now.duration_since(since) >= self.limits.frame_time_max {
                return Err(End::Refused(Cause::Slow, format!("one frame took more than {:?}", now - since)));
            }
        } else {
            self.inside_since = None;
        }
        if std::mem::take(&mut self.heard) {
            self.pings_missed = 0;
            return Ok(());
        }
        // Ticks are counted, not time: a thread that was kept from running missed no answers.
        if self.pings_missed >= self.limits.pings_missed_max {
            return Err(End::Refused(Cause::Silent, format!("{} pings were not answered", self.pings_missed)));
        }
        self.pings_missed += 1;
        self.ping();
        Ok(())
    }

    fn ping(&mut self) {
        self.pings += 1;
        // A full queue shows the peer that we are here, and the stall ends the connection if it does not read.
        let _ = self.link.send(Header { kind: KIND_PING, correlation: self.pings, ..Header::default() }, |_| {});
    }

    /// Hands over what was queued, and why this is the end; then waits for the peer to close, too: a socket that is closed
    /// with something unread may take back what it had sent.
    async fn farewell(&mut self, end: &End, queued: Vec<u8>) {
        if !end.has_farewell() {
            return;
        }
        let words = match end {
            End::Left(reason) | End::Closed(reason) => reason.as_str(),
            // What exactly was wrong with its bytes is for the log, and not for whoever sent them.
            End::Refused(..) => "protocol violation",
        };
        let mut last = self.writing.split_off(self.written);
        last.extend_from_slice(&queued);
        let words = words.as_bytes().get(..words.len().min(GOODBYE_BYTES_MAX)).unwrap_or_default();
        let goodbye = Header { kind: KIND_GOODBYE, ..Header::default() };
        let _ = frame::append(&mut last, goodbye, usize::MAX, |body| body.extend_from_slice(words));
        let handed_over = async {
            self.stream.write_all(&last).await?;
            self.stream.shutdown().await?;
            let mut unread = [0; 4096];
            while self.stream.read(&mut unread).await? > 0 {}
            io::Result::Ok(())
        };
        // It ends either way: there is nobody left to tell.
        let _ = timeout(self.limits.linger, handed_over).await;
    }
}

impl<S> Connection<S> {
    fn finish(&mut self, reason: &str) {
        if let Some(mut inbound) = self.inbound.take() {
            self.stats.closed.fetch_add(1, Ordering::Relaxed);
            inbound.closed(&self.link, reason);
        }
    }
}

/// A task that is dropped, or panics, ends its connection like any other end does.
impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        drop(self.link.end(false));
        self.finish("the connection's task was dropped");
    }
}
