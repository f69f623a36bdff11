//! A blob that is coming: which bytes are here, which of them are right, and what is to be asked for next.
//!
//! Bytes are appended as they come, so that whatever cuts them off, at any byte, costs nothing of what was there. Each
//! chunk is opened as soon as it is whole; one that does not open is asked for again, and only it. What lies on the disk is
//! checked in the same way when it is picked up again, so nothing needs to be remembered beside the file. The hash over
//! everything has the last word: a sender who lied about it made chunks that open all the same.
//! Not here: where bytes come from (`carry.rs`, `wire.rs`).

use super::folder::Folder;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use tombolo_model::BlobId;
use tombolo_seal::{FileKey, Layout};

/// How often a chunk is asked for again before the other side's copy counts as damaged.
const STRIKES_MAX: u32 = 3;
/// Chunks that may be wrong at once: with more, it is another file.
const BAD_MAX: usize = 16;

/// Why a blob cannot become whole from where its bytes come from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Spoiled {
    /// What came is not what the message speaks of, or their copy is damaged.
    #[error("the bytes do not open, however often they come")]
    Damaged,
    /// Every chunk opens, and yet it is another file.
    #[error("the hash is another")]
    HashDiffers,
    /// More came than was asked for.
    #[error("more bytes came than were asked for")]
    TooMuch,
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Part {
    folder: Folder,
    id: BlobId,
    file: File,
    layout: Layout,
    key: FileKey,
    /// **Bytes** in the file.
    len: u64,
    /// Chunks that lie in the file and are wrong, with how often they came so.
    bad: BTreeMap<u64, u32>,
    /// What has come of the chunk that is coming.
    chunk: Vec<u8>,
    /// Where the next byte belongs.
    at: u64,
}

impl Part {
    /// Picks up what is there, or begins.
    pub(crate) fn open(folder: &Folder, id: BlobId, layout: Layout, key: FileKey) -> Result<Self, Spoiled> {
        let path = folder.part(&id);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let mut len = file.metadata()?.len();
        if len > layout.sealed() {
            len = 0;
            file.set_len(0)?;
        }
        let folder = folder.clone();
        let mut part = Self { folder, id, file, layout, key, len, bad: BTreeMap::new(), chunk: Vec::new(), at: 0 };
        part.look()?;
        Ok(part)
    }

    /// Checks the chunks that are here.
    fn look(&mut self) -> Result<(), Spoiled> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut number = 0;
        loop {
            let range = self.layout.chunk(number);
            let have = range.end.min(self.len).saturating_sub(range.start);
            self.chunk.resize(have as usize, 0);
            self.file.read_exact(&mut self.chunk)?;
            if range.is_empty() || have < range.end - range.start {
                // The beginning of the chunk that comes next stays.
                self.at = self.len;
                return Ok(());
            }
            if !self.opens(number) {
                self.bad.insert(number, 0);
                if self.bad.len() > BAD_MAX {
                    // Another file, or a disk that lost most of it: it begins anew.
                    (self.len, self.at) = (0, 0);
                    self.bad.clear();
                    self.chunk.clear();
                    return Ok(self.file.set_len(0)?);
                }
            }
            number += 1;
        }
    }

    fn opens(&self, number: u64) -> bool {
        self.key.open_chunk(self.layout, number, &self.chunk).is_ok()
    }

    /// **Bytes** that are here, of how many.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.len, self.layout.sealed())
    }

    /// A number that rises when something came that is of use: bytes at the end, and chunks that had been wrong.
    pub(crate) fn right(&self) -> (u64, Reverse<usize>) {
        (self.len, Reverse(self.bad.len()))
    }

    /// What is to be asked for next; `None` = everything is here. Bytes of it are to be given to [`Part::take`] from its
    /// beginning on; asking again begins anew.
    pub(crate) fn wants(&mut self) -> Result<Option<Range<u64>>, Spoiled> {
        if let Some((number, strikes)) = self.bad.first_key_value() {
            if *strikes >= STRIKES_MAX {
                return Err(Spoiled::Damaged);
            }
            let range = self.layout.chunk(*number);
            self.chunk.clear();
            self.at = range.start;
            return Ok(Some(range));
        }
        if self.len == self.layout.sealed() {
            return Ok(None);
        }
        if self.at != self.len {
            self.reload()?;
        }
        Ok(Some(self.len..self.layout.sealed()))
    }

    /// Reads the beginning of the chunk at the end again, after another one was asked for in between.
    fn reload(&mut self) -> Result<(), Spoiled> {
        let number = self.len / tombolo_seal::file::SEALED_CHUNK_BYTES;
        let start = self.layout.chunk(number).start;
        self.chunk.resize((self.len - start) as usize, 0);
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut self.chunk)?;
        self.at = self.len;
        Ok(())
    }

    /// Takes bytes that follow those before.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Spoiled> {
        while !bytes.is_empty() {
            let number = self.at / tombolo_seal::file::SEALED_CHUNK_BYTES;
            let range = self.layout.chunk(number);
            let room = usize::try_from(range.end - self.at).unwrap_or(0).min(bytes.len());
            if room == 0 {
                return Err(Spoiled::TooMuch);
            }
            let (now, rest) = bytes.split_at(room);
            bytes = rest;
            self.chunk.extend_from_slice(now);
            self.file.seek(SeekFrom::Start(self.at))?;
            // Of a chunk that comes again nothing is believed before it opens.
            let again = self.at < self.len;
            if !again {
                self.file.write_all(now)?;
                self.len += room as u64;
            }
            self.at += room as u64;
            if self.at < range.end {
                continue;
            }
            if self.opens(number) {
                if again {
                    self.file.seek(SeekFrom::Start(range.start))?;
                    self.file.write_all(&self.chunk)?;
                    self.bad.remove(&number);
                }
            } else {
                *self.bad.entry(number).or_insert(0) += u32::from(again);
                if self.bad.len() > BAD_MAX {
                    return Err(Spoiled::Damaged);
                }
            }
            self.chunk.clear();
        }
        Ok(())
    }

    /// Everything is here: puts it where it belongs, if it is what the message speaks of.
    pub(crate) fn finish(mut self) -> Result<(), Spoiled> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; 256 * 1024];
        loop {
            match self.file.read(&mut block)? {
                0 => break,
                read => hasher.update(&block[..read]),
            };
        }
        if *hasher.finalize().as_bytes() != self.id.0 {
            return Err(Spoiled::HashDiffers);
        }
        self.file.sync_all()?;
        let path = self.folder.part(&self.id);
        Ok(self.folder.put(&path, &self.id)?)
    }
}
