//! Who is there, before anything else is said. `docs/protocol.md` has it step by step.
//!
//! The dialing side proves itself first: until then the accepting side says nothing but a random number, and refuses with no reason.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::CertificateDer;
use uuid::Uuid;

use super::auth::{Direction, TAG_BYTES};
use super::frame::{self, HEADER_BYTES, Header, KIND_DETAILS, KIND_GOODBYE, LENGTH_BYTES};
use super::hello::{
    self, CHALLENGE_BYTES, Details, HELLO_BYTES, Hello, Refusal, VERDICT_BYTES, Verdict, challenge, cluster_hash,
    is_challenge, may_begin,
};
use super::limits::WireLimits;
use super::peer::{Identity, Peer, Role};
use super::stats::Cause;
use super::tls;

/// What a TLS server begins with when it is not spoken to in TLS.
const TLS_ALERT: u8 = 21;

/// A frame before the handshake is over.
pub(crate) const EARLY_FRAME_BYTES_MAX: usize = 4096;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The stream ended or failed.
    #[error("the connection was cut during the handshake: {0}")]
    Cut(#[from] io::Error),
    /// Whatever the other side is, it is no grange.
    #[error("it is no grange silo there, or one with another handshake: {0}")]
    NotGrange(&'static str),
    /// The other side proved nothing.
    #[error("the other side is not trusted: {0}")]
    Untrusted(&'static str),
    /// The other side refuses us; `incarnation` is who it is, if it proved that.
    #[error("the other side refuses: {refusal}")]
    Rejected { refusal: Refusal, incarnation: Option<Uuid> },
    /// We refuse the other side, which has proven who it is.
    #[error("{why}")]
    Refused { refusal: Refusal, why: String },
    /// Nobody may guess a nonce.
    #[error("the system has no random numbers to give")]
    NoRandomness,
}

impl HandshakeError {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            HandshakeError::Cut(_) => Cause::Cut,
            HandshakeError::NotGrange(_) => Cause::NotGrange,
            HandshakeError::Untrusted(_) => Cause::Untrusted,
            HandshakeError::NoRandomness => Cause::System,
            HandshakeError::Rejected { refusal, .. } | HandshakeError::Refused { refusal, .. } => match refusal {
                Refusal::Untrusted => Cause::Untrusted,
                Refusal::Cluster => Cause::Cluster,
                Refusal::Protocol => Cause::Protocol,
                Refusal::Role => Cause::Role,
                Refusal::Dead => Cause::Dead,
            },
        }
    }
}

/// The dialing side. Proves itself, has the other side prove itself, and only then says more.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
    limits: &WireLimits,
) -> Result<Peer, HandshakeError> {
    let key = me.security.key();
    let hello = Hello {
        protocols: me.protocols.clone(),
        role: me.role.encode(),
        has_secret: me.security.secret.is_some(),
        cluster: cluster_hash(&me.cluster),
        incarnation: me.incarnation(),
        nonce: me.nonce().ok_or(HandshakeError::NoRandomness)?,
    }
    .encode();
    stream.write_all(&hello).await?;
    stream.flush().await?;

    let challenge: [u8; CHALLENGE_BYTES] = read_greeting(stream).await?;
    if !is_challenge(&challenge) {
        return Err(HandshakeError::NotGrange("what came back is no silo's answer"));
    }
    stream.write_all(&key.prove(Direction::Dial, &[&hello, &challenge])).await?;
    stream.flush().await?;

    let verdict: [u8; VERDICT_BYTES] = read(stream).await?;
    let proof: [u8; TAG_BYTES] = read(stream).await?;
    let said = Verdict::decode(&verdict).ok_or(HandshakeError::NotGrange("its verdict has an unknown code"))?;
    if said.decision == Err(Refusal::Untrusted) {
        return Err(HandshakeError::Rejected { refusal: Refusal::Untrusted, incarnation: None });
    }
    if !key.holds(Direction::Accept, &[&hello, &challenge, &verdict], &proof) {
        return Err(HandshakeError::Untrusted("it accepted us, but does not know the cluster's secret"));
    }
    if let Err(refusal) = said.decision {
        return Err(HandshakeError::Rejected { refusal, incarnation: Some(said.incarnation) });
    }
    let role = Role::decode(said.role).ok_or(HandshakeError::NotGrange("its role is unknown"))?;
    if !me.protocols.contains(&said.protocol) {
        return Err(HandshakeError::NotGrange("it chose a protocol version that was not offered"));
    }

    stream.write_all(&details(me, limits)).await?;
    stream.flush().await?;
    Ok(peer(role, said.incarnation, said.protocol, read_details(stream).await?))
}

