use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::proxy::conditions::{Conditions, LaneConditions};
use crate::proxy::{Counts, Lane};
use crate::random::Random;

const CHUNK_BYTES: usize = 16 * 1024;

/// How many chunks may be on their way: with a delay this is the bandwidth times the delay; when they are used up the
/// sender is no longer read, and TCP holds it back.
const CHUNKS: usize = 256;

/// Carries what comes from one side to the other, as the conditions of this lane want it, to the end of the stream.
///
/// # Errors
/// When a side is broken, or the conditions cut it.
pub(crate) async fn carry(
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    lane: Lane,
    watching: watch::Receiver<Conditions>,
    counts: &Counts,
    random: Random,
) -> io::Result<()> {
    let (queue, queued) = mpsc::channel(CHUNKS);
    let reading = read(&from, queue);
    let writing = write(&to, queued, lane, watching, counts, random);
    tokio::try_join!(reading, writing).map(|_| ())
}

async fn read(from: &TcpStream, queue: mpsc::Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        from.readable().await?;
        match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let chunk = buffer.get(..count).unwrap_or_default().to_vec();
                if queue.send((Instant::now(), chunk)).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write(
    to: &TcpStream,
    mut queued: mpsc::Receiver<(Instant, Vec<u8>)>,
    lane: Lane,
    mut watching: watch::Receiver<Conditions>,
    counts: &Counts,
    mut random: Random,
) -> io::Result<()> {
    // How much may still pass before the cut.
    let mut allowed = None;
    while let Some((came, chunk)) = queued.recv().await {
        let conditions = may_pass(&mut watching, lane).await?;
        sleep_until(came + conditions.delay).await;
        // A fault may have begun while it was on its way.
        let conditions = may_pass(&mut watching, lane).await?;
        let mut chunk = &chunk[..];
        let mut cuts = false;
        match conditions.cut_within {
            None => allowed = None,
            Some(within) => {
                let left = allowed.unwrap_or_else(|| random.below(within));
                cuts = chunk.len() as u64 > left;
                if cuts {
                    chunk = &chunk[..usize::try_from(left).unwrap_or(0)];
                }
                allowed = Some(left - chunk.len() as u64);
            }
        }
        write_all(to, chunk).await?;
        counts.bytes[lane as usize].fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if cuts {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(rate) = conditions.bytes_per_second {
            sleep(Duration::from_secs_f64(chunk.len() as f64 / rate as f64)).await;
        }
    }
    may_pass(&mut watching, lane).await?;
    // The end of this way, while the other may go on.
    rustix::net::shutdown(to, Shutdown::Write).map_err(Into::into)
}

/// Waits while the lane holds.
async fn may_pass(watching: &mut watch::Receiver<Conditions>, lane: Lane) -> io::Result<LaneConditions> {
    let passes = watching.wait_for(|conditions| !conditions.lanes[lane as usize].holds).await;
    passes.map(|conditions| conditions.lanes[lane as usize]).map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
