//! A backup: one file that only its key opens, written and read as a stream.
//!
//! Chunks are sealed one by one with AES-256-GCM-SIV, each under its number and whether it is the last (the STREAM
//! construction: Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance", 2015): a chunk that was changed, moved, doubled or left out does not open, and a file that was
//! cut off between two chunks lacks a last one. The header is bound to every chunk. Not here: what is in a backup
//! (`client::backup`), drawing random numbers: key and salt are arguments.
//!
//! ```text
//! file   = "tombolo backup\n" version:u8 salt:16 check:8 chunk_bytes:u32 chunk*
//! chunk  = sealed chunk_bytes (the last one: 0 to chunk_bytes), 16 bytes of tag
//! key    = BLAKE3 derive-key("tombolo 1 backup chunks", secret salt)
//! check  = first 8 bytes of BLAKE3 derive-key("tombolo 1 backup check", secret salt)
//! nonce  = number:u64 last:u8 0 0 0
//! ```

use crate::body::{OVERHEAD_BYTES, open_from, seal_into};
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const MAGIC: &[u8; 15] = b"tombolo backup\n";
const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;
const HEADER_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + CHECK_BYTES + 4;
/// **Bytes** of a chunk: large enough that 16 bytes of tag are nothing, small enough to hold two in memory anywhere.
const CHUNK_BYTES: usize = 256 * 1024;
/// **Bytes** that a chunk may claim: bounds what a hostile file makes us hold.
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
const CHUNKS_DOMAIN: &str = "tombolo 1 backup chunks";
const CHECK_DOMAIN: &str = "tombolo 1 backup check";

/// Why a backup cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("this is no backup")]
    NotABackup,
    /// Of a version that this one does not know.
    #[error("this backup is of a newer version (format {0}); update this program")]
    Newer(u8),
    /// Another key, or the first bytes were changed.
    #[error("the key does not fit this backup")]
    WrongKey,
    /// Bytes were changed, moved, doubled or left out.
    #[error("this backup is damaged at byte {at}: something was changed, moved or left out there")]
    Damaged {
        /// Where the first chunk that does not open begins.
        at: u64,
    },
    /// The end is missing.
    #[error("this backup ends too early, at byte {at}: it was not copied to its end")]
    CutOff {
        /// Its length.
        at: u64,
    },
}

impl From<BackupError> for io::Error {
    fn from(error: BackupError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl BackupError {
    /// The error inside one of I/O, if it is one of these.
    #[must_use]
    pub fn in_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// What opens a backup: 128 random bits, which a person writes down. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BackupKey([u8; 16]);

/// Letters that are not mistaken for each other (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits and 12 that tell mistakes, five a letter.
const LETTERS_OF_KEY: usize = 28;
const GROUP: usize = 4;

/// A text is no key of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackupKey {
    /// Too few or too many letters, or others.
    #[error("a backup key has {LETTERS_OF_KEY} letters and digits, in groups of {GROUP}")]
    Form,
    /// A letter is another.
    #[error("there is a mistake in this backup key: compare it letter by letter with what was written down")]
    Mistake,
}

impl BackupKey {
    /// Takes 16 bytes that must be uniformly random.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(*bytes)
    }

    /// 12 bits that tell mistakes.
    fn check(&self) -> u16 {
        let hash = blake3::derive_key("tombolo 1 backup key checksum", &self.0);
        u16::from_be_bytes([hash[0], hash[1]]) >> 4
    }

    fn derive(&self, domain: &'static str, salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key(domain));
        hasher.update(&self.0);
        hasher.update(salt);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupKey(hidden)")
    }
}

/// The key as it is written down: `ABCD-EFGH-...`.
impl fmt::Display for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits do not divide by five: the last three stand before the check.
        let number = u128::from_be_bytes(self.0);
        let tail = (number & 7) << 12 | u128::from(self.check());
        for at in 0..LETTERS_OF_KEY {
            if at > 0 && at % GROUP == 0 {
                f.write_str("-")?;
            }
            let five = if at < 25 { number >> (123 - 5 * at) } else { tail >> (5 * (27 - at)) };
            fmt::Write::write_char(f, char::from(LETTERS[(five & 31) as usize]))?;
        }
        Ok(())
    }
}

impl FromStr for BackupKey {
    type Err = InvalidBackupKey;

    /// Reads a key as it was written down: without regard to case, spaces, dashes, and letters that look alike.
    fn from_str(text: &str) -> Result<Self, InvalidBackupKey> {
        let (mut number, mut tail, mut count) = (0u128, 0u128, 0);
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let letter = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                letter => letter,
            };
            let five = LETTERS.iter().position(|known| char::from(*known) == letter).ok_or(InvalidBackupKey::Form)?;
            match count {
                0..25 => number = number << 5 | five as u128,
                25..LETTERS_OF_KEY => tail = tail << 5 | five as u128,
                _ => return Err(InvalidBackupKey::Form),
            }
            count += 1;
        }
        if count != LETTERS_OF_KEY {
            return Err(InvalidBackupKey::Form);
        }
        let key = Self((number << 3 | tail >> 12).to_be_bytes());
        if u128::from(key.check()) == tail & 0xfff { Ok(key) } else { Err(InvalidBackupKey::Mistake) }
    }
}

