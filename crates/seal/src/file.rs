//! Sealing of files: cut into chunks, each sealed by itself, so that a part can be checked while the rest is still coming.
//!
//! The STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance", 2015) over AES-256-GCM-SIV: every file has a key of its own, the nonce of a chunk is its number and
//! whether it is the last. So a chunk that was moved, left out or changed does not open, nor does a file that was cut.
//! Zeros follow the file up to a Padme length, so that whoever keeps it learns only the rough size; where the file ends is
//! said in the message that carries the key.
//!
//! ```text
//! plain  = file bytes, zeros up to padme_long(max(bytes, 1024))
//! sealed = for each 64 KiB of plain: cipher text, tag 16      nonce = number 8 (big-endian), 0 0 0, last (0 or 1)
//! blob   = BLAKE3 of sealed
//! ```
//!
//! A sender who lies about the hash can make chunks that open all the same: only the hash over everything says that this
//! is the file that was meant. Not here: where the bytes are kept and how they travel (`client::files`, `relay`).

use crate::SealError;
use crate::body::{OVERHEAD_BYTES, open_from, seal_into};
use core::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use tombolo_model::BlobId;
use tombolo_model::content::padme_long;
use tombolo_model::limit::FILE_BYTES_MAX;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// **Bytes** of a file that are sealed together.
pub const CHUNK_BYTES: u64 = 64 * 1024;
/// **Bytes** of a full chunk once it is sealed.
pub const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + OVERHEAD_BYTES as u64;
/// **Bytes** to which the smallest files are padded.
const PADDED_BYTES_MIN: u64 = 1024;
/// Associated data of every chunk: what is sealed here opens nowhere else.
const DOMAIN: &[u8] = b"tombolo 1 file";

/// How a file of a certain length is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    bytes: u64,
}

impl Layout {
    /// Of a file of `bytes` **bytes**; `None` above [`FILE_BYTES_MAX`].
    #[must_use]
    pub fn of(bytes: u64) -> Option<Self> {
        (bytes <= FILE_BYTES_MAX).then_some(Self { bytes })
    }

    /// **Bytes** of the file.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// **Bytes** of the file with its padding.
    #[must_use]
    pub fn padded(self) -> u64 {
        padme_long(self.bytes.max(PADDED_BYTES_MIN))
    }

    /// How many chunks it has; at least one.
    #[must_use]
    pub fn chunks(self) -> u64 {
        self.padded().div_ceil(CHUNK_BYTES)
    }

    /// **Bytes** of the blob.
    #[must_use]
    pub fn sealed(self) -> u64 {
        self.padded() + self.chunks() * OVERHEAD_BYTES as u64
    }

    /// Where a chunk lies in the blob, in **bytes**; empty behind the last one.
    #[must_use]
    pub fn chunk(self, number: u64) -> Range<u64> {
        let at = |number: u64| number.saturating_mul(SEALED_CHUNK_BYTES).min(self.sealed());
        at(number)..at(number.saturating_add(1))
    }

    /// Whether a chunk is the last one.
    #[must_use]
    pub fn is_last(self, number: u64) -> bool {
        number + 1 == self.chunks()
    }

    /// How many **bytes** of the file, not of its padding, a chunk holds.
    #[must_use]
    pub fn file_bytes(self, number: u64) -> u64 {
        self.bytes.saturating_sub(number.saturating_mul(CHUNK_BYTES)).min(CHUNK_BYTES)
    }

    /// **Bytes** of a chunk before it is sealed.
    fn plain_bytes(self, number: u64) -> usize {
        let range = self.chunk(number);
        (range.end - range.start) as usize - OVERHEAD_BYTES
    }
}

/// The key of one file. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; 32]);

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(hidden)")
    }
}

impl FileKey {
    /// Takes 32 bytes that must be uniformly random and fresh: with one key, one file is sealed.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(*bytes)
    }

    /// The bytes, to be put into the message.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Appends a sealed chunk.
    fn seal_chunk(&self, out: &mut Vec<u8>, number: u64, last: bool, plain: &[u8]) {
        seal_into(out, &self.0, &nonce(number, last), DOMAIN, plain);
    }

    /// Opens a chunk: `sealed` are the bytes at [`Layout::chunk`].
    ///
    /// # Errors
    /// [`SealError::NotOpened`] when a byte was changed, it is another chunk, or the key is another file's.
    pub fn open_chunk(&self, layout: Layout, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_from(&self.0, &nonce(number, layout.is_last(number)), DOMAIN, sealed)
    }

    /// Seals a file while it is read; holds one chunk in memory. Returns the blob's id.
    ///
    /// # Errors
    /// Of reading and writing; [`io::ErrorKind::UnexpectedEof`] when the file is shorter than `layout` says,
    /// [`io::ErrorKind::InvalidData`] when it is longer: it was changed while it was read.
    pub fn seal(&self, layout: Layout, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<BlobId> {
        let mut hasher = blake3::Hasher::new();
        let mut plain = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES as usize));
        let mut sealed = Vec::with_capacity(SEALED_CHUNK_BYTES as usize);
        for number in 0..layout.chunks() {
            plain.clear();
            plain.resize(layout.plain_bytes(number), 0);
            let filled = usize::try_from(layout.file_bytes(number)).unwrap_or(usize::MAX).min(plain.len());
            from.read_exact(&mut plain[..filled])?;
            sealed.clear();
            self.seal_chunk(&mut sealed, number, layout.is_last(number), &plain);
            hasher.update(&sealed);
            to.write_all(&sealed)?;
        }
        if from.read(&mut [0])? > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file grew while it was read"));
        }
        Ok(BlobId(*hasher.finalize().as_bytes()))
    }

    /// Opens a blob while it is read; writes the file without its padding. Returns the hash of what was read.
    ///
    /// # Errors
    /// Of reading and writing; [`io::ErrorKind::InvalidData`] with [`SealError::NotOpened`] when a chunk does not open.
    pub fn open(&self, layout: Layout, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<BlobId> {
        let mut hasher = blake3::Hasher::new();
        let mut sealed = Vec::with_capacity(SEALED_CHUNK_BYTES as usize);
        for number in 0..layout.chunks() {
            let range = layout.chunk(number);
            sealed.clear();
            sealed.resize((range.end - range.start) as usize, 0);
            from.read_exact(&mut sealed)?;
            hasher.update(&sealed);
            let plain = self.open_chunk(layout, number, &sealed);
            let plain = plain.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let filled = usize::try_from(layout.file_bytes(number)).unwrap_or(usize::MAX).min(plain.len());
            to.write_all(&plain[..filled])?;
        }
        Ok(BlobId(*hasher.finalize().as_bytes()))
    }
}

fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}
