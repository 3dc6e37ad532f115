//! The messages of the handshake: fixed sizes until both sides are authenticated. `docs/protocol.md` has them byte by byte.

use std::ops::RangeInclusive;

use ring::digest;
use uuid::Uuid;

use super::peer::NONCE_BYTES;

/// What every connection begins with. A server that reads lines, such as Redis, answers the first one at once with an error:
/// so a wrong address is known now, and not after a timeout. The last byte is the layout of the handshake itself.
const MAGIC: [u8; 8] = *b"grange\n\x01";

pub(crate) const HELLO_BYTES: usize = 96;
pub(crate) const CHALLENGE_BYTES: usize = 40;
/// A verdict without its proof.
pub(crate) const VERDICT_BYTES: usize = 20;

/// Of an address, or of a build's name.
const TEXT_BYTES_MAX: usize = 256;

/// The hash of a cluster's name: of fixed size, whatever the name.
pub(crate) fn cluster_hash(name: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest::digest(&digest::SHA256, name.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// The dialing side's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocols: RangeInclusive<u16>,
    /// Not decoded yet: an unknown role is refused only after the proof.
    pub(crate) role: u8,
    /// Whether the proof is made with a secret. For the log of the other side: nothing is decided by it.
    pub(crate) has_secret: bool,
    pub(crate) cluster: [u8; 32],
    pub(crate) incarnation: Uuid,
    pub(crate) nonce: [u8; NONCE_BYTES],
}

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let mut writer = Writer(&mut bytes);
        writer.put(&MAGIC);
        writer.put(&self.protocols.start().to_be_bytes());
        writer.put(&self.protocols.end().to_be_bytes());
        writer.put(&[self.role, u8::from(self.has_secret), 0, 0]);
        writer.put(&self.cluster);
        writer.put(self.incarnation.as_bytes());
        writer.put(&self.nonce);
        bytes
    }

    /// `None`: this is no hello of grange, or one of another layout.
    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.take()? == MAGIC).then_some(())?;
        let protocols = u16::from_be_bytes(reader.take()?)..=u16::from_be_bytes(reader.take()?);
        let [role, has_secret, reserved @ ..] = reader.take::<4>()?;
        (reserved == [0, 0] && has_secret <= 1).then_some(())?;
        let (cluster, incarnation, nonce) = (reader.take()?, Uuid::from_bytes(reader.take()?), reader.take()?);
        Some(Self { protocols, role, has_secret: has_secret == 1, cluster, incarnation, nonce })
    }
}

/// The accepting side's answer: a nonce, from which nobody learns anything.
pub(crate) fn challenge(nonce: &[u8; NONCE_BYTES]) -> [u8; CHALLENGE_BYTES] {
    let mut bytes = [0; CHALLENGE_BYTES];
    let mut writer = Writer(&mut bytes);
    writer.put(&MAGIC);
    writer.put(nonce);
    bytes
}

/// Whether a hello or a challenge may begin with these bytes.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    MAGIC.iter().zip(bytes).all(|(expected, byte)| expected == byte)
}

/// Whether these bytes are such an answer.
pub(crate) fn is_challenge(bytes: &[u8; CHALLENGE_BYTES]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Why a peer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// All that a stranger learns. The log of the refusing side says more.
    #[error(
        "it refused the connection, and its log says why: most likely the cluster's secret is another one there; \
         this process has its secret from `.secret_file(…)` or GRANGE_SECRET_FILE, or none"
    )]
    Untrusted,
    /// Another cluster lives there.
    #[error("it belongs to another cluster: say the name that its silos have, by `.cluster(…)` or GRANGE_CLUSTER")]
    Cluster,
    /// The two builds are too far apart.
    #[error("it speaks no protocol version in common with this build")]
    Protocol,
    /// It knows no such role, or the certificate does not fit it.
    #[error("it does not accept this role from us: a silo's certificate must name the host that the silo advertises")]
    Role,
    /// An incarnation that was declared dead never comes back.
    #[error("it knows this incarnation as dead: join as a new one")]
    Dead,
}

/// The accepting side's decision, with its own identity once the dialing side has proven its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) decision: Result<(), Refusal>,
    pub(crate) role: u8,
    /// The version that both will speak; with a refusal, the newest of the accepting side.
    pub(crate) protocol: u16,
    pub(crate) incarnation: Uuid,
}

impl Verdict {
    /// What a stranger is told: nothing.
    pub(crate) const UNTRUSTED: Self =
        Self { decision: Err(Refusal::Untrusted), role: 0, protocol: 0, incarnation: Uuid::nil() };

    pub(crate) fn encode(&self) -> [u8; VERDICT_BYTES] {
        let code = match self.decision {
            Ok(()) => 0,
            Err(Refusal::Untrusted) => 1,
            Err(Refusal::Cluster) => 2,
            Err(Refusal::Protocol) => 3,
            Err(Refusal::Role) => 4,
            Err(Refusal::Dead) => 5,
        };
        let mut bytes = [0; VERDICT_BYTES];
        let mut writer = Writer(&mut bytes);
        writer.put(&[code, self.role]);
        writer.put(&self.protocol.to_be_bytes());
        writer.put(self.incarnation.as_bytes());
        bytes
    }

    /// `None`: a code that this build does not know.
    pub(crate) fn decode(bytes: &[u8; VERDICT_BYTES]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [code, role] = reader.take()?;
        let decision = match code {
            0 => Ok(()),
            1 => Err(Refusal::Untrusted),
            2 => Err(Refusal::Cluster),
            3 => Err(Refusal::Protocol),
            4 => Err(Refusal::Role),
            5 => Err(Refusal::Dead),
            _ => return None,
        };
        let (protocol, incarnation) = (u16::from_be_bytes(reader.take()?), Uuid::from_bytes(reader.take()?));
        Some(Self { decision, role, protocol, incarnation })
    }
}

/// What each side says of itself in its first frame, once both are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) frame_bytes_max: u32,
    pub(crate) address: Option<String>,
    pub(crate) build: String,
}

impl Details {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.frame_bytes_max.to_be_bytes());
        put_text(out, self.address.as_deref().unwrap_or(""));
        put_text(out, &self.build);
    }

    /// `None`: these bytes are no details, or there is something after them.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let frame_bytes_max = u32::from_be_bytes(reader.take()?);
        let address = reader.take_text()?;
        let build = reader.take_text()?;
        reader.0.is_empty().then_some(())?;
        Some(Self { frame_bytes_max, address: Some(address).filter(|address| !address.is_empty()), build })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let text = text.get(..end).unwrap_or("");
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn take_text(&mut self) -> Option<String> {
        let size = usize::from(u16::from_be_bytes(self.take()?));
        let (taken, rest) = self.0.split_at_checked(size).filter(|_| size <= TEXT_BYTES_MAX)?;
        self.0 = rest;
        std::str::from_utf8(taken).ok().map(str::to_owned)
    }
}

/// Fills an array whose size is the sum of what is put.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.0 = rest;
    }
}
