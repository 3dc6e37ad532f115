use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::{corrupt, failed};
use crate::store::StoreError;

/// The newest layout that this version reads.
const FORMAT: u32 = 1;
const TITLE: &str = "grange embedded store";
const MARK_LENGTH: usize = 16;

/// The directory and what lies in it beside the data:
///
/// ```text
/// lock     held by the process that has the store open
/// header   format, generation: readable text, never rewritten
/// mark     the number of the last batch that was answered for
/// data/    fjall's
/// before/  the data as it was, while an opening that might be refused is under way
/// ```
///
/// fjall ends a damaged journal where the damage begins, which looks like a torn write. The mark tells the two apart:
/// it is written behind every durable batch and before any answer, so data that ends before it has lost something.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// The life of this data, random.
    pub(super) generation: u64,
    mark: File,
    // Let go of when it is dropped, or when the process dies.
    _lock: File,
}

impl Directory {
    /// Takes the directory, or makes one. What is refused is left as it was.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        // Before the lock, which would make a file: what isn't ours or is too new stays untouched.
        if read_header(path)?.is_none() {
            refuse_foreign(path)?;
        }
        fs::create_dir_all(path).map_err(|error| failed("creating", path, &error))?;
        let lock = lock(path)?;
        let generation = match read_header(path)? {
            Some(generation) => generation,
            None => create(path).map_err(|error| failed("writing to", path, &error))?,
        };
        let mark = OpenOptions::new().read(true).write(true).open(path.join("mark"));
        let mark = match mark {
            Ok(mark) => mark,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt(path, "its mark is missing")),
            Err(error) => return Err(failed("opening the mark of", path, &error)),
        };
        Ok(Self { path: path.to_owned(), generation, mark, _lock: lock })
    }

    /// The number of the last batch that was answered for.
    pub(super) fn marked(&self) -> Result<u64, StoreError> {
        let mut bytes = Vec::new();
        let mut mark = &self.mark;
        let read = mark.seek(SeekFrom::Start(0)).and_then(|_| mark.read_to_end(&mut bytes));
        read.map_err(|error| failed("reading the mark of", &self.path, &error))?;
        decode_mark(&bytes).ok_or_else(|| corrupt(&self.path, "its mark is damaged"))
    }

    /// Notes that a batch is durable. Not synced: it has to survive the process, and after a loss of power it may be
    /// too old, which only makes it a weaker witness.
    pub(super) fn set_mark(&self, sequence: u64) -> Result<(), StoreError> {
        let mut mark = &self.mark;
        let written = mark.seek(SeekFrom::Start(0)).and_then(|_| mark.write_all(&encode_mark(sequence)));
        written.map_err(|error| failed("writing the mark of", &self.path, &error))
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join("lock"));
    let lock = lock.map_err(|error| failed("writing to", path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed("locking", path, &error)),
    }
}

/// The generation; `None`: there is no header.
fn read_header(path: &Path) -> Result<Option<u64>, StoreError> {
    let text = match fs::read_to_string(path.join("header")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(corrupt(path, "its header is damaged"));
        }
        Err(error) => return Err(failed("reading", path, &error)),
    };
    let mut lines = text.lines();
    let titled = lines.next() == Some(TITLE);
    let format = lines.next().and_then(|line| line.strip_prefix("format ")).and_then(|found| found.parse().ok());
    match format {
        Some(found) if titled && found > FORMAT => {
            Err(StoreError::Newer { path: path.display().to_string(), found, supported: FORMAT })
        }
        Some(FORMAT) if titled => {
            let generation = lines.next().and_then(|line| line.strip_prefix("generation "));
            let generation = generation.and_then(|found| u64::from_str_radix(found, 16).ok());
            let generation = generation.filter(|generation| text == header(*generation));
            generation.map(Some).ok_or_else(|| corrupt(path, "its header is damaged"))
        }
        _ => Err(corrupt(path, "its header is damaged")),
    }
}

fn header(generation: u64) -> String {
    let text = format!("{TITLE}\nformat {FORMAT}\ngeneration {generation:016x}\n");
    let check = xxh3_64(text.as_bytes());
    format!("{text}check {check:016x}\n")
}

/// A directory without a header is only taken if nothing is in it but what a creation that was cut short leaves.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("reading", path, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed("reading", path, &error))?;
        if !["lock", "mark", "header.new"].iter().any(|ours| entry.file_name() == *ours) {
            let name = entry.file_name();
            return Err(corrupt(
                path,
                format!(
                    "it holds {} and no header of a grange store (to begin one, name an empty or a new directory)",
                    name.display()
                ),
            ));
        }
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<u64> {
    let generation = Uuid::new_v4().as_u64_pair().0 ^ Uuid::new_v4().as_u64_pair().1;
    write_synced(&path.join("mark"), &encode_mark(0))?;
    write_synced(&path.join("header.new"), header(generation).as_bytes())?;
    // Last, and at once: a header says that everything else is there.
    fs::rename(path.join("header.new"), path.join("header"))?;
    sync_directory(path)?;
    Ok(generation)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames and new files durable, where the system can.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn encode_mark(sequence: u64) -> [u8; MARK_LENGTH] {
    let bytes = sequence.to_be_bytes();
    let mut mark = [0; MARK_LENGTH];
    mark[..8].copy_from_slice(&bytes);
    mark[8..].copy_from_slice(&xxh3_64(&bytes).to_be_bytes());
    mark
}

fn decode_mark(bytes: &[u8]) -> Option<u64> {
    let sequence = u64::from_be_bytes(*bytes.first_chunk()?);
    (bytes == encode_mark(sequence)).then_some(sequence)
}
