//! A silo's own threads: its actix system, and an arbiter for each worker.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use actix_rt::{Arbiter, System};
use tokio::sync::oneshot;

use crate::entity::guarded;
use crate::silo::agenda;
use crate::silo::door::Registration;
use crate::silo::shared::{Kinds, Shared};
use crate::silo::sweep::{SWEEP, Sweep};
use crate::store::StoreError;
#[cfg(feature = "testing")]
use crate::{clock::BEAT, silo::watch::Watch, world::Spawner};

/// The silo's thread: its actix system, its arbiters, its agenda.
pub(crate) fn host(
    shared: &Arc<Shared>,
    kinds: &[Arc<dyn Registration>],
    started: oneshot::Sender<Result<System, StoreError>>,
    _ended: &mpsc::Sender<()>,
) {
    let system = System::new();
    let arbiters = system.block_on(async {
        let (mut arbiters, mut ready) = (Vec::new(), Vec::new());
        for index in 0..shared.arbiters.len() {
            let arbiter = Arbiter::new();
            let handle = arbiter.handle();
            // Dropped with its connection where the silo is about to end.
            let _ = shared.arbiters[index].settle.set(Box::new(move |running| _ = handle.spawn(running)));
            let (kinds, shared) = (kinds.to_vec(), shared.clone());
            let (up, is_up) = oneshot::channel();
            arbiter.spawn(async move {
                let _ = up.send(begin(&shared, &kinds, index).await);
            });
            ready.push(is_up);
            arbiters.push(arbiter);
        }
        for is_up in ready {
            if let Err(error) = is_up.await.unwrap_or(Err(StoreError::Closed)) {
                let _ = started.send(Err(error));
                System::current().stop();
                return arbiters;
            }
        }
        open(shared, kinds);
        let _ = started.send(Ok(System::current()));
        arbiters
    });
    if let Err(error) = system.run() {
        tracing::error!(target: "grange", %error, "the silo's system ended with an error");
    }
    // What is still in them is dropped by their own threads, and its callers hear of it; only then the clock stops.
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join();
    }
}

/// The same in a simulation: everything on this very thread, as tasks of the process that polls this.
#[cfg(feature = "testing")]
pub(crate) async fn host_here(
    shared: Arc<Shared>,
    kinds: Vec<Arc<dyn Registration>>,
    spawner: Spawner,
    started: oneshot::Sender<Result<(), StoreError>>,
) {
    for (index, desk) in shared.arbiters.iter().enumerate() {
        let spawner = spawner.clone();
        let _ = desk.settle.set(Box::new(move |running| spawner.spawn(running)));
        if let Err(error) = begin(&shared, &kinds, index).await {
            return drop(started.send(Err(error)));
        }
    }
    open(&shared, &kinds);
    let mut watch = Watch::new(shared);
    let _ = started.send(Ok(()));
    loop {
        tokio::time::sleep(BEAT).await;
        watch.beat();
    }
}

/// Starts an arbiter's hosts, on its own thread.
async fn begin(shared: &Arc<Shared>, kinds: &[Arc<dyn Registration>], arbiter: usize) -> Result<(), StoreError> {
    shared.store.open_here().await?;
    let hosts = kinds.iter().map(|kind| kind.start(shared, arbiter)).collect();
    actix_rt::spawn(look_after(hosts, shared.clone(), arbiter));
    Ok(())
}

/// When all of them have started.
fn open(shared: &Arc<Shared>, kinds: &[Arc<dyn Registration>]) {
    let mut opened = Kinds::default();
    for kind in kinds {
        let (type_id, port, letterbox) = kind.open(shared);
        opened.by_type.insert(type_id, port);
        opened.by_name.insert(kind.kind(), letterbox);
    }
    let _ = shared.kinds.set(opened);
    actix_rt::spawn(agenda::watch(shared.clone()));
}

/// A bug of ours must not keep an arbiter from being looked after.
fn broken_sweep(panic: &str) -> usize {
    tracing::error!(target: "grange", panic, "a sweep panicked: please report it");
    1
}

/// Sweeps an arbiter's hosts, and says how much lives there.
async fn look_after(hosts: Vec<Rc<dyn Sweep>>, shared: Arc<Shared>, arbiter: usize) {
    let desk = &shared.arbiters[arbiter];
    loop {
        tokio::time::sleep(SWEEP).await;
        let live: usize = hosts
            .iter()
            .map(|host| guarded(|| host.clone().sweep()).unwrap_or_else(|panic| broken_sweep(&panic)))
            .sum();
        desk.live.store(live, Ordering::Relaxed);
        desk.sweeps.fetch_add(1, Ordering::Release);
    }
}
