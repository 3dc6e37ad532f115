use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::proxy::conditions::Conditions;
use crate::proxy::lane::carry;
use crate::proxy::{Counts, Lane};
use crate::random::Random;

type Watch = watch::Receiver<Conditions>;

/// Accepts, while the conditions let it, until it is dropped.
pub(crate) async fn serve(
    address: SocketAddr,
    mut watching: Watch,
    control: Arc<watch::Sender<Conditions>>,
    counts: Arc<Counts>,
    mut random: Random,
    listening: mpsc::Sender<io::Result<()>>,
) {
    let mut listener = match listen(address) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let _ = listening.send(Err(error));
            return;
        }
    };
    let _ = listening.send(Ok(()));
    let mut connections = JoinSet::new();
    loop {
        let refuses = watching.borrow_and_update().refuses;
        match (refuses, &listener) {
            // Closed, so that who connects is refused by the system.
            (true, Some(_)) => listener = None,
            (false, None) => listener = listen(address).ok(),
            _ => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Some((stream, _)) = accepted {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connect(stream, control.subscribe(), counts.clone(), random.fork()));
            },
            changed = watching.changed() => if changed.is_err() { return },
            _ = connections.join_next(), if !connections.is_empty() => {}
            // The port may be somebody else's for a moment.
            () = tokio::time::sleep(Duration::from_millis(20)), if listener.is_none() && !refuses => {}
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// One connection, to its end.
async fn connect(near: TcpStream, mut watching: Watch, counts: Arc<Counts>, random: Random) {
    let near = Arc::new(near);
    let joined = OnceLock::new();
    let cuts = watching.borrow_and_update().cuts;
    let cut = {
        let mut watching = watching.clone();
        async move {
            let _ = watching.wait_for(|conditions| conditions.cuts != cuts).await;
        }
    };
    let ends = async {
        let target = watching.wait_for(|conditions| !conditions.is_silent()).await.map(|now| now.target.clone());
        let Ok(target) = target else { return false };
        let Ok(far) = TcpStream::connect(&target).await else { return false };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let far: &Arc<TcpStream> = joined.get_or_init(|| Arc::new(far));
        let there = carry(near.clone(), far.clone(), Lane::There, watching.clone(), &counts, random.clone());
        let back = carry(far.clone(), near.clone(), Lane::Back, watching.clone(), &counts, random);
        // One way may end before the other; one that is broken ends both.
        tokio::try_join!(there, back).is_ok()
    };
    let in_order = tokio::select! { in_order = ends => in_order, () = cut => false };
    if !in_order {
        reset(&near);
        joined.get().into_iter().for_each(|far| reset(far));
    }
}

/// When it is closed, the other side sees a reset and no orderly end.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
