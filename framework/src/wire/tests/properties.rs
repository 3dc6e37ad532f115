use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::frame::{self, Decoder, Malformed};
use crate::wire::hello::{Details, Hello, Verdict};
use crate::wire::{Header, Identity, Role, Security, WireLimits};

const LIMIT: usize = 300;

prop_compose! {
    fn header()(kind: u8, flags: u8, hops: u8, correlation: u64, budget_ms: u32) -> Header {
        Header { kind, flags, hops, correlation, budget_ms }
    }
}

/// Feeds bytes in pieces of these sizes, and returns what came out before the first mistake.
fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<(Header, Vec<u8>)>, Option<Malformed>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    loop {
        loop {
            match decoder.next() {
                Ok(Some((header, body))) => frames.push((header, body.to_vec())),
                Ok(None) => break,
                Err(malformed) => return (frames, Some(malformed)),
            }
        }
        if rest.is_empty() {
            return (frames, None);
        }
        let (piece, after) = rest.split_at((*pieces.next().unwrap()).clamp(1, rest.len()));
        decoder.space(64).extend_from_slice(piece);
        rest = after;
    }
}

proptest! {
    #[test]
    fn frames_survive_any_cut(
        frames in vec((header(), vec(any::<u8>(), 0..LIMIT - 16)), 0..20),
        pieces in vec(1usize..100, 1..10),
    ) {
        let mut bytes = Vec::new();
        for (header, body) in &frames {
            frame::append(&mut bytes, *header, LIMIT, |out| out.extend_from_slice(body)).unwrap();
        }
        prop_assert_eq!(decode(&bytes, &pieces), (frames, None));
    }

    #[test]
    fn any_bytes_are_frames_or_a_mistake(bytes in vec(any::<u8>(), 0..2000), pieces in vec(1usize..100, 1..10)) {
        let (frames, _) = decode(&bytes, &pieces);
        // Whatever came out is what came in, byte for byte.
        let mut again = Vec::new();
        for (header, body) in &frames {
            frame::append(&mut again, *header, LIMIT, |out| out.extend_from_slice(body)).unwrap();
        }
        prop_assert!(bytes.starts_with(&again));
        // How the bytes are cut changes nothing.
        prop_assert_eq!(decode(&bytes, &[bytes.len().max(1)]), decode(&bytes, &pieces));
    }

    #[test]
    fn a_truncated_frame_is_not_complete(header in header(), body in vec(any::<u8>(), 0..LIMIT - 16), cut in 1usize..LIMIT) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, header, LIMIT, |out| out.extend_from_slice(&body)).unwrap();
        bytes.truncate(bytes.len().saturating_sub(cut));
        prop_assert_eq!(decode(&bytes, &[7]), (vec![], None));
    }

    #[test]
    fn a_frame_over_the_limit_leaves_the_buffer_as_it_was(before in vec(any::<u8>(), 0..50), over in 1usize..1000) {
        let mut bytes = before.clone();
        let body = vec![0; LIMIT - 16 + over];
        let refused = frame::append(&mut bytes, Header::default(), LIMIT, |out| out.extend_from_slice(&body));
        prop_assert_eq!(refused, Err(frame::Oversized { size: LIMIT + over, limit: LIMIT }));
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn fixed_messages_are_read_as_they_were_written(bytes: [u8; 96], verdict: [u8; 20]) {
        let mut greeting = bytes;
        greeting[..8].copy_from_slice(b"grange\n\x01");
        if let Some(hello) = Hello::decode(&greeting) {
            prop_assert_eq!(hello.encode(), greeting);
        }
        prop_assert_eq!(Hello::decode(&bytes).is_some(), false, "a magic by chance");
        if let Some(said) = Verdict::decode(&verdict) {
            prop_assert_eq!(said.encode(), verdict);
        }
    }

    #[test]
    fn details_are_read_as_they_were_written(
        frame_bytes_max: u32,
        address in proptest::option::of("[a-z]{1,40}:[0-9]{1,5}"),
        build in ".{0,64}",
        after in vec(any::<u8>(), 1..5),
    ) {
        let details = Details { frame_bytes_max, address, build };
        let mut bytes = Vec::new();
        details.encode(&mut bytes);
        prop_assert_eq!(Details::decode(&bytes), Some(details));
        for end in 0..bytes.len() {
            prop_assert_eq!(Details::decode(&bytes[..end]), None, "cut at {}", end);
        }
        bytes.extend_from_slice(&after);
        prop_assert_eq!(Details::decode(&bytes), None, "with something after it");
    }

    #[test]
    fn any_bytes_are_details_or_none(bytes in vec(any::<u8>(), 0..700)) {
        if let Some(details) = Details::decode(&bytes) {
            let mut again = Vec::new();
            details.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn no_bytes_open_a_handshake(bytes in vec(any::<u8>(), 0..400), begins_well: bool) {
        let mut bytes = bytes;
        if begins_well {
            bytes.splice(0..0, *b"grange\n\x01\0\x01\0\x01\x02\0\0\0");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let me = Identity::new(Role::Silo, uuid::Uuid::nil(), "bank", None, Security::open());
            let limits = WireLimits::default();
            for dials in [true, false] {
                let (mut near, mut far) = tokio::io::duplex(8192);
                tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await.unwrap();
                tokio::io::AsyncWriteExt::shutdown(&mut near).await.unwrap();
                if dials {
                    crate::wire::handshake::dial(&mut far, &me, &limits).await.expect_err("random bytes");
                } else {
                    crate::wire::handshake::answer(&mut far, &me, &limits, None).await.expect_err("random bytes");
                }
            }
        });
    }
}
