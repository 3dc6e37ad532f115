//! Work on an arbiter of a silo, as code has it that lives there: a raw actor beside entities, callers beside what they call.
//!
//! A silo owns its threads, and handlers are what runs there. So [`Driver`] is an entity whose handler runs whatever it is
//! given; with one worker it shares its arbiter with every other entity of the silo.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use grange::prelude::*;

/// Longer than anything measured takes.
const LIMIT: Duration = Duration::from_secs(3_600);

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What is to be run: it can't be an argument, because that has to be data.
static JOBS: Mutex<Option<HashMap<u64, Job>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Runs what it is given; host it with `.entity::<Driver>()`.
#[entity(volatile, key = u64)]
#[derive(Debug, Default)]
pub struct Driver;

#[entity]
impl Driver {
    async fn drive(&self, job: u64) {
        let job = JOBS.lock().expect("whole").as_mut().and_then(|jobs| jobs.remove(&job)).expect("it was put there");
        job().await;
    }
}

/// Runs this on an arbiter of the client's silo, and waits for it there.
///
/// # Panics
/// When it panics.
pub async fn run<T, F>(client: &Client, work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    run_by(client, 0, work).await
}

/// The same, by another driver, which may live on another arbiter: see [`drivers`].
///
/// # Panics
/// When it panics.
pub async fn run_by<T, F>(client: &Client, driver: u64, work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (done, result) = tokio::sync::oneshot::channel();
    let job: Job = Box::new(move || {
        Box::pin(async move {
            let _ = done.send(work().await);
        })
    });
    JOBS.lock().expect("whole").get_or_insert_default().insert(number, job);
    client.entity::<Driver>(driver).drive(number).timeout(LIMIT).await.expect("the work ends well");
    result.await.expect("the work ends well")
}

/// Drivers that live on so many different arbiters of the client's silo, which has as many.
pub async fn drivers(client: &Client, arbiters: usize) -> Vec<u64> {
    let (mut threads, mut drivers) = (HashSet::new(), Vec::new());
    for driver in 0.. {
        if threads.insert(run_by(client, driver, || async { std::thread::current().id() }).await) {
            drivers.push(driver);
        }
        if drivers.len() == arbiters {
            break;
        }
    }
    drivers
}

/// Runs this on a thread that has nothing else to do, in a runtime of its own, and waits for it.
///
/// # Panics
/// When it panics.
pub fn outside<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    });
    thread.join().expect("the work ends well")
}
