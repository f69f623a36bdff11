//! Secrets in the file `keys` of the home, mode 0600: for machines without a keyring, and for tests.
//!
//! A line a secret: name, space, hex; the first line names the format. The file is replaced as a whole (written beside,
//! synced, renamed, folder synced), so that a crash leaves the old or the new one; a lock on `keys.lock` keeps two
//! programs from replacing each other's work. A file that others can read is refused rather than repaired: somebody
//! should ask why. Deleting leaves old blocks on the disk; this store is the less safe choice and says so.

use super::{KeyStoreError, NAME_BYTES_MAX, SECRET_BYTES_MAX};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const HEAD: &str = "tombolo keys 1";
const HEAD_OF_ANY: &str = "tombolo keys ";
/// **Bytes** of the whole file; a home has a dozen secrets.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

type Secrets = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The file of one home.
#[derive(Debug)]
pub(super) struct KeyFile {
    home: PathBuf,
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn open(home: &Path) -> Result<Self, KeyStoreError> {
        let file = Self { home: home.to_owned(), path: home.join("keys") };
        file.read()?;
        Ok(file)
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        Ok(self.read()?.remove(name))
    }

    pub(super) fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeyStoreError> {
        let _locked = self.lock()?;
        let mut secrets = self.read()?;
        secrets.insert(name.to_owned(), Zeroizing::new(secret.to_vec()));
        self.write(&secrets)
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), KeyStoreError> {
        let _locked = self.lock()?;
        let mut secrets = self.read()?;
        if secrets.remove(name).is_some() { self.write(&secrets) } else { Ok(()) }
    }

    fn error(&self, what: &'static str) -> impl Fn(io::Error) -> KeyStoreError {
        let path = self.path.clone();
        move |source| KeyStoreError::File { path: path.clone(), what, source }
    }

    /// Keeps other programs from writing until dropped.
    fn lock(&self) -> Result<File, KeyStoreError> {
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(self.home.join("keys.lock"))
            .map_err(self.error("locked"))?;
        lock.lock().map_err(self.error("locked"))?;
        Ok(lock)
    }

    fn read(&self) -> Result<Secrets, KeyStoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // No file yet; but a home that is not there is an error.
                fs::metadata(&self.home).map_err(self.error("found"))?;
                return Ok(Secrets::new());
            }
            Err(error) => return Err(self.error("read")(error)),
        };
        let about = file.metadata().map_err(self.error("read"))?;
        self.check_mode(&about)?;
        if !about.is_file() || about.len() > FILE_BYTES_MAX {
            return Err(KeyStoreError::Damaged { path: self.path.clone(), line: 1 });
        }
        // Room from the start: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(about.len() as usize + 64));
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(self.error("read"))?;
        self.parse(&bytes)
    }

    #[cfg(unix)]
    fn check_mode(&self, about: &fs::Metadata) -> Result<(), KeyStoreError> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = about.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 { Ok(()) } else { Err(KeyStoreError::TooOpen { path: self.path.clone(), mode }) }
    }

    /// Elsewhere the permissions of the person's own folder apply.
    #[cfg(not(unix))]
    fn check_mode(&self, _about: &fs::Metadata) -> Result<(), KeyStoreError> {
        Ok(())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Secrets, KeyStoreError> {
        let damaged = |line: usize| KeyStoreError::Damaged { path: self.path.clone(), line: line + 1 };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged(0))?;
        if !text.ends_with('\n') {
            return Err(damaged(text.lines().count().saturating_sub(1)));
        }
        let mut secrets = Secrets::new();
        for (at, line) in text.lines().enumerate() {
            if at == 0 {
                match line {
                    HEAD => continue,
                    other if other.starts_with(HEAD_OF_ANY) => {
                        return Err(KeyStoreError::Newer { path: self.path.clone() });
                    }
                    _ => return Err(damaged(0)),
                }
            }
            let (name, digits) = line.split_once(' ').ok_or_else(|| damaged(at))?;
            let secret = unhex(digits).ok_or_else(|| damaged(at))?;
            if name.is_empty() || name.len() > NAME_BYTES_MAX || secrets.insert(name.to_owned(), secret).is_some() {
                return Err(damaged(at));
            }
        }
        Ok(secrets)
    }

    fn write(&self, secrets: &Secrets) -> Result<(), KeyStoreError> {
        let room: usize = secrets.iter().map(|(name, secret)| name.len() + 2 * secret.len() + 2).sum();
        let mut text = Zeroizing::new(Vec::with_capacity(HEAD.len() + 1 + room));
        text.extend_from_slice(HEAD.as_bytes());
        text.push(b'\n');
        for (name, secret) in secrets {
            text.extend_from_slice(name.as_bytes());
            text.push(b' ');
            text.extend(secret.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| match nibble {
                0..=9 => b'0' + nibble,
                _ => b'a' + nibble - 10,
            }));
            text.push(b'\n');
        }
        // One name for the new file: what a crash left behind is overwritten, not piled up.
        let beside = self.home.join("keys.new");
        let written = self.replace(&beside, &text);
        if written.is_err() {
            // The error of the write says more than one of the clean-up would.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(self.error("written"))
    }

    fn replace(&self, beside: &Path, text: &[u8]) -> io::Result<()> {
        match fs::remove_file(beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new`: never writes through a link that somebody put there.
        let mut file = private(OpenOptions::new().create_new(true).write(true)).open(beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        drop(file);
        fs::rename(beside, &self.path)?;
        // The new name is durable only with its folder.
        #[cfg(unix)]
        File::open(&self.home)?.sync_all()?;
        Ok(())
    }
}

/// Files made with these options are for their owner alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn unhex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * SECRET_BYTES_MAX {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        bytes.push((high << 4 | low) as u8);
    }
    Some(bytes)
}