/// The accepting side. `certificate` is what the peer showed in TLS.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: &Identity,
    limits: &WireLimits,
    certificate: Option<&CertificateDer<'_>>,
) -> Result<Peer, HandshakeError> {
    let key = me.security.key();
    let hello: [u8; HELLO_BYTES] = read_greeting(stream).await?;
    let said = Hello::decode(&hello).ok_or(HandshakeError::NotGrange("what it began with is no hello"))?;
    let challenge = challenge(&me.nonce().ok_or(HandshakeError::NoRandomness)?);
    stream.write_all(&challenge).await?;
    stream.flush().await?;

    let proof: [u8; TAG_BYTES] = read(stream).await?;
    if !key.holds(Direction::Dial, &[&hello, &challenge], &proof) {
        let mut refused = [0; VERDICT_BYTES + TAG_BYTES];
        refused.iter_mut().zip(Verdict::UNTRUSTED.encode()).for_each(|(to, from)| *to = from);
        leave(stream, &refused).await?;
        return Err(HandshakeError::Untrusted(match (said.has_secret, me.security.secret.is_some()) {
            (true, true) => "its secret is another one",
            (false, true) => "it has no secret, and this process has one",
            (true, false) => "it has a secret, and this process has none",
            (false, false) => "its proof is none",
        }));
    }

    let decision = judge(&said, me);
    let incarnation = me.incarnation();
    let verdict = Verdict {
        decision: decision.as_ref().map(|_| ()).map_err(|(refusal, _)| *refusal),
        role: me.role.encode(),
        protocol: decision.as_ref().map_or(*me.protocols.end(), |(_, protocol)| *protocol),
        incarnation,
    }
    .encode();
    let mut last = verdict.to_vec();
    last.extend_from_slice(&key.prove(Direction::Accept, &[&hello, &challenge, &verdict]));
    let (role, protocol) = match decision {
        Ok(agreed) => agreed,
        Err((refusal, why)) => {
            leave(stream, &last).await?;
            return Err(HandshakeError::Refused { refusal, why });
        }
    };
    last.extend_from_slice(&details(me, limits));
    stream.write_all(&last).await?;
    stream.flush().await?;

    let details = read_details(stream).await?;
    if role == Role::Silo
        && let Some(certificate) = certificate
    {
        // Clients have certificates of the same authority: without this, each of them could say that it is a silo.
        let named = details.address.as_deref().is_some_and(|address| tls::names(certificate, address));
        if !named {
            leave(stream, &goodbye("your certificate does not name the host that you advertise")).await?;
            let why = format!("its certificate does not name the host of the silo {:?}", details.address);
            return Err(HandshakeError::Refused { refusal: Refusal::Role, why });
        }
    }
    Ok(peer(role, said.incarnation, protocol, details))
}

/// Whether a peer that has proven itself may connect, and with which version.
fn judge(said: &Hello, me: &Identity) -> Result<(Role, u16), (Refusal, String)> {
    if said.cluster != cluster_hash(&me.cluster) {
        return Err((Refusal::Cluster, format!("it belongs to another cluster than {:?}", me.cluster)));
    }
    let newest = *said.protocols.end().min(me.protocols.end());
    if !(said.protocols.contains(&newest) && me.protocols.contains(&newest)) {
        let why = format!("it speaks the protocols {:?}, and this process {:?}", said.protocols, me.protocols);
        return Err((Refusal::Protocol, why));
    }
    let Some(role) = Role::decode(said.role) else {
        return Err((Refusal::Role, format!("there is no role {}", said.role)));
    };
    if !me.admits(role, said.incarnation) {
        return Err((Refusal::Dead, format!("the incarnation {} is dead", said.incarnation)));
    }
    Ok((role, newest))
}

fn peer(role: Role, incarnation: Uuid, protocol: u16, details: Details) -> Peer {
    Peer {
        role,
        incarnation,
        address: details.address,
        protocol,
        build: details.build,
        frame_bytes_max: details.frame_bytes_max as usize,
    }
}

fn details(me: &Identity, limits: &WireLimits) -> Vec<u8> {
    let details = Details {
        frame_bytes_max: u32::try_from(limits.frame_bytes_max).unwrap_or(u32::MAX),
        address: me.address.clone(),
        build: me.build.clone(),
    };
    let mut bytes = Vec::new();
    // Its texts are cut to fit, so that it is never too large.
    let _ =
        frame::append(&mut bytes, Header { kind: KIND_DETAILS, ..Header::default() }, EARLY_FRAME_BYTES_MAX, |body| {
            details.encode(body);
        });
    bytes
}

fn goodbye(reason: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header { kind: KIND_GOODBYE, ..Header::default() };
    let _ = frame::append(&mut bytes, header, EARLY_FRAME_BYTES_MAX, |body| body.extend_from_slice(reason.as_bytes()));
    bytes
}

async fn read_details<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Details, HandshakeError> {
    let length: [u8; LENGTH_BYTES] = read(stream).await?;
    let size = u32::from_be_bytes(length) as usize;
    if !(HEADER_BYTES..=EARLY_FRAME_BYTES_MAX).contains(&size) {
        return Err(HandshakeError::NotGrange("its first frame is too short or too large"));
    }
    let mut bytes = length.to_vec();
    bytes.resize(LENGTH_BYTES + size, 0);
    if let Some(rest) = bytes.get_mut(LENGTH_BYTES..) {
        stream.read_exact(rest).await?;
    }
    let mut decoder = frame::Decoder::new(EARLY_FRAME_BYTES_MAX);
    decoder.space(bytes.len()).extend_from_slice(&bytes);
    match decoder.next() {
        Ok(Some((header, body))) if header.kind == KIND_DETAILS => {
            hello::Details::decode(&body).ok_or(HandshakeError::NotGrange("its first frame can't be read"))
        }
        _ => Err(HandshakeError::NotGrange("its first frame is another one")),
    }
}

/// Reads what the other side begins with. Something else is not waited for to its end.
async fn read_greeting<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], HandshakeError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => filled += read,
        }
        let begun = bytes.get(..filled).unwrap_or(&bytes);
        if begun.first() == Some(&TLS_ALERT) {
            return Err(HandshakeError::NotGrange(
                "it speaks TLS, and this process does not: give it certificates by `.tls(…)`, or GRANGE_TLS_CA, \
                 GRANGE_TLS_CERT and GRANGE_TLS_KEY",
            ));
        }
        if !may_begin(begun) {
            return Err(HandshakeError::NotGrange("what came from it is no silo's, and no client's"));
        }
    }
    Ok(bytes)
}

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], HandshakeError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The last words to a peer that is refused.
async fn leave<S: AsyncWrite + Unpin>(stream: &mut S, words: &[u8]) -> Result<(), HandshakeError> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    Ok(())
}
