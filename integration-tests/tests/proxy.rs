//! The proxy makes the faults that its name says, and none when it is healed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use integration_tests::proxy::{Direction, Lane, Proxy};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(150);

/// Sends back whatever comes, and ends when the other side does.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(word)?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let read = stream.read(&mut [0; 16]);
    stream.set_read_timeout(Some(SOON)).unwrap();
    matches!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
}

#[test]
fn without_a_fault_everything_passes_and_is_counted() {
    let proxy = Proxy::start(&echo(), 1);
    let mut stream = connect(&proxy);
    let large = vec![7; 3_000_000];
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        writing.write_all(&large).unwrap();
        writing.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert_eq!((back.len(), proxy.connections()), (3_000_000, 1));
    assert_eq!((proxy.bytes(Lane::There), proxy.bytes(Lane::Back)), (3_000_000, 3_000_000));
}

#[test]
fn a_cut_ends_connections_and_new_ones_are_made() {
    let proxy = Proxy::start(&echo(), 1);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, b"one").unwrap(), b"one");
    proxy.cut();
    assert_eq!(stream.read(&mut [0; 8]).map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(ask(&mut connect(&proxy), b"two").unwrap(), b"two");
}

#[test]
fn a_refusing_proxy_is_refused_by_the_system_and_heals() {
    let proxy = Proxy::start(&echo(), 1);
    let mut stream = connect(&proxy);
    proxy.refuse();
    assert!(stream.read(&mut [0; 8]).is_err());
    let start = Instant::now();
    // The thread closes its listener a moment later.
    while TcpStream::connect(proxy.address()).map_err(|error| error.kind()).is_ok() {
        assert!(start.elapsed() < SOON, "it still accepts: {proxy:?}");
    }
    let refused = TcpStream::connect(proxy.address()).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
    proxy.heal();
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(proxy.address()) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < SOON, "{error}: {proxy:?}"),
        }
    };
    assert_eq!(ask(&mut stream, b"again").unwrap(), b"again");
}

#[test]
fn what_is_held_in_one_direction_arrives_when_it_heals() {
    let proxy = Proxy::start(&echo(), 1);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, b"before").unwrap(), b"before");
    proxy.hold(Direction::One(Lane::Back));
    stream.write_all(b"held").unwrap();
    assert!(is_silent(&mut stream));
    // The other way is open: it has arrived there.
    assert_eq!((proxy.bytes(Lane::There), proxy.bytes(Lane::Back)), (10, 6));
    let mut new = connect(&proxy);
    new.write_all(b"new").unwrap();
    assert!(is_silent(&mut new));
    proxy.heal();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
    let mut answer = [0; 3];
    new.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"new");
}

#[test]
fn a_delay_is_kept_and_a_throttle_too() {
    let proxy = Proxy::start(&echo(), 1);
    let mut stream = connect(&proxy);
    proxy.delay(Direction::Both, Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(ask(&mut stream, b"slow").unwrap(), b"slow");
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    proxy.heal();
    proxy.throttle(Direction::One(Lane::There), 100_000);
    let start = Instant::now();
    ask(&mut stream, &[1; 60_000]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
}

#[test]
fn a_connection_is_cut_in_the_midst_at_a_place_that_the_seed_decides() {
    let place = |seed| {
        let proxy = Proxy::start(&echo(), seed);
        proxy.cut_within(Direction::One(Lane::There), 1_000);
        let mut stream = connect(&proxy);
        let mut back = Vec::new();
        let _ = stream.write_all(&[3; 4_000]);
        let ended = stream.read_to_end(&mut back);
        assert!(ended.is_err(), "it ended in order: {proxy:?}");
        proxy.bytes(Lane::There)
    };
    let (one, again, other) = (place(1), place(1), place(2));
    assert!(one < 1_000 && one == again && one != other, "{one} {again} {other}");
}

#[test]
fn it_can_lead_elsewhere() {
    let proxy = Proxy::start("127.0.0.1:1", 1);
    assert!(ask(&mut connect(&proxy), b"nobody").is_err());
    proxy.lead_to(&echo());
    assert_eq!(ask(&mut connect(&proxy), b"somebody").unwrap(), b"somebody");
}
