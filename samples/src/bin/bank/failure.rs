use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use grange::CallError;
use samples::bank::Conflict;

use crate::input::Mistakes;
use crate::teller::PATIENCE;

/// Why the program did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}; `bank --help` says what can be written")]
    Usage(#[from] lexopt::Error),
    #[error("{0}")]
    Input(Mistakes),
    #[error("{0}")]
    Grange(#[from] grange::Error),
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
    #[error("{0}, and has not ended after {patience} s; nothing is lost: run it again to continue", patience = PATIENCE.as_secs())]
    Slow(String),
    #[error("a silo was not told {0}")]
    Untold(&'static str),
    #[error(
        "{} is not there: install it, on Debian or Ubuntu with `sudo apt-get install redis-server`, or say where it is \
         with --redis-server", .0.display()
    )]
    NoRedis(PathBuf),
    /// A process that this one started did not do what it should. What it said comes behind.
    #[error("{what}{said}")]
    Server { what: String, said: String },
    #[error("it was told to end before the last transfer was made")]
    Interrupted,
}

impl Failure {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::File { path, error }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Input(_) => ExitCode::from(2),
            _ => ExitCode::from(1),
        }
    }
}

/// `?` on a call goes through `grange::Error`.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Grange(error.into())
    }
}

impl From<CallError<Conflict>> for Failure {
    fn from(error: CallError<Conflict>) -> Self {
        Self::Grange(error.into())
    }
}
