use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use grange::prelude::*;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::failure::Failure;

/// How much of what a server said is shown.
const SHOWN_LINES: usize = 20;

/// A process that this one started, and that does not outlive it: dropped, it is killed.
pub(crate) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it. What it says of itself goes to a file in this directory.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        directory: &Path,
    ) -> io::Result<(Self, Option<ChildStdout>)> {
        let log = directory.join(format!("{name}.log"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?).kill_on_drop(true);
        // Ctrl-C in a terminal goes to a whole group. The servers are told by us, each when its turn has come.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let output = child.stdout.take();
        Ok((Self { name: name.to_owned(), child, log }, output))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(|error| self.failed(format_args!("can't be killed: {error}")))
    }

    /// Asks it to end in good order, and waits for that.
    pub(crate) async fn stop(&mut self, limit: Duration) -> Result<(), Failure> {
        self.terminate();
        match timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failed(format_args!("did not end well ({status})"))),
            Ok(Err(error)) => Err(self.failed(format_args!("can't be waited for: {error}"))),
            Err(_) => {
                self.kill().await?;
                Err(self.failed(format_args!("had not ended {limit:?} after it was told to, and was killed")))
            }
        }
    }

    #[cfg(unix)]
    fn terminate(&self) {
        // One that has been waited for has no id any more: it might be another's by now.
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // An error: it has just ended.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    #[cfg(not(unix))]
    fn terminate(&mut self) {
        let _ = self.child.start_kill();
    }

    /// How it ended, with what it said.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.child.wait().await.map_err(|error| self.failed(format_args!("can't be waited for: {error}")))
    }

    /// That it did this wrong, and what it said last.
    pub(crate) fn failed(&self, what: fmt::Arguments<'_>) -> Failure {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
        let said: String = last.iter().map(|line| format!("\n  {line}")).collect();
        let said = if said.is_empty() { said } else { format!("; it said last:{said}") };
        Failure::Server { what: format!("{} {what}", self.name), said }
    }
}
