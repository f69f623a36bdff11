//! A zip archive from elsewhere: hostile until read within limits.
//!
//! Entries are found by name and read one at a time, as streams; nothing is written anywhere and no name becomes a path.
//! What an entry says of its size is not believed: reading ends with an error where it gives more, or less. All that is
//! ever read is bounded by the size of the archive itself, so neither a bomb in one entry, nor a thousand entries that
//! share their bytes, nor an archive within an archive (which is a file like any other, and stays closed) cost more than
//! a large honest one. Not here: which entry is the chat (`read.rs`), what a text says (`whatsapp.rs`).

use super::limit::{
    ARCHIVE_BYTES_FREE, ARCHIVE_DIRECTORY_BYTES_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_RATIO_MAX, ARCHIVE_TEXTS_MAX,
    TEXT_BYTES_MAX,
};
use crate::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zip::ZipArchive;
use zip::result::ZipError;

/// What archives are read from.
pub(super) trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// An open archive.
pub(super) struct Archive {
    zip: ZipArchive<Metered>,
    /// Entries by the last part of their names; of several the first.
    by_name: BTreeMap<String, usize>,
    /// **Bytes** that may still come out of it.
    left: u64,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("entries", &self.zip.len()).finish_non_exhaustive()
    }
}

/// Bounds what is read while the directory is, which is held in memory.
struct Metered {
    source: Box<dyn Source>,
    left: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buf)?;
        let left = self.left.load(Ordering::Relaxed);
        let rest = left.checked_sub(read as u64).ok_or(ErrorKind::FileTooLarge)?;
        self.left.store(rest, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

fn damaged(what: impl fmt::Display) -> Error {
    Error::new("archive", format!("the zip archive is damaged: {what}; nothing was imported"), "export the chat again")
}

fn too_large(what: String) -> Error {
    let hint = "if it is an honest export, unpack it and import the text in it";
    Error::new("archive-too-large", format!("{what}; nothing was imported"), hint)
}

fn encrypted() -> Error {
    let words = "the zip archive is encrypted, and exports of chats never are; nothing was imported";
    Error::new("archive-encrypted", words, "unpack it with its password and import the text in it")
}

impl From<ZipError> for Error {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) if error.kind() == ErrorKind::FileTooLarge => {
                too_large(format!("the directory of the archive has more than {ARCHIVE_DIRECTORY_BYTES_MAX} bytes"))
            }
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => encrypted(),
            error => damaged(error),
        }
    }
}

impl Archive {
    /// Opens an archive: reads its directory.
    ///
    /// # Errors
    /// `archive`, `archive-too-large`.
    pub(super) fn open(mut source: Box<dyn Source>) -> Result<Self, Error> {
        let len = source.seek(SeekFrom::End(0)).map_err(damaged)?;
        check_ends(source.as_mut(), len).map_err(damaged)??;
        let left = Arc::new(AtomicU64::new(ARCHIVE_DIRECTORY_BYTES_MAX));
        let mut zip = ZipArchive::new(Metered { source, left: Arc::clone(&left) })?;
        left.store(u64::MAX, Ordering::Relaxed);
        let entries = zip.len();
        if entries > ARCHIVE_ENTRIES_MAX {
            return Err(too_many(entries as u64));
        }
        let mut by_name = BTreeMap::new();
        for at in 0..entries {
            let entry = zip.by_index_raw(at)?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if !entry.is_dir() {
                by_name.entry(last_part(&name).to_owned()).or_insert(at);
            }
        }
        let left = len.saturating_mul(ARCHIVE_RATIO_MAX).saturating_add(ARCHIVE_BYTES_FREE);
        Ok(Self { zip, by_name, left })
    }

