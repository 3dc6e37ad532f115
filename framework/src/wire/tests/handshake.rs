use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use uuid::Uuid;

use super::fixture::*;
use crate::wire::hello::{CHALLENGE_BYTES, HELLO_BYTES};
use crate::wire::{AcceptError, Cause, ConnectError, Identity, Refusal, Role, Security, WireLimits};

#[tokio::test]
async fn the_right_secret_opens() {
    let (silo, client) = (silo(secret(SECRET)), client(secret(SECRET)));
    let (near, far) = shake(&client, &silo).await;
    let (near, far) = (near.expect("dialed"), far.expect("accepted"));
    assert_eq!((near.link.peer().role, near.link.peer().incarnation), (Role::Silo, silo.incarnation()));
    assert_eq!((far.link.peer().role, far.link.peer().incarnation), (Role::Client, client.incarnation()));
    assert_eq!((near.link.peer().protocol, far.link.peer().protocol), (1, 1));
    assert_ne!(near.link.id(), far.link.id());
}

#[tokio::test]
async fn a_wrong_or_missing_secret_is_refused_with_no_reason() {
    let cases = [
        (secret("another secret of enough bytes"), secret(SECRET)),
        (Security::open(), secret(SECRET)),
        (secret(SECRET), Security::open()),
    ];
    for (dialer, acceptor) in cases {
        let silo = silo(acceptor);
        let (near, far) = shake(&client(dialer), &silo).await;
        let refused =
            ConnectError::Rejected { address: "127.0.0.1:7100".into(), refusal: Refusal::Untrusted, incarnation: None };
        assert_eq!(near.unwrap_err().to_string(), refused.to_string());
        assert_eq!(far.unwrap_err().cause(), Cause::Untrusted);
    }
}

