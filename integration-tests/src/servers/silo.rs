//! A silo as a process: the program `chaos-silo`, which hosts the [`application`](crate::application).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::servers::Process;
use crate::wait::{LIMIT, eventually};

/// What the program prints when it serves.
pub const READY: &str = "chaos-silo: ready";

/// Where a silo is and what it is told; by the environment, as any silo.
#[derive(Debug, Clone)]
pub struct SiloSettings {
    /// The store, or a proxy before it.
    pub redis: String,
    /// Where it listens.
    pub listen: String,
    /// Where it says it can be reached: a proxy, or where it listens.
    pub advertise: String,
    /// The cluster's name.
    pub cluster: String,
    /// The file with the cluster's secret.
    pub secret_file: PathBuf,
    /// Its share of the work.
    pub weight: u32,
}

/// A silo that was started. Dropping it kills it.
#[derive(Debug)]
pub struct SiloProcess {
    settings: SiloSettings,
    directory: PathBuf,
    process: Process,
    starts: usize,
}

impl SiloProcess {
    /// Starts one, and waits until it serves. Its log is in this directory.
    ///
    /// # Panics
    /// When it does not serve in time; shows what it said.
    pub async fn start(name: &str, directory: &Path, settings: SiloSettings) -> Self {
        let mut silo = Self::launch(name, directory, settings);
        silo.ready().await;
        silo
    }

    /// Starts one, and does not wait.
    pub fn launch(name: &str, directory: &Path, settings: SiloSettings) -> Self {
        let process = spawn(name, directory, &settings);
        Self { settings, directory: directory.to_owned(), process, starts: 1 }
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it does not, or ends; its log is shown when it is dropped.
    pub async fn ready(&mut self) {
        let (starts, name) = (self.starts, self.process.name().to_owned());
        let process = std::cell::RefCell::new(&mut self.process);
        let look = || async {
            let mut process = process.borrow_mut();
            (process.said().matches(READY).count(), process.has_ended())
        };
        let (_, ended) =
            eventually(&format!("{name} ready"), LIMIT, look, |(ready, ended)| *ready >= starts || ended.is_some())
                .await;
        assert!(ended.is_none(), "{name} ended instead of serving: {ended:?}");
    }

    /// What it was told.
    pub fn settings(&self) -> &SiloSettings {
        &self.settings
    }

    /// The process, for `freeze` and the like.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, at the same address, without waiting; it is killed if it runs.
    pub fn relaunch(&mut self) {
        self.process.kill();
        // What it said before must not be taken for what it says now.
        self.starts = self.process.said().matches(READY).count() + 1;
        let name = self.process.name().to_owned();
        self.process = spawn(&name, &self.directory, &self.settings);
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn restart(&mut self) {
        self.relaunch();
        self.ready().await;
    }

    /// SIGTERM: asks it to drain, and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn drain(&mut self, limit: Duration) -> ExitStatus {
        self.process.terminate();
        self.process.ended(limit).await
    }
}

fn spawn(name: &str, directory: &Path, settings: &SiloSettings) -> Process {
    let mut command = Command::new(program());
    command
        .env("GRANGE_REDIS", &settings.redis)
        .env("GRANGE_LISTEN", &settings.listen)
        .env("GRANGE_ADVERTISE", &settings.advertise)
        .env("GRANGE_CLUSTER", &settings.cluster)
        .env("GRANGE_SECRET_FILE", &settings.secret_file)
        .env("GRANGE_WEIGHT", settings.weight.to_string())
        .env("GRANGE_WORKERS", "2")
        .env("RUST_BACKTRACE", "1");
    Process::start(name, directory, &mut command)
}

/// `chaos-silo`, which cargo builds beside this package's tests and programs.
fn program() -> PathBuf {
    let me = std::env::current_exe().expect("the path of this program");
    // target/debug/deps/kills-0123, or target/debug/chaos
    let beside = me.ancestors().skip(1).take(2).map(|directory| directory.join("chaos-silo"));
    beside
        .into_iter()
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("chaos-silo is not built: cargo build -p integration-tests --bins"))
}
