use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, timeout};

use super::fixture::*;
use crate::wire::{Cause, Header, Link, SendError, WireLimits};

#[tokio::test]
async fn a_hundred_thousand_frames_arrive_in_order() {
    const FRAMES: u64 = 100_000;
    let (near, mut far) = pair(64 << 10, &WireLimits::default()).await;
    let sender = tokio::spawn(async move {
        for number in 0..FRAMES {
            while let Err(error) = near.link.send(message(number), |body| body.extend_from_slice(&number.to_le_bytes()))
            {
                assert_eq!(error, SendError::Full);
                tokio::task::yield_now().await;
            }
            if number % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        near
    });
    for number in 0..FRAMES {
        assert_eq!(far.event().await, Event::Frame(message(number), Bytes::copy_from_slice(&number.to_le_bytes())));
    }
    let mut near = sender.await.unwrap();
    far.link.close("done");
    assert_eq!(near.closed().await, "the peer said goodbye: done");
}

#[tokio::test]
async fn what_was_queued_before_a_close_still_arrives() {
    let (mut near, mut far) = pair(256, &WireLimits::default()).await;
    for number in 0..500 {
        near.link.send(message(number), |body| body.extend_from_slice(&[0; 40])).unwrap();
    }
    near.link.close("done");
    assert_eq!(near.link.send(message(500), |_| {}), Err(SendError::Closed));
    for number in 0..500 {
        assert!(matches!(far.event().await, Event::Frame(header, _) if header.correlation == number));
    }
    assert_eq!(far.closed().await, "the peer said goodbye: done");
    assert_eq!(near.closed().await, "done");
}

#[tokio::test(start_paused = true)]
async fn much_that_comes_at_once_is_read_to_its_end() {
    // Pings are off: nothing but the bytes themselves may keep the connection reading.
    let hour = Duration::from_secs(3600);
    let limits = WireLimits { read_chunk_bytes: 1024, ping_every: hour, ..WireLimits::default() };
    let (near, mut far) = pair(1 << 20, &limits).await;
    for number in 0..500 {
        near.link.send(message(number), |body| body.extend_from_slice(&[0; 1000])).unwrap();
    }
    for number in 0..500 {
        assert!(matches!(far.event().await, Event::Frame(header, _) if header.correlation == number));
    }
}

/// What happens between the connection's last look and its sleep, which no schedule of a test hits reliably.
#[test]
fn a_connection_does_not_fall_asleep_over_what_just_happened() {
    let peer = crate::wire::peer::Peer {
        role: crate::wire::Role::Client,
        incarnation: uuid::Uuid::nil(),
        address: None,
        protocol: 1,
        build: String::new(),
        frame_bytes_max: 1000,
    };
    let link = Link::new(peer, &WireLimits::default());
    let waker = std::task::Waker::noop();
    let mut writing = Vec::new();
    assert!(link.park(waker, true), "nothing happened");

    link.unpark();
    link.send(message(1), |_| {}).unwrap();
    assert!(!link.park(waker, true), "there is something to write");
    assert!(link.park(waker, false), "… but the stream takes nothing");
    assert_eq!(link.take_ready(&mut writing), 1);
    assert!(link.park(waker, true), "it was taken");

    link.resume_reading();
    assert!(!link.park(waker, true), "reading may go on");
    assert!(link.park(waker, true), "which is said once");

    link.close("enough");
    assert!(!link.park(waker, false), "it is to end");
}

#[tokio::test]
async fn every_field_of_a_header_arrives() {
    let (near, mut far) = pair(4096, &WireLimits::default()).await;
    let header = Header { kind: 255, flags: 1, hops: 3, correlation: u64::MAX - 1, budget_ms: 0x0102_0304 };
    near.link.send(header, |_| {}).unwrap();
    assert_eq!(far.event().await, Event::Frame(header, Bytes::new()));
}

#[tokio::test]
async fn a_frame_over_the_limit_is_not_sent_and_harms_no_other() {
    let (near, mut far) = pair(64 << 10, &WireLimits { frame_bytes_max: 1000, ..WireLimits::default() }).await;
    near.link.send(message(1), |body| body.resize(984, 1)).unwrap();
    let large = near.link.send(message(2), |body| body.resize(body.len() + 985, 2));
    assert_eq!(large, Err(SendError::TooLarge { size: 1001, limit: 1000 }));
    near.link.send(message(3), |_| {}).unwrap();
    assert!(matches!(far.event().await, Event::Frame(header, _) if header.correlation == 1));
    assert_eq!(far.event().await, Event::Frame(message(3), Bytes::new()));
}

#[tokio::test]
async fn a_body_whose_writer_panics_harms_no_other() {
    let (near, mut far) = pair(4096, &WireLimits::default()).await;
    let link = near.link.clone();
    let panicked = tokio::spawn(async move {
        link.send(message(1), |body| {
            body.extend_from_slice(b"half");
            panic!("while encoding");
        })
    });
    assert!(panicked.await.is_err());
    near.link.send(message(2), |_| {}).unwrap();
    assert_eq!(far.event().await, Event::Frame(message(2), Bytes::new()));
}

#[tokio::test]
async fn the_smaller_of_both_frame_limits_holds() {
    let (near, far) = tokio::io::duplex(4096);
    let small = WireLimits { frame_bytes_max: 500, ..WireLimits::default() };
    let large = WireLimits::default();
    let (client, silo) = (client(secret(SECRET)), silo(secret(SECRET)));
    let (near, far) = tokio::join!(dial(near, &client, &large), answer(far, &silo, &small));
    let (near, far) = (near.unwrap(), far.unwrap());
    for end in [&near, &far] {
        let large = end.link.send(message(1), |body| body.resize(body.len() + 600, 0));
        assert_eq!(large, Err(SendError::TooLarge { size: 616, limit: 500 }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_declares_too_much_is_refused_before_it_is_read() {
    let (mut raw, mut far, silo) = raw_peer(&WireLimits::default()).await;
    raw.write_all(&(5u32 << 20).to_be_bytes()).await.unwrap();
    assert_eq!(far.closed().await, "a frame of 5242880 bytes, over the limit of 4194304");
    assert_eq!(silo.stats.refused(Cause::Violation), 1);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_shorter_than_its_header_is_refused() {
    let (mut raw, mut far, _silo) = raw_peer(&WireLimits::default()).await;
    raw.write_all(&[0, 0, 0, 15]).await.unwrap();
    assert_eq!(far.closed().await, "a frame of 15 bytes is shorter than its header");
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_the_connection_that_does_not_exist_is_refused() {
    for kind in [0, 1, 5, 15] {
        let (mut raw, mut far, _silo) = raw_peer(&WireLimits::default()).await;
        raw.write_all(&frame(Header { kind, ..Header::default() }, b"")).await.unwrap();
        assert!(far.closed().await.starts_with("a frame of kind"), "kind {kind}");
    }
}

#[tokio::test]
async fn what_the_owner_calls_a_violation_ends_the_connection() {
    let (mut near, mut far) = pair(4096, &WireLimits::default()).await;
    near.link.send(Header { flags: FLAG_VIOLATION, ..message(1) }, |_| {}).unwrap();
    near.link.send(message(2), |_| {}).unwrap();
    assert_eq!(far.closed().await, "a flag that must not be");
    assert_eq!(near.closed().await, "the peer said goodbye: protocol violation");
}

#[tokio::test]
async fn a_peer_that_is_cut_inside_a_frame_is_gone_once() {
    let (mut raw, mut far, _silo) = raw_peer(&WireLimits::default()).await;
    raw.write_all(&frame(message(1), b"whole")).await.unwrap();
    raw.write_all(&[0, 0, 0, 50, 16, 0, 0]).await.unwrap();
    drop(raw);
    assert_eq!(far.body().await, "whole");
    assert_eq!(far.closed().await, "the peer was cut off inside a frame");
}

#[tokio::test]
async fn a_task_that_is_dropped_ends_its_connection() {
    let (mut near, mut far) = pair(4096, &WireLimits::default()).await;
    near.task.abort();
    assert_eq!(near.event().await, Event::Closed("the connection's task was dropped".into()));
    assert_eq!(near.link.send(message(1), |_| {}), Err(SendError::Closed));
    assert_eq!(far.closed().await, "the peer closed the connection");
}

#[tokio::test]
async fn an_owner_that_does_not_read_holds_up_the_sender_and_loses_nothing() {
    let limits = WireLimits { queued_bytes_max: 10_000, read_chunk_bytes: 1024, ..WireLimits::default() };
    let (near, mut far) = pair(1024, &limits).await;
    far.stop_reading();
    let mut sent = 0;
    let until = Instant::now() + PATIENCE;
    // Until nothing moves any more: the queue is full, the stream is full, and so is what was read ahead.
    let mut full = 0;
    while full < 1000 {
        assert!(Instant::now() < until, "never full after {sent} frames");
        match near.link.send(message(sent), |body| body.extend_from_slice(&[0; 100])) {
            Ok(_) => (sent, full) = (sent + 1, 0),
            Err(SendError::Full) => full += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(near.link.queued_bytes() < 10_000 + 120, "{} bytes are queued", near.link.queued_bytes());
    assert!(sent < 200, "{sent} frames fitted");
    assert!(far.events.try_recv().is_err(), "a frame was handed on all the same");
    far.go_on_reading();
    for number in 0..sent {
        assert!(matches!(far.event().await, Event::Frame(header, _) if header.correlation == number));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_left_and_its_queue_freed() {
    let limits = WireLimits { queued_bytes_max: 10_000, ..WireLimits::default() };
    let (mut raw, mut far, silo) = raw_peer(&limits).await;
    while far.link.send(message(1), |body| body.extend_from_slice(&[0; 100])) != Err(SendError::Full) {}
    // It is not silent: it sends, and does not read.
    let began = Instant::now();
    let reason = loop {
        match timeout(Duration::from_millis(500), far.events.recv()).await {
            Ok(Some(Event::Closed(reason))) => break reason,
            Ok(event) => assert!(event.is_some(), "no end was told"),
            Err(_) => {
                let _ = raw.write_all(&frame(message(2), b"")).await;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(15), "not left after {:?}", began.elapsed());
    };
    assert!(reason.starts_with("the peer took no bytes for"), "{reason}");
    assert!(began.elapsed() >= limits.write_stall_max);
    assert_eq!(far.link.queued_bytes(), 0);
    assert_eq!(silo.stats.refused(Cause::Stalled), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives() {
    let (near, mut far) = pair(4096, &WireLimits::default()).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    near.link.send(message(1), |_| {}).unwrap();
    assert_eq!(far.event().await, Event::Frame(message(1), Bytes::new()));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_read_for_long_is_not_taken_for_dead() {
    let (near, mut far) = pair(64 << 10, &WireLimits::default()).await;
    far.stop_reading();
    tokio::time::sleep(Duration::from_secs(120)).await;
    near.link.send(message(1), |_| {}).unwrap();
    far.go_on_reading();
    assert_eq!(far.event().await, Event::Frame(message(1), Bytes::new()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_then_left() {
    let (mut raw, mut far, silo) = raw_peer(&WireLimits::default()).await;
    let began = Instant::now();
    assert_eq!(far.closed().await, "3 pings were not answered");
    assert_eq!(began.elapsed().as_secs(), 4, "one second of silence, and three pings");
    let mut pings = Vec::new();
    raw.read_to_end(&mut pings).await.unwrap();
    assert_eq!(pings.len(), 3 * 20);
    assert_eq!(silo.stats.refused(Cause::Silent), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_own_number() {
    let (mut raw, _far, _silo) = raw_peer(&WireLimits::default()).await;
    raw.write_all(&frame(Header { kind: 2, correlation: 77, ..Header::default() }, b"")).await.unwrap();
    let mut pong = [0; 20];
    timeout(PATIENCE, raw.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(pong.to_vec(), frame(Header { kind: 3, correlation: 77, ..Header::default() }, b""));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_ends_the_connection() {
    let limits = WireLimits { frame_time_max: Duration::from_secs(10), ..WireLimits::default() };
    let (mut raw, mut far, silo) = raw_peer(&limits).await;
    raw.write_all(&[0, 0, 3, 0]).await.unwrap();
    raw.write_all(&[16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        while raw.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let reason = far.closed().await;
    assert!(reason.starts_with("one frame took more than"), "{reason}");
    assert!((10..=13).contains(&began.elapsed().as_secs()), "after {:?}", began.elapsed());
    assert_eq!(silo.stats.refused(Cause::Slow), 1);
    dripping.abort();
}

/// A connection whose dialing side is in the hands of the test, after an honest handshake.
async fn raw_peer(limits: &WireLimits) -> (DuplexStream, End, crate::wire::Identity) {
    let (mut near, far) = tokio::io::duplex(4096);
    let (client, silo) = (client(secret(SECRET)), silo(secret(SECRET)));
    let (dialed, far) =
        tokio::join!(crate::wire::handshake::dial(&mut near, &client, limits), answer(far, &silo, limits));
    dialed.expect("dialed");
    (near, far.expect("accepted"), silo)
}

fn frame(header: Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::wire::frame::append(&mut bytes, header, usize::MAX, |out| out.extend_from_slice(body)).unwrap();
    bytes
}