fn header(key: &BackupKey, salt: &[u8; SALT_BYTES], chunk_bytes: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let check = key.derive(CHECK_DOMAIN, salt);
    let parts: [&[u8]; 5] = [MAGIC, &[VERSION], salt, &check[..CHECK_BYTES], &chunk_bytes.to_be_bytes()];
    let mut at = 0;
    for part in parts {
        header[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    header
}

fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[8] = u8::from(last);
    nonce
}

/// Seals what is written into it. [`BackupWriter::finish`] writes the last chunk: without it the file counts as cut off.
pub struct BackupWriter<W: Write> {
    to: W,
    key: Zeroizing<[u8; 32]>,
    header: [u8; HEADER_BYTES],
    plain: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> fmt::Debug for BackupWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupWriter").field("chunks", &self.number).finish_non_exhaustive()
    }
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup. `salt` must be random and fresh: one key may seal several backups.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(mut to: W, key: &BackupKey, salt: [u8; SALT_BYTES]) -> io::Result<Self> {
        let header = header(key, &salt, CHUNK_BYTES as u32);
        to.write_all(&header)?;
        let plain = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES));
        Ok(Self { to, key: key.derive(CHUNKS_DOMAIN, &salt), header, plain, number: 0 })
    }

    fn chunk(&mut self, last: bool) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(self.plain.len() + OVERHEAD_BYTES);
        seal_into(&mut sealed, &*self.key, &nonce(self.number, last), &self.header, &self.plain);
        self.to.write_all(&sealed)?;
        self.plain.zeroize();
        self.number += 1;
        Ok(())
    }

    /// Writes the last chunk and hands the target back, for it to be made durable.
    ///
    /// # Errors
    /// Those of the target.
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk(true)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for BackupWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A full chunk waits for what comes: it may be the last.
        if self.plain.len() == CHUNK_BYTES {
            self.chunk(false)?;
        }
        let take = buf.len().min(CHUNK_BYTES - self.plain.len());
        self.plain.extend_from_slice(&buf[..take]);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Opens a backup. What it gives is genuine up to there; whether the end is missing is known only at the end, so nothing
/// may be believed before it was reached.
pub struct BackupReader<R: Read> {
    from: R,
    key: Zeroizing<[u8; 32]>,
    header: [u8; HEADER_BYTES],
    /// The sealed chunk that comes next, read ahead to know whether it is the last.
    next: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    given: usize,
    number: u64,
    /// Where `next` begins.
    at: u64,
    chunk_bytes: usize,
    done: bool,
}

impl<R: Read> fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupReader").field("chunks", &self.number).finish_non_exhaustive()
    }
}

impl<R: Read> BackupReader<R> {
    /// Begins to read a backup.
    ///
    /// # Errors
    /// [`BackupError`] inside an error of I/O, and those of `from`.
    pub fn new(mut from: R, key: &BackupKey) -> io::Result<Self> {
        let mut found = Vec::new();
        from.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut found)?;
        if !found.starts_with(MAGIC) {
            return Err(BackupError::NotABackup.into());
        }
        match found.get(MAGIC.len()) {
            Some(&VERSION) => {}
            Some(version) => return Err(BackupError::Newer(*version).into()),
            None => return Err(BackupError::CutOff { at: found.len() as u64 }.into()),
        }
        let Ok(found) = <[u8; HEADER_BYTES]>::try_from(found.as_slice()) else {
            return Err(BackupError::CutOff { at: found.len() as u64 }.into());
        };
        let salt_at = MAGIC.len() + 1;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&found[salt_at..salt_at + SALT_BYTES]);
        let mut chunk_bytes = [0; 4];
        chunk_bytes.copy_from_slice(&found[HEADER_BYTES - 4..]);
        let chunk_bytes = u32::from_be_bytes(chunk_bytes);
        if found != header(key, &salt, chunk_bytes) {
            return Err(BackupError::WrongKey.into());
        }
        if !(1..=CHUNK_BYTES_MAX).contains(&(chunk_bytes as usize)) {
            return Err(BackupError::Damaged { at: HEADER_BYTES as u64 - 4 }.into());
        }
        let mut reader = Self {
            from,
            key: key.derive(CHUNKS_DOMAIN, &salt),
            header: found,
            next: Vec::new(),
            plain: Zeroizing::new(Vec::new()),
            given: 0,
            number: 0,
            at: HEADER_BYTES as u64,
            chunk_bytes: chunk_bytes as usize,
            done: false,
        };
        reader.next = reader.sealed()?;
        Ok(reader)
    }

    fn sealed(&mut self) -> io::Result<Vec<u8>> {
        let mut sealed = Vec::new();
        self.from.by_ref().take((self.chunk_bytes + OVERHEAD_BYTES) as u64).read_to_end(&mut sealed)?;
        Ok(sealed)
    }

    /// Opens the next chunk.
    fn advance(&mut self) -> io::Result<()> {
        let after = self.sealed()?;
        let current = std::mem::replace(&mut self.next, after);
        let last = self.next.is_empty();
        let open = |last: bool| open_from(&*self.key, &nonce(self.number, last), &self.header, &current);
        match open(last) {
            Ok(plain) => {
                self.plain = plain;
                self.given = 0;
                self.number += 1;
                self.at += current.len() as u64;
                self.done = last;
                Ok(())
            }
            // A whole chunk that is followed by nothing, though it was not the last when it was written.
            Err(_) if last && open(false).is_ok() => {
                Err(BackupError::CutOff { at: self.at + current.len() as u64 }.into())
            }
            Err(_) if last && current.len() < self.chunk_bytes + OVERHEAD_BYTES && current.len() <= OVERHEAD_BYTES => {
                Err(BackupError::CutOff { at: self.at + current.len() as u64 }.into())
            }
            Err(_) => Err(BackupError::Damaged { at: self.at }.into()),
        }
    }
}

impl<R: Read> Read for BackupReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.given == self.plain.len() {
            if self.done || buf.is_empty() {
                return Ok(0);
            }
            self.advance()?;
        }
        let give = buf.len().min(self.plain.len() - self.given);
        buf[..give].copy_from_slice(&self.plain[self.given..self.given + give]);
        self.given += give;
        Ok(give)
    }
}
