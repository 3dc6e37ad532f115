use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::directory::{Directory, sync_directory};

/// An opening that may turn out to be refused, carried out on a twin of the data.
///
/// fjall repairs while it opens: it cuts a journal off where it can't read on, and removes the tables of a keyspace
/// whose name it has lost. With damaged data that makes things worse. So it is given a twin: links to the tables,
/// which nobody ever rewrites, and copies of all else. If the directory is refused, the original takes its place
/// again, as it was.
///
/// The copies of the journals are synced. That makes them better than the originals after a sync that failed: what
/// the system showed of those may not have been on the disk.
#[derive(Debug)]
pub(super) struct Trial {
    path: PathBuf,
    data: PathBuf,
    /// The copies, by number; the last one was being written when the process ended.
    journals: Vec<Journal>,
}

#[derive(Debug)]
struct Journal {
    number: u64,
    name: String,
    length: u64,
    // It still tells its length when fjall has done with it and has removed it.
    open: Option<File>,
}

impl Trial {
    /// Undoes what an opening left that died before it was decided.
    pub(super) fn undo(directory: &Directory) -> io::Result<()> {
        let (path, data) = (&directory.path, directory.data());
        if original(path).exists() {
            remove(&data)?;
            fs::rename(original(path), &data)?;
            sync_directory(path)?;
        }
        remove(&path.join("twin"))?;
        remove(&path.join("old"))
    }

    /// Puts a twin in the place of the data.
    pub(super) fn begin(directory: &Directory) -> io::Result<Self> {
        let (path, data, twin) = (directory.path.clone(), directory.data(), directory.path.join("twin"));
        let mut journals = Vec::new();
        copy(&data, &twin, &mut journals)?;
        journals.sort_by_key(|journal| journal.number);
        // A crash between these two, or anywhere behind, is undone by the next opening.
        fs::rename(&data, original(&path))?;
        fs::rename(&twin, &data)?;
        sync_directory(&path)?;
        for journal in &mut journals {
            journal.open = Some(File::open(data.join(&journal.name))?);
        }
        Ok(Self { path, data, journals })
    }

    /// The name of a journal that was complete and out of which fjall cut something.
    pub(super) fn cut(&self) -> io::Result<Option<&str>> {
        let Some((_, complete)) = self.journals.split_last() else { return Ok(None) };
        for journal in complete {
            let Some(open) = &journal.open else { continue };
            let length = open.metadata()?.len();
            if length < journal.length && has_data_behind(&original(&self.path).join(&journal.name), length)? {
                return Ok(Some(&journal.name));
            }
        }
        Ok(None)
    }

    /// The opening stands: the original goes.
    pub(super) fn accept(self) -> io::Result<()> {
        // By another name first: half of an original must not be taken for one.
        fs::rename(original(&self.path), self.path.join("old"))?;
        sync_directory(&self.path)?;
        remove(&self.path.join("old"))
    }

    /// The opening is refused: the twin goes.
    pub(super) fn refuse(self) -> io::Result<()> {
        remove(&self.data)?;
        fs::rename(original(&self.path), &self.data)?;
        sync_directory(&self.path)
    }
}

fn original(path: &Path) -> PathBuf {
    path.join("before")
}

fn copy(from: &Path, to: &Path, journals: &mut Vec<Journal>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target, journals)?;
        } else if from.ends_with("tables") {
            fs::hard_link(source, target)?;
        } else {
            let mut file = File::create_new(target)?;
            let length = io::copy(&mut File::open(source)?, &mut file)?;
            file.sync_all()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(".jnl").and_then(|number| number.parse().ok());
            journals.extend(number.map(|number| Journal { number, name, length, open: None }));
        }
    }
    sync_directory(to)
}

/// Whether there is anything but zeros: fjall makes room in advance, and takes it back.
fn has_data_behind(path: &Path, offset: u64) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    io::copy(&mut file.by_ref().take(offset), &mut io::sink())?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes.iter().any(|byte| *byte != 0))
}

fn remove(path: &Path) -> io::Result<()> {
    if path.exists() { fs::remove_dir_all(path) } else { Ok(()) }
}
