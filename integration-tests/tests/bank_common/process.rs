use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than any run takes, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The bank's program, built by the first test that wants it, as the tests were built.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/bank_cli-0123
        let test = std::env::current_exe().expect("the test's own path");
        let profile_dir = test.ancestors().nth(2).expect("the directory of the profile");
        let target_dir = profile_dir.parent().expect("the target directory");
        let profile = match profile_dir.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let status = std::process::Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "samples", "--bin", "bank", "--profile", profile, "--target-dir"])
            .arg(target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.as_ref().is_ok_and(ExitStatus::success), "building the bank: {status:?}");
        profile_dir.join("bank").with_extension(std::env::consts::EXE_EXTENSION)
    })
}

/// How a run of the bank ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// That it ended with this code, and said this; shows everything if not.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "the exit code; {self:#?}");
        for text in said {
            assert!(self.out.contains(text) || self.err.contains(text), "it did not say {text:?}; {self:#?}");
        }
    }
}

/// Starts the bank.
pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Child {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starting the bank")
}

/// Waits for its end; at this moment it is killed, with SIGKILL.
pub(crate) async fn end_or_kill(child: Child, moment: Duration) -> Ended {
    let pid = child.id().expect("a child that was not waited for");
    let mut ended = std::pin::pin!(child.wait_with_output());
    let output = match timeout(moment, &mut ended).await {
        Ok(output) => output,
        Err(_) => {
            // Not reaped, so the id is still this child's.
            let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(kill.as_ref().is_ok_and(ExitStatus::success), "kill -9 {pid}: {kill:?}");
            timeout(LIMIT, ended).await.unwrap_or_else(|_| panic!("process {pid} lives on after kill -9"))
        }
    };
    let output = output.expect("waiting for the bank");
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the bank to its end.
pub(crate) async fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    let ended = end_or_kill(start(arguments), LIMIT).await;
    assert!(ended.code.is_some(), "it had not ended after {LIMIT:?}; {ended:#?}");
    ended
}
