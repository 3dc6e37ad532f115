use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use actix_rt::System;
use tokio::sync::oneshot;

use crate::entity::Realm;
use crate::messaging::{DeadLetter, Parcel, decode};
use crate::silo::builder::SiloBuilder;
use crate::silo::network::Network;
use crate::silo::shared::{Post, Shared};
use crate::silo::signals;
use crate::silo::sweep::SWEEP;
use crate::store::Stats;
use crate::telemetry::Metrics;
use crate::wire::EntityId;
use crate::{Error, Result};

/// A process's part of grange: hosts activations on threads of its own.
///
/// Dropping it without [`shutdown`](Self::shutdown) stops it where it is: what was answered is in the store, turns that
/// run are cut off.
pub struct Silo {
    shared: Arc<Shared>,
    engine: Engine,
    /// A store that was given is its giver's to close.
    owns_store: bool,
    pub(crate) network: Option<Network>,
}

/// What a silo runs on.
pub(crate) enum Engine {
    Threads {
        system: System,
        /// They end by themselves: the clock when every arbiter has.
        _threads: [JoinHandle<()>; 2],
    },
    #[cfg(feature = "testing")]
    Simulated(Arc<dyn crate::world::Simulated>),
}

impl Engine {
    /// A moment, by the silo's own clock: the caller may be in any runtime, or in none. `false`: the silo is dead.
    async fn pause(&self) -> bool {
        match self {
            Self::Threads { system, .. } => {
                let (done, wait) = oneshot::channel();
                system.arbiter().spawn(async move {
                    tokio::time::sleep(SWEEP * 2).await;
                    let _ = done.send(());
                });
                wait.await.is_ok()
            }
            #[cfg(feature = "testing")]
            Self::Simulated(world) => world.spawner().run(tokio::time::sleep(SWEEP * 2)).await.is_some(),
        }
    }

    fn stop(&self) {
        match self {
            Self::Threads { system, .. } => system.stop(),
            #[cfg(feature = "testing")]
            Self::Simulated(world) => world.end(),
        }
    }
}

impl fmt::Debug for Silo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Silo({})", self.shared.incarnation())
    }
}

impl Silo {
    pub(crate) fn new(shared: Arc<Shared>, engine: Engine, owns_store: bool) -> Self {
        Self { shared, engine, owns_store, network: None }
    }

    /// Describes a silo.
    pub fn builder() -> SiloBuilder {
        SiloBuilder::new()
    }

    /// Describes a silo by the environment. What is called on the builder afterwards wins.
    ///
    /// | variable | as |
    /// |---|---|
    /// | `GRANGE_REDIS` | [`redis`](SiloBuilder::redis) |
    /// | `GRANGE_EMBEDDED` | [`embedded`](SiloBuilder::embedded), a directory |
    /// | `GRANGE_IN_MEMORY=1` | [`in_memory`](SiloBuilder::in_memory) |
    /// | `GRANGE_CLUSTER` | [`cluster`](SiloBuilder::cluster) |
    /// | `GRANGE_LISTEN`, `GRANGE_ADVERTISE` | [`listen`](SiloBuilder::listen), [`advertise`](SiloBuilder::advertise) |
    /// | `GRANGE_SECRET_FILE` | [`secret_file`](SiloBuilder::secret_file) |
    /// | `GRANGE_TLS_CA`, `GRANGE_TLS_CERT`, `GRANGE_TLS_KEY` | [`tls`](SiloBuilder::tls), three PEM files |
    /// | `GRANGE_WEIGHT`, `GRANGE_WORKERS` | numbers |
    ///
    /// Another variable that begins with `GRANGE_` is not read, and the log says so once, with the name that is near.
    pub fn from_env() -> SiloBuilder {
        crate::variables::warn_of_unknown();
        SiloBuilder::new().with_env(&crate::variables::variable)
    }

