use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::fixture::*;
use crate::wire::{BindError, Cause, ConnectError, Insecure, Listener, Security, WireLimits};

#[tokio::test]
async fn frames_go_both_ways_over_tcp() {
    let (silo, client, limits) = (silo(secret(SECRET)), client(secret(SECRET)), WireLimits::default());
    let (address, mut accepted) = listen(&silo, &limits).await;
    let mut near = connect(&address, &client, &limits).await.expect("connected");
    let mut far = timeout(PATIENCE, accepted.recv()).await.expect("accepted in time").expect("accepted");
    assert_eq!(near.link.peer().incarnation, silo.incarnation());
    assert_eq!(near.link.peer().address.as_deref(), Some("127.0.0.1:7100"));
    assert_eq!(far.link.peer().incarnation, client.incarnation());

    near.link.send(message(7), |body| body.extend_from_slice(b"ask")).expect("sent");
    assert_eq!(far.event().await, Event::Frame(message(7), "ask".into()));
    far.link.send(message(7), |body| body.extend_from_slice(b"answer")).expect("sent");
    assert_eq!(near.event().await, Event::Frame(message(7), "answer".into()));

    near.link.close("enough");
    assert_eq!(near.closed().await, "enough");
    assert_eq!(far.closed().await, "the peer said goodbye: enough");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_refused_and_not_just_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = connect(&free.to_string(), &client(Security::open()), &WireLimits::default()).await;
    assert!(matches!(refused, Err(ConnectError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_socket_that_reached_itself_reached_nobody() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let itself = socket.connect(address).await.expect("TCP allows it");
    assert!(crate::wire::transport::is_itself(&itself));
}

/// Pings are off: a wake-up that is lost once hangs, and is not mended by the next tick.
#[test]
fn many_threads_share_a_connection_and_each_is_answered() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 2_000;
    let limits = WireLimits { ping_every: Duration::from_secs(3600), ..WireLimits::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (near, mut far) = runtime.block_on(async {
        let (address, mut accepted) = listen(&silo(secret(SECRET)), &limits).await;
        let near = connect(&address, &client(secret(SECRET)), &limits).await.expect("connected");
        (near, timeout(PATIENCE, accepted.recv()).await.unwrap().unwrap())
    });
    // Each event of the accepting end is answered; each answer goes to the thread that it is for.
    runtime.spawn(async move {
        while let Some(Event::Frame(header, body)) = far.events.recv().await {
            far.link.send(header, |out| out.extend_from_slice(&body)).expect("answered");
        }
    });
    let (answers, waiting): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| std::sync::mpsc::channel()).unzip();
    let link = near.link.clone();
    let mut events = near.events;
    runtime.spawn(async move {
        while let Some(Event::Frame(header, body)) = events.recv().await {
            let _ = answers[header.correlation as usize].send(body);
        }
    });
    std::thread::scope(|scope| {
        for (thread, answers) in (0..THREADS).zip(waiting) {
            let link = &link;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let said = (round << 8 | thread).to_le_bytes();
                    link.send(message(thread), |body| body.extend_from_slice(&said)).expect("sent");
                    let answer =
                        answers.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{thread}: no answer {round}"));
                    assert_eq!(answer.to_vec(), said);
                }
            });
        }
    });
    link.close("done");
}

#[tokio::test]
async fn outside_loopback_nothing_listens_without_a_secret_or_tls() {
    let limits = WireLimits::default();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let bound = Listener::bind(address, &Security::open(), &limits, &Default::default()).await;
        assert!(matches!(bound, Err(BindError::Insecure(Insecure::Open { .. }))), "{address}: {bound:?}");
    }
    let bound = Listener::bind("127.0.0.1:0", &secret("too short"), &limits, &Default::default()).await;
    assert!(matches!(bound, Err(BindError::Insecure(Insecure::SecretShort { .. }))), "{bound:?}");
    Listener::bind("0.0.0.0:0", &secret(SECRET), &limits, &Default::default()).await.expect("a secret is enough");
}

#[tokio::test]
async fn a_stranger_that_drips_bytes_is_gone_at_the_deadline() {
    let me = silo(secret(SECRET));
    let limits = WireLimits { handshake_timeout: Duration::from_millis(300), ..WireLimits::default() };
    let (address, _accepted) = listen(&me, &limits).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"grange\n\x01\0\x01").await.unwrap();
    let began = Instant::now();
    let ended = timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("ended");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    assert_eq!(me.stats.refused(Cause::Slow), 1);
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_and_make_room_again() {
    let (me, client) = (silo(secret(SECRET)), client(secret(SECRET)));
    let limits = WireLimits { connections_per_ip_max: 2, ..WireLimits::default() };
    let (address, _accepted) = listen(&me, &limits).await;
    let mut first = connect(&address, &client, &limits).await.expect("there is room");
    let _second = connect(&address, &client, &limits).await.expect("there is room");
    let third = connect(&address, &client, &limits).await;
    assert!(matches!(third, Err(ConnectError::Handshake { .. })), "{third:?}");
    assert_eq!(me.stats.refused(Cause::ConnectionsOfIp), 1);

    first.link.close("make room");
    first.closed().await;
    let until = Instant::now() + PATIENCE;
    while let Err(refused) = connect(&address, &client, &limits).await {
        assert!(Instant::now() < until, "no room was made: {refused}");
    }
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits() {
    let (me, wrong) = (silo(secret(SECRET)), client(secret("another secret of enough bytes")));
    let limits = WireLimits {
        failures_per_ip_max: 3,
        penalty: Duration::from_millis(300),
        penalty_window: Duration::from_secs(60),
        ..WireLimits::default()
    };
    let (address, _accepted) = listen(&me, &limits).await;
    for failed in 1..=3 {
        connect(&address, &wrong, &limits).await.expect_err("the secret is wrong");
        // The refusal is told before it is counted.
        let until = Instant::now() + PATIENCE;
        while me.stats.refused(Cause::Untrusted) < failed {
            assert!(Instant::now() < until, "failure {failed} was not counted");
            tokio::task::yield_now().await;
        }
    }
    let began = Instant::now();
    connect(&address, &wrong, &limits).await.expect_err("the secret is wrong");
    assert!(began.elapsed() >= limits.penalty, "took {:?}", began.elapsed());
    // Others behind the same address are slow, and not locked out.
    connect(&address, &client(secret(SECRET)), &limits).await.expect("the secret is right");
}
