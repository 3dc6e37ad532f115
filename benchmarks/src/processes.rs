//! Processes: this very program again, told to be something else, such as a silo; and how much memory this one has.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// This program, running a second time, for as long as this value lives.
#[derive(Debug)]
pub struct Again {
    process: Child,
    said: String,
}

impl Again {
    /// Starts it with these arguments, and waits for the first line that it prints.
    ///
    /// # Panics
    /// When it does not start, or ends before it has said something.
    pub fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        Self::start_program(Command::new(program).args(arguments))
    }

    /// Starts another program in the same way.
    ///
    /// # Panics
    /// When it does not start, or ends before it has said something.
    pub fn start_program(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let mut said = String::new();
        let out = process.stdout.take().expect("its output is a pipe");
        BufReader::new(out).read_line(&mut said).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(!said.is_empty(), "{shown}: it ended before it had said anything");
        Self { process, said: said.trim().to_owned() }
    }

    /// The first line that it printed.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In the process that was started: says that it is ready, and waits until the one that started it is gone.
pub fn serve_until_alone(say: &str) {
    println!("{say}");
    // Nobody writes: the end of the input is the end of the other process, however it came.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// The resident memory of this process, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