    /// Where others reach this silo; `None`: it does not listen.
    pub fn address(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.address.as_str())
    }

    /// This life of the silo, as the store knows it.
    #[cfg(feature = "testing")]
    pub(crate) fn incarnation(&self) -> crate::store::Incarnation {
        self.shared.incarnation()
    }

    /// The version of the table by which it places entities, if that gives it some.
    #[cfg(feature = "testing")]
    pub(crate) fn table_version(&self) -> Option<u64> {
        let table = self.shared.courier()?.table();
        (!table.owned_by(self.shared.incarnation()).is_empty()).then(|| table.version())
    }

    pub(crate) fn realm(&self) -> Arc<dyn Realm> {
        self.shared.clone()
    }

    /// What the silo did since it started.
    pub fn metrics(&self) -> Metrics {
        Metrics::sum(self.shared.arbiters.iter().map(|arbiter| &arbiter.shard))
    }

    /// What its connections counted since it started, by name: accepted, refused and why, frames, bytes. Empty where it does
    /// not listen.
    pub fn wire_counters(&self) -> Vec<(String, u64)> {
        self.network.as_ref().map(Network::counters).unwrap_or_default()
    }

    /// What its store did since it was opened.
    pub fn store_stats(&self) -> Stats {
        self.shared.store.stats()
    }

    /// How many entities are in memory, to within a sweep of 20 ms.
    pub fn activations(&self) -> usize {
        self.shared.arbiters.iter().map(|desk| desk.live.load(Ordering::Relaxed)).sum()
    }

    /// At most `limit` dead letters: messages that ended without their effect and had no continuation to tell. The
    /// entity that holds each, and its number there.
    ///
    /// # Errors
    /// When the store does not answer, or a letter can't be decoded.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<(EntityId, u64, DeadLetter)>> {
        let letters = self.shared.store.letters(limit).await?;
        letters
            .into_iter()
            .map(|(entity, number, letter)| {
                let letter =
                    decode(&letter).map_err(|error| Error::Stopped(format!("a letter of {entity}: {error}")))?;
                Ok((entity, number, letter))
            })
            .collect()
    }

    /// Drops a dead letter that somebody has seen to. It is gone a moment later; listing them again shows it.
    pub fn drop_dead_letter(&self, entity: &EntityId, number: u64) {
        self.shared.post(Post::Parcel(Parcel::DropLetter { entity: entity.clone(), number }));
    }

    /// Tries a dead letter again, as [`dead_letters`](Self::dead_letters) listed it: it is no dead letter any more, and a new
    /// message with the same content goes to the same handler, once. It can become a dead letter again.
    pub fn replay_dead_letter(&self, entity: &EntityId, number: u64, letter: &DeadLetter) {
        let (entity, message) = (entity.clone(), Arc::new(letter.message.clone()));
        self.shared.post(Post::Parcel(Parcel::ReplayLetter { entity, number, message }));
    }

    /// Finishes what runs and waits, commits, runs `on_deactivate`, releases, and stops. New calls are refused. Messages
    /// that are not delivered yet stay in their outboxes, and go on when a silo is started over the same store.
    ///
    /// # Errors
    /// [`Error::Stopped`] when turns were still at work after the limit for it: they were cut off, and rolled back.
    /// [`Error::NotGivenBack`] when the store could not be told that the silo leaves: what was answered is in the store, and
    /// the other silos take its entities over when its lease is over.
    pub async fn shutdown(mut self) -> Result<()> {
        self.shared.drain();
        if let Some(network) = &self.network {
            network.drain().await;
        }
        let deadline = tokio::time::Instant::now() + self.shared.limits.drain;
        // Two sweeps later: the first may be at work now, the second has seen that the silo drains.
        let sweeps = || self.shared.arbiters.iter().map(|desk| desk.sweeps.load(Ordering::Acquire));
        let enough: Vec<u64> = sweeps().map(|sweeps| sweeps + 2).collect();
        let has_drained = || sweeps().zip(&enough).all(|(sweeps, enough)| sweeps >= *enough) && self.activations() == 0;
        while !has_drained() && tokio::time::Instant::now() < deadline {
            if !self.engine.pause().await {
                break;
            }
        }
        let left = self.activations();
        let drained = has_drained();
        let has_left = match &self.network {
            Some(network) => network.leave().await,
            None => true,
        };
        let closed = if std::mem::take(&mut self.owns_store) { self.shared.store.close().await } else { Ok(()) };
        self.stop();
        if let Some(network) = &mut self.network {
            network.ended().await;
        }
        closed?;
        if !drained {
            return Err(Error::Stopped(format!(
                "it was still at work after {:?}, with {left} entities in memory: their turns were cut off and rolled back",
                self.shared.limits.drain
            )));
        }
        if !has_left {
            let entities = self.shared.not_given_back.load(Ordering::Relaxed);
            return Err(Error::NotGivenBack { entities });
        }
        Ok(())
    }

    /// Runs until the process is told to end (SIGTERM, or Ctrl-C), then [shuts down](Self::shutdown). A second signal stops
    /// at once. For the end of `main`:
    ///
    /// | exit code | what happened |
    /// |---|---|
    /// | 0 | everything was finished, committed and given back |
    /// | [3](Self::EXIT_CUT_OFF) | turns were still at work after the limit: they were cut off, and rolled back |
    /// | [5](Self::EXIT_NOT_GIVEN_BACK) | the store was away: others take its entities over when its lease is over |
    /// | [4](Self::EXIT_AT_ONCE) | a second signal came: what ran was cut off; what was answered is in the store |
    pub async fn run_until_signal(self) -> ExitCode {
        let (first, second) = signals::watch();
        let _ = first.await;
        tracing::info!(target: "grange", "the silo drains: it was told to end");
        let drained = std::pin::pin!(self.shutdown());
        match futures_util::future::select(drained, second).await {
            futures_util::future::Either::Left((Ok(()), _)) => ExitCode::SUCCESS,
            futures_util::future::Either::Left((Err(error), _)) => {
                tracing::error!(target: "grange", %error, "the silo did not end as it should");
                ExitCode::from(match error {
                    Error::NotGivenBack { .. } => Self::EXIT_NOT_GIVEN_BACK,
                    _ => Self::EXIT_CUT_OFF,
                })
            }
            futures_util::future::Either::Right(_) => ExitCode::from(Self::EXIT_AT_ONCE),
        }
    }

    /// What a process ends with when turns had to be cut off.
    pub const EXIT_CUT_OFF: u8 = 3;
    /// What a process ends with when the store could not be told that it left.
    pub const EXIT_NOT_GIVEN_BACK: u8 = 5;
    /// What a process ends with after a second signal.
    pub const EXIT_AT_ONCE: u8 = 4;

    fn stop(&mut self) {
        self.shared.drain();
        if let Some(network) = &mut self.network {
            network.close();
        }
        self.engine.stop();
    }
}

impl Drop for Silo {
    fn drop(&mut self) {
        self.stop();
        if self.owns_store {
            // It closes by itself: what it promised is kept, and a directory can be opened again.
            drop(self.shared.store.close());
        }
    }
}
