//! Histories from elsewhere: read as exports, brought in as contents.
//!
//! Equal lines get equal keys, so that several importers of one export make one copy. The key hashes the time as it is
//! written, name, text and which occurrence of that very line it is (DESIGN section 3): neither the zone of the importer
//! nor whether files came along changes it. What a file is, its content says, not its name. Reading needs no store and
//! changes nothing; only when a whole export has been understood is anything brought in.
//!
//! Read in this order: [`Export`], `read.rs`, `whatsapp.rs`, `header.rs`, `civil.rs`. Not here: folding (`store`).

mod archive;
mod attachment;
mod civil;
mod header;
mod jsonl;
pub(crate) mod limit;
mod read;
#[cfg(test)]
mod tests;
mod whatsapp;
mod words;

pub use civil::DateOrder;
pub use read::{Export, Format, Reading};

use crate::Error;
use crate::api::Line;
use limit::PARTS_MAX;
use std::collections::BTreeMap;
use tombolo_model::content::{File, Imported};
use tombolo_model::limit::{NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Lines that go into one transaction: enough to make a sync of the disk cheap, little enough to show progress.
pub(crate) const PER_TRANSACTION: usize = 1000;

/// A message of an export.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// **Milliseconds** since 1970.
    pub(crate) time_ms: u64,
    /// The time as it is written: the same for every importer.
    pub(crate) key_ms: u64,
    pub(crate) who: String,
    /// The text as it is written.
    pub(crate) key_text: String,
    /// The text without what stands for files.
    pub(crate) text: String,
    /// Names of its files.
    pub(crate) files: Vec<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What people write never appears in logs.
        f.debug_struct("Entry")
            .field("time_ms", &self.time_ms)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl From<&Line> for Entry {
    fn from(line: &Line) -> Self {
        Self {
            time_ms: line.time_ms,
            key_ms: line.time_ms,
            who: line.who.clone(),
            key_text: line.text.clone(),
            text: line.text.clone(),
            files: Vec::new(),
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// Messages that are new here.
    pub imported: u64,
    /// Messages that were here already, whoever brought them.
    pub known: u64,
    /// Lines that nobody wrote, and objects without a text.
    pub system: u64,
    /// Messages over the limits of text or name.
    pub too_long: u64,
    /// Files that came along.
    pub attached: u64,
    /// Files that messages name and that could not be brought along; their names stand in the texts.
    pub not_attached: u64,
    /// Messages whose file was left out when the export was made.
    pub omitted: u64,
    /// Why files did not come along that the export has: the first of them, in words.
    pub notes: Vec<String>,
}

/// Reasons that an import names.
pub(crate) const NOTES_MAX: usize = 20;

/// Takes a file in: its label, what it says to hold in **bytes**, its content. `None`: it is not brought along.
pub type Attach<'a> = dyn FnMut(&Label<'_>, u64, &mut dyn std::io::Read) -> Result<Option<File>, Error> + 'a;

/// What is known of a file before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// What it is called: never a path.
    pub name: &'a str,
    /// Its media type, as its ending says.
    pub media: &'a str,
}

/// A message with its key and rank, before its files are read.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) content: Imported,
    /// Names of files, as the export writes them.
    pub(crate) files: Vec<String>,
    /// The text that is shown when none of them can be brought along.
    pub(crate) without_files: String,
}

/// Turns entries into contents; those over the limits are left out, the second number says how many. Texts that are
/// somewhat too long are divided.
pub(crate) fn plan(entries: &[Entry], format: Format) -> (Vec<Planned>, u64) {
    let mut occurrences: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    let mut ranks: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut planned, mut too_long) = (Vec::with_capacity(entries.len()), 0);
    for entry in entries {
        let parts = divide(&entry.text);
        if entry.who.len() > NAME_BYTES_MAX
            || parts.len() > PARTS_MAX
            || entry.key_text.len() > PARTS_MAX * TEXT_BYTES_MAX
        {
            too_long += 1;
            continue;
        }
        let mut hasher = blake3::Hasher::new_derive_key(format.key_domain());
        hasher.update(&entry.key_ms.to_be_bytes());
        for part in [&entry.who, &entry.key_text] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let occurrence = occurrences.entry(*hasher.finalize().as_bytes()).or_insert(0);
        *occurrence += 1;
        hasher.update(&occurrence.to_be_bytes());
        for (at, text) in parts.iter().enumerate() {
            if at > 0 {
                hasher.update(&(at as u64).to_be_bytes());
            }
            let mut source_key = [0; 16];
            source_key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            // Among messages of one time, not within the file: exports that begin at another message agree, too.
            let rank = ranks.entry(entry.key_ms).or_insert(0);
            let content = Imported {
                time_ms: entry.time_ms,
                who: entry.who.clone(),
                text: (*text).to_owned(),
                source_key,
                rank: Some(*rank),
                files: None,
                source: Some(format.source().to_owned()),
            };
            *rank += 1;
            let files = if at == 0 { entry.files.clone() } else { Vec::new() };
            let without_files = if files.is_empty() { content.text.clone() } else { cut(&entry.key_text).to_owned() };
            planned.push(Planned { content, files, without_files });
        }
    }
    (planned, too_long)
}

/// The beginning of a text that fits a message.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Divides a text into parts that fit a message: one for nearly all.
fn divide(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let part = cut(rest);
        parts.push(part);
        rest = &rest[part.len()..];
        if rest.is_empty() || parts.len() > PARTS_MAX {
            return parts;
        }
    }
}