#[tokio::test]
async fn a_stranger_learns_nothing_but_a_random_number() {
    let silo = silo(secret(SECRET));
    let (mut raw, far) = tokio::io::duplex(4096);
    let limits = WireLimits::default();
    let stranger = async {
        raw.write_all(&hello(&client(Security::open())).await).await.unwrap();
        raw.write_all(&[7; 32]).await.unwrap();
        let mut heard = Vec::new();
        raw.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (heard, refused) = tokio::join!(stranger, answer(far, &silo, &limits));
    assert_eq!(refused.unwrap_err().cause(), Cause::Untrusted);
    let (challenge, verdict) = heard.split_at(CHALLENGE_BYTES);
    assert!(challenge.starts_with(b"grange\n\x01"));
    let mut generic = [0; 52];
    generic[0] = 1;
    assert_eq!(verdict, generic);
}

#[tokio::test]
async fn another_cluster_is_refused_by_name_once_it_is_trusted() {
    let (silo, other) = (silo(secret(SECRET)), other_cluster(secret(SECRET)));
    let (near, far) = shake(&other, &silo).await;
    let rejected = near.unwrap_err();
    assert!(
        matches!(&rejected, ConnectError::Rejected { refusal: Refusal::Cluster, incarnation: Some(who), .. } if *who == silo.incarnation()),
        "{rejected:?}"
    );
    assert_eq!(far.unwrap_err().cause(), Cause::Cluster);
    // A stranger does not learn that either.
    let (near, _) = shake(&other_cluster(Security::open()), &silo).await;
    assert!(matches!(near, Err(ConnectError::Rejected { refusal: Refusal::Untrusted, incarnation: None, .. })));
}

#[tokio::test]
async fn builds_agree_on_the_newest_protocol_that_both_speak() {
    let mut silo = silo(secret(SECRET));
    let mut client = client(secret(SECRET));
    (silo.protocols, client.protocols) = (1..=3, 2..=5);
    let (near, far) = shake(&client, &silo).await;
    assert_eq!((near.unwrap().link.peer().protocol, far.unwrap().link.peer().protocol), (3, 3));

    (silo.protocols, client.protocols) = (1..=3, 4..=5);
    let (near, far) = shake(&client, &silo).await;
    assert!(matches!(near, Err(ConnectError::Rejected { refusal: Refusal::Protocol, incarnation: Some(_), .. })));
    assert_eq!(far.unwrap_err().cause(), Cause::Protocol);
}

#[tokio::test]
async fn a_dead_incarnation_is_told_so() {
    let silo = silo(secret(SECRET)).admitting(|_, _| false);
    let (near, far) = shake(&client(secret(SECRET)), &silo).await;
    assert!(matches!(near, Err(ConnectError::Rejected { refusal: Refusal::Dead, .. })));
    assert_eq!(far.unwrap_err().cause(), Cause::Dead);
}

#[tokio::test]
async fn a_silo_that_rejoined_shows_its_new_incarnation() {
    let silo = silo(secret(SECRET));
    let clone = silo.clone();
    let now = Uuid::new_v4();
    silo.rejoin(now);
    let (near, _far) = shake(&client(secret(SECRET)), &clone).await;
    assert_eq!(near.unwrap().link.peer().incarnation, now);
}

#[tokio::test]
async fn an_acceptor_without_the_secret_is_not_trusted() {
    // It says yes to everybody, to hear what they would say to a silo.
    let me = client(secret(SECRET));
    let (near, mut raw) = tokio::io::duplex(4096);
    let limits = WireLimits::default();
    let impostor = async {
        read(&mut raw, HELLO_BYTES).await;
        raw.write_all(&crate::wire::hello::challenge(&[1; 32])).await.unwrap();
        read(&mut raw, 32).await;
        let mut verdict = [0; 52];
        (verdict[1], verdict[3]) = (1, 1);
        raw.write_all(&verdict).await.unwrap();
        let mut more = Vec::new();
        raw.read_to_end(&mut more).await.unwrap();
        more
    };
    let (dialed, heard) = tokio::join!(dial(near, &me, &limits), impostor);
    assert!(matches!(dialed, Err(ConnectError::Untrusted { .. })), "{dialed:?}");
    assert!(heard.is_empty(), "something was said to an impostor");
}

#[tokio::test]
async fn a_proof_that_is_sent_back_is_none() {
    // The impostor answers the dialer's proof with that proof.
    let me = silo(secret(SECRET));
    let (near, mut raw) = tokio::io::duplex(4096);
    let limits = WireLimits::default();
    let mirror = async {
        read(&mut raw, HELLO_BYTES).await;
        raw.write_all(&crate::wire::hello::challenge(&[1; 32])).await.unwrap();
        let proof = read(&mut raw, 32).await;
        let mut verdict = vec![0, 1, 0, 1];
        verdict.extend_from_slice(me.incarnation().as_bytes());
        verdict.extend_from_slice(&proof);
        raw.write_all(&verdict).await.unwrap();
    };
    let (dialed, ()) = tokio::join!(dial(near, &me, &limits), mirror);
    assert!(matches!(dialed, Err(ConnectError::Untrusted { .. })), "{dialed:?}");
}

#[tokio::test]
async fn a_handshake_that_is_replayed_is_refused() {
    let (silo, client) = (silo(secret(SECRET)), client(secret(SECRET)));
    let (near, mut tapped) = tokio::io::duplex(4096);
    let (mut tap, far) = tokio::io::duplex(4096);
    let limits = WireLimits::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listening = {
        let heard = heard.clone();
        async move {
            // Passes an honest handshake on, and writes down what the dialing side says.
            for (from_dialer, bytes) in [(true, HELLO_BYTES), (false, CHALLENGE_BYTES), (true, 32), (false, 52)] {
                let (from, to) = if from_dialer { (&mut tapped, &mut tap) } else { (&mut tap, &mut tapped) };
                let said = read(from, bytes).await;
                to.write_all(&said).await.unwrap();
                if from_dialer {
                    heard.lock().unwrap().extend_from_slice(&said);
                }
            }
            let _ = tokio::io::copy_bidirectional(&mut tapped, &mut tap).await;
        }
    };
    let listening = tokio::spawn(listening);
    let (dialed, accepted) = tokio::join!(dial(near, &client, &limits), answer(far, &silo, &limits));
    dialed.expect("dialed");
    accepted.expect("accepted");
    listening.abort();

    let (mut raw, far) = tokio::io::duplex(4096);
    let heard = heard.lock().unwrap().clone();
    raw.write_all(&heard).await.unwrap();
    let refused = answer(far, &silo, &limits).await;
    assert_eq!(refused.unwrap_err().cause(), Cause::Untrusted);
}

#[tokio::test]
async fn an_unknown_role_is_refused_only_after_the_proof() {
    let (silo, limits) = (silo(secret(SECRET)), WireLimits::default());
    let (mut raw, far) = tokio::io::duplex(4096);
    let dialer = async {
        let mut hello = hello(&client(secret(SECRET))).await;
        hello[12] = 9;
        raw.write_all(&hello).await.unwrap();
        let challenge = read(&mut raw, CHALLENGE_BYTES).await;
        let direction = crate::wire::auth::Direction::Dial;
        raw.write_all(&secret(SECRET).key().prove(direction, &[&hello, &challenge])).await.unwrap();
        read(&mut raw, 52).await
    };
    let (verdict, refused) = tokio::join!(dialer, answer(far, &silo, &limits));
    assert_eq!(verdict[0], 4);
    assert_eq!(refused.unwrap_err().cause(), Cause::Role);
}

#[tokio::test]
async fn what_is_no_hello_is_refused_with_silence() {
    let (silo, limits) = (silo(secret(SECRET)), WireLimits::default());
    let (mut raw, far) = tokio::io::duplex(4096);
    raw.write_all(&[b'G'; 200]).await.unwrap();
    assert_eq!(answer(far, &silo, &limits).await.unwrap_err().cause(), Cause::NotGrange);
    let mut heard = Vec::new();
    raw.read_to_end(&mut heard).await.unwrap();
    assert!(heard.is_empty());
}

#[tokio::test]
async fn a_first_frame_that_is_too_large_is_refused() {
    for (size, cause) in [(4097u32, Cause::NotGrange), (u32::MAX, Cause::NotGrange), (3, Cause::NotGrange)] {
        let (silo, limits) = (silo(Security::open()), WireLimits::default());
        let (mut raw, far) = tokio::io::duplex(4096);
        let dialer = async {
            let hello = hello(&client(Security::open())).await;
            raw.write_all(&hello).await.unwrap();
            let challenge = read(&mut raw, CHALLENGE_BYTES).await;
            let direction = crate::wire::auth::Direction::Dial;
            raw.write_all(&Security::open().key().prove(direction, &[&hello, &challenge])).await.unwrap();
            raw.write_all(&size.to_be_bytes()).await.unwrap();
        };
        let ((), refused) = tokio::join!(dialer, answer(far, &silo, &limits));
        assert_eq!(refused.unwrap_err().cause(), cause, "a frame of {size} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stands_still_ends_at_its_deadline_on_both_sides() {
    let limits = WireLimits::default();
    let began = Instant::now();
    let (_raw, far) = tokio::io::duplex(4096);
    let accepted = answer(far, &silo(secret(SECRET)), &limits).await;
    assert!(matches!(accepted, Err(AcceptError::Slow(_))), "{accepted:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));

    let (near, _raw) = tokio::io::duplex(4096);
    let dialed = dial(near, &client(secret(SECRET)), &limits).await;
    assert!(matches!(dialed, Err(ConnectError::Timeout { .. })), "{dialed:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn a_secret_from_a_file_is_without_the_end_of_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\r\n")).unwrap();
    let read = Security::open().secret(crate::wire::Secret::from_file(&path).unwrap());
    let (near, far) = shake(&client(read), &silo(secret(SECRET))).await;
    near.expect("dialed");
    far.expect("accepted");

    std::fs::write(&path, " \n").unwrap();
    assert!(crate::wire::Secret::from_file(&path).unwrap_err().contains("empty"));
    assert!(crate::wire::Secret::from_file(&directory.path().join("none")).is_err());
}

#[test]
fn a_secret_is_never_printed() {
    assert!(!format!("{:?} {:?}", secret(SECRET), silo(secret(SECRET))).contains("horse"));
}

fn other_cluster(security: Security) -> Identity {
    Identity::new(Role::Client, Uuid::new_v4(), "shop", None, security)
}

/// The first words of a dialer.
async fn hello(me: &Identity) -> Vec<u8> {
    let (mut near, mut far) = tokio::io::duplex(4096);
    let me = me.clone();
    let dialing = tokio::spawn(async move {
        let _ = crate::wire::handshake::dial(&mut near, &me, &WireLimits::default()).await;
    });
    let hello = read(&mut far, HELLO_BYTES).await;
    dialing.abort();
    hello
}

async fn read(stream: &mut tokio::io::DuplexStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("in time").expect("read");
    read
}
