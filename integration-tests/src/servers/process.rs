//! A process under test: started, stopped, frozen, killed; never left behind.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// How much of what a process said is shown.
const SHOWN_BYTES: usize = 6_000;

/// A running process. Dropping it kills it; when a test fails, what it said is shown.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {:?})", self.name, self.child.id(), self.ended)
    }
}

impl Process {
    /// Starts it. What it says goes to `<name>.log` in this directory, behind what is there already.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(&log) };
        let files = open().and_then(|out| Ok((out, open()?)));
        let (out, err) = files.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        Self { name: name.to_owned(), child, log, ended: None }
    }

    /// Its name in this test.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. One that has ended gets none: its id may be another's by now.
    pub fn signal(&mut self, signal: Signal) {
        if self.has_ended().is_some() {
            return;
        }
        // Not reaped yet, so the id is still this child's.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An error: it has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.has_ended().is_none() {
            // An error: it has just ended.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Freezes it where it is: connections stay open, nothing moves.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on, as if no time had passed.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end in good order.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on for longer.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {self:?}");
        let this = std::cell::RefCell::new(self);
        let ended = eventually(&what, limit, || async { this.borrow_mut().has_ended() }, Option::is_some).await;
        ended.unwrap_or_default()
    }

    /// Everything that it said, in all its lives under this name.
    pub fn said(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of what it said.
    pub fn said_last(&self) -> String {
        let said = self.said();
        let mut from = said.len().saturating_sub(SHOWN_BYTES);
        while !said.is_char_boundary(from) {
            from += 1;
        }
        said[from..].to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.has_ended();
        self.kill();
        if std::thread::panicking() {
            let how = ended.map_or_else(|| "was still running".to_owned(), |status| format!("had ended: {status}"));
            eprintln!("--- {} {how}; it said last:\n{}\n---", self.name, self.said_last());
        }
    }
}