    /// Whether there is a file of this name, in whatever folder.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(last_part(name))
    }

    /// Names of the texts that may be the chat, the most likely ones first.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.by_name.keys().filter(|name| name.to_ascii_lowercase().ends_with(".txt")).cloned().collect();
        names.sort_by_key(|name| (!name.ends_with("_chat.txt"), !name.contains("WhatsApp"), name.len()));
        names.truncate(ARCHIVE_TEXTS_MAX);
        names
    }

    /// Reads a file as a whole.
    ///
    /// # Errors
    /// As [`Archive::read`]; `archive-too-large` above the limit of texts.
    pub(super) fn text(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read(name, TEXT_BYTES_MAX, &mut |source, _| source.read_to_end(&mut bytes).map(|_| true))?;
        Ok(bytes)
    }

    /// Gives a file to `take` as a stream, with the **bytes** that it says to have, at most `max`; `take` says whether it
    /// has read all of it or did not want it. Says whether there is such a file.
    ///
    /// # Errors
    /// `archive`, `archive-encrypted`, `archive-too-large`.
    pub(super) fn read(
        &mut self,
        name: &str,
        max: u64,
        take: &mut dyn FnMut(&mut dyn Read, u64) -> io::Result<bool>,
    ) -> Result<bool, Error> {
        let Some(at) = self.by_name.get(last_part(name)).copied() else { return Ok(false) };
        let entry = self.zip.by_index(at)?;
        if entry.encrypted() {
            return Err(encrypted());
        }
        let said = entry.size();
        if said > max.min(self.left) {
            return Err(too_large(format!("a file of the archive says to have {said} bytes")));
        }
        let mut counted = Counted { source: entry, read: 0, said, failed: None };
        let taken = take(&mut counted, said);
        let Counted { read, failed, .. } = counted;
        self.left = self.left.saturating_sub(read.max(said));
        if let Some(what) = failed {
            return Err(damaged(what));
        }
        match taken {
            Ok(whole) if !whole || read == said => Ok(true),
            Ok(_) => Err(damaged(format!("a file says to have {said} bytes and has {read}"))),
            Err(error) => Err(damaged(error)),
        }
    }
}

fn too_many(entries: u64) -> Error {
    too_large(format!("the archive says to have {entries} files, and at most {ARCHIVE_ENTRIES_MAX} are read"))
}

/// The part of a name behind the last stroke, whichever way that leans.
fn last_part(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// Counts what comes, and stops where more comes than was said.
struct Counted<R> {
    source: R,
    read: u64,
    said: u64,
    /// What was wrong with the archive, whoever was reading.
    failed: Option<String>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buf).inspect_err(|error| self.failed = Some(error.to_string()))?;
        self.read += read as u64;
        if self.read > self.said {
            let words = format!("a file says to have {} bytes and has more", self.said);
            self.failed = Some(words.clone());
            return Err(io::Error::other(words));
        }
        Ok(read)
    }
}

/// **Bytes** at the end of an archive among which its end record stands: the record, and the longest comment.
const TAIL_BYTES: u64 = 22 + 65_535;
/// **Bytes** of the records of a large archive (zip64) before that: where the first one is, and the first one itself.
const LOCATOR_BYTES: usize = 20;
const RECORD_BYTES: usize = 56;

/// Looks at the ends of the archive (there may be several that could be it) before anything is held in memory for as many
/// entries as they say.
fn check_ends(source: &mut dyn Source, len: u64) -> io::Result<Result<(), Error>> {
    let room = TAIL_BYTES + (LOCATOR_BYTES + RECORD_BYTES) as u64;
    source.seek(SeekFrom::Start(len.saturating_sub(room)))?;
    let mut tail = Vec::new();
    source.take(room).read_to_end(&mut tail)?;
    let number = |at: usize, bytes: usize| {
        let found = tail.get(at..at + bytes)?;
        Some(found.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte)))
    };
    for at in 0..tail.len().saturating_sub(3) {
        if &tail[at..at + 4] != b"PK\x05\x06" {
            continue;
        }
        let locator = at.checked_sub(LOCATOR_BYTES).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        let entries = match locator {
            None => number(at + 10, 2),
            Some(locator) => {
                let record = locator.checked_sub(RECORD_BYTES).filter(|at| tail[*at..].starts_with(b"PK\x06\x06"));
                let Some(record) = record else {
                    return Ok(Err(damaged("its end record is not where it should be")));
                };
                number(record + 32, 8)
            }
        };
        if let Some(entries) = entries.filter(|entries| *entries > ARCHIVE_ENTRIES_MAX as u64) {
            return Ok(Err(too_many(entries)));
        }
    }
    Ok(Ok(()))
}
