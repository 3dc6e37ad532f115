//! Processes: this very program again, told to be something else, such as a silo; and how much memory this one has.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A process of one's own, for as long as this value lives.
#[derive(Debug)]
pub struct Running {
    process: Child,
    output: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    /// Starts this very program with these arguments, and waits for the first line that it prints.
    ///
    /// # Panics
    /// When it does not start, or ends before it has said something.
    pub fn again(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new(program).args(arguments))
    }

    /// Starts another program in the same way.
    ///
    /// # Panics
    /// When it does not start, or ends before it has said something.
    pub fn start(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut running = Self { process, output, said: shown };
        running.said = running.line();
        running
    }

    /// Writes a line to it, and waits for the one that it answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn ask(&mut self, line: &str) -> String {
        let input = self.process.stdin.as_mut().expect("its input is a pipe");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.said));
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap_or_else(|error| panic!("{}: {error}", self.said));
        assert!(!line.is_empty(), "{}: it ended before it had answered", self.said);
        line.trim().to_owned()
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

impl Drop for Running {
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
