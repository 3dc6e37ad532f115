use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use samples::bank::{Refusal, Status};

use crate::failure::Failure;
use crate::input::Entry;

/// What was acknowledged, for whoever wants to check it without asking the bank: one line a transfer, `id,outcome`.
#[derive(Debug)]
pub(crate) struct Journal(Option<(PathBuf, File)>);

impl Journal {
    /// Appends to the file; without one, nothing is written.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = open_at_end(path).map_err(Failure::file(path))?;
        Ok(Self(Some((path.to_owned(), file))))
    }

    /// Writes and syncs these lines together: they are on disk when it returns.
    pub(crate) fn record(&mut self, ended: &[(&Entry, Status)]) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        let lines: String =
            ended.iter().map(|(entry, status)| format!("{},{}\n", entry.id, outcome(*status))).collect();
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(Failure::file(path))
    }
}

fn open_at_end(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    // A crash in the middle of a line leaves a part of one: nothing was acknowledged by it.
    let whole = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(file)
}

fn outcome(status: Status) -> &'static str {
    match status {
        Status::New | Status::Underway => unreachable!("only what has ended is recorded"),
        Status::Done => "done",
        Status::Refused(Refusal::Insufficient) => "insufficient",
        Status::Refused(Refusal::GivenUp) => "given-up",
    }
}
