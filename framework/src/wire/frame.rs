use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// The length of a frame comes first: a `u32`, big endian, of what follows it.
pub(crate) const LENGTH_BYTES: usize = 4;

/// The fixed header after the length.
pub(crate) const HEADER_BYTES: usize = 16;

/// Kinds below this one belong to the connection; the others are messages, and go to [`Inbound`](super::Inbound).
pub(crate) const KIND_MESSAGES: u8 = 16;

/// What each side says of itself once both are authenticated: the first frame, and only the first.
pub(crate) const KIND_DETAILS: u8 = 1;
/// Are you there? Answered by a pong with the same correlation.
pub(crate) const KIND_PING: u8 = 2;
/// The answer to a ping.
pub(crate) const KIND_PONG: u8 = 3;
/// Why the connection ends, as UTF-8 text: the last frame.
pub(crate) const KIND_GOODBYE: u8 = 4;

/// The fixed part of every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// What the body is. Kinds below 16 belong to the connection.
    pub(crate) kind: u8,
    /// Bits whose meaning the kind gives.
    pub(crate) flags: u8,
    /// How many silos have passed this on.
    pub(crate) hops: u8,
    /// Joins an answer to what it answers.
    pub(crate) correlation: u64,
    /// The time that is left for it, relative, so that no two clocks are compared.
    pub(crate) budget_ms: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let [kind, flags, hops, _reserved, rest @ ..] = &mut bytes;
        (*kind, *flags, *hops) = (self.kind, self.flags, self.hops);
        let (budget, correlation) = rest.split_at_mut(4);
        budget.copy_from_slice(&self.budget_ms.to_be_bytes());
        correlation.copy_from_slice(&self.correlation.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let [kind, flags, hops, reserved, b0, b1, b2, b3, c0, c1, c2, c3, c4, c5, c6, c7] = bytes;
        if reserved != 0 {
            return Err(Malformed::Reserved);
        }
        Ok(Self {
            kind,
            flags,
            hops,
            correlation: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            budget_ms: u32::from_be_bytes([b0, b1, b2, b3]),
        })
    }
}

/// Bytes that are no frame. The connection can't go on after them: where the next frame begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A frame is at least a header.
    #[error("a frame of {size} bytes is shorter than its header")]
    Short { size: usize },
    /// Refused by its length, before any of it is read.
    #[error("a frame of {size} bytes, over the limit of {limit}")]
    Large { size: usize, limit: usize },
    /// A bit that this protocol does not have.
    #[error("a reserved byte of the header is set")]
    Reserved,
}

/// A frame that can't be sent. Nothing of it was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oversized {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

/// Appends one frame, its body written in place. When it is over the limit, or `write_body` panics, `out` is as before.
pub(crate) fn append(
    out: &mut Vec<u8>,
    header: Header,
    frame_bytes_max: usize,
    write_body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Oversized> {
    let mut frame = Unfinished { start: out.len(), out, finished: false };
    frame.out.extend_from_slice(&[0; LENGTH_BYTES]);
    frame.out.extend_from_slice(&header.encode());
    write_body(frame.out);
    let size = frame.out.len().saturating_sub(frame.start + LENGTH_BYTES);
    let length = match u32::try_from(size) {
        Ok(length) if (HEADER_BYTES..=frame_bytes_max).contains(&size) => length,
        _ => return Err(Oversized { size, limit: frame_bytes_max }),
    };
    if let Some(place) = frame.out.get_mut(frame.start..frame.start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    frame.finished = true;
    Ok(())
}

/// Takes a frame that was not finished out of the buffer again.
struct Unfinished<'a> {
    start: usize,
    out: &'a mut Vec<u8>,
    finished: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// Cuts what comes in into frames. Memory follows the bytes that came, never a length that somebody declared.
pub(crate) struct Decoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl Decoder {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// Where to put what is read next, with room for at least `chunk` bytes.
    pub(crate) fn space(&mut self, chunk: usize) -> &mut BytesMut {
        // Room for half a chunk is used up before there is a new one: a frame that is cut by the end of the buffer is
        // copied to the next buffer, and should be rare.
        if self.buffer.capacity() - self.buffer.len() < chunk / 2 {
            self.buffer.reserve(chunk);
        }
        &mut self.buffer
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a frame has begun that is not complete.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next complete frame. Its body shares the read buffer: whoever keeps it for long should copy it.
    pub(crate) fn next(&mut self) -> Result<Option<(Header, Bytes)>, Malformed> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let size = u32::from_be_bytes(*length) as usize;
        if size < HEADER_BYTES {
            return Err(Malformed::Short { size });
        }
        if size > self.frame_bytes_max {
            return Err(Malformed::Large { size, limit: self.frame_bytes_max });
        }
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(*header)?;
        if rest.len() < size {
            return Ok(None);
        }
        if size == HEADER_BYTES {
            self.buffer.advance(LENGTH_BYTES + HEADER_BYTES);
            return Ok(Some((header, Bytes::new())));
        }
        let mut body = self.buffer.split_to(LENGTH_BYTES + size).freeze();
        body.advance(LENGTH_BYTES + HEADER_BYTES);
        Ok(Some((header, body)))
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the bytes: they may be anybody's data.
        f.debug_struct("Decoder").field("buffered_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}
