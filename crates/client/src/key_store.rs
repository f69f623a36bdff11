//! Where the few secrets of a home are kept: the system's keyring, or a file that only its owner can read.
//!
//! Which of the two is the person's choice, made once; there is no silent fallback. Secrets are small (seeds and keys of
//! 32 bytes) and have short names. Everything here blocks: on an async runtime, call it from a blocking thread.
//! Not here: what the secrets are (`identity`, `seal`) and what is sealed under them.
//! Read next: [`keyring`], [`file`].

mod file;
mod keyring;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// Longest name of a secret in **bytes**.
pub const NAME_BYTES_MAX: usize = 64;
/// Largest secret in **bytes**: what every system's keyring takes.
pub const SECRET_BYTES_MAX: usize = 1024;

/// Where secrets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyStoreKind {
    /// The keyring of the operating system.
    #[default]
    Keyring,
    /// The file `keys` in the home, readable only by its owner: the less safe choice.
    File,
}

impl fmt::Display for KeyStoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyring => "keyring",
            Self::File => "file",
        })
    }
}

impl FromStr for KeyStoreKind {
    type Err = KeyStoreError;

    fn from_str(text: &str) -> Result<Self, KeyStoreError> {
        match text {
            "keyring" => Ok(Self::Keyring),
            "file" => Ok(Self::File),
            _ => Err(KeyStoreError::UnknownKind(text.to_owned())),
        }
    }
}

/// The ways out, named in every error of the keyring.
const WAYS: &str = "unlock or start the system's keyring, or choose to keep keys in a file that only you can read, \
                    which is less safe: `--key-store file` or TOMBOLO_KEY_STORE=file";

/// Why a secret could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// Neither `keyring` nor `file`.
    #[error("there is no key store of the kind {0:?}: choose `keyring` or `file`")]
    UnknownKind(String),
    /// This system has no keyring, or none is running.
    #[error("no keyring of this system answers ({cause}); {WAYS}")]
    NoKeyring {
        /// What the system said.
        cause: String,
    },
    /// The keyring is there and refuses, for instance because it is locked.
    #[error("the system's keyring refuses to {what} ({cause}); {WAYS}")]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        cause: String,
    },
    /// The keyring did not answer in time; perhaps it waits for a password that nobody types.
    #[error("the system's keyring did not {what} within {limit_ms} ms; {WAYS}")]
    TooSlow {
        /// What was asked of it.
        what: &'static str,
        /// For how long was waited, **milliseconds**.
        limit_ms: u64,
    },
    /// What was read back is not what was written.
    #[error("the system's keyring does not give back what it is given; {WAYS}")]
    Forgetful,
    /// Others can read the file of keys.
    #[error(
        "the file of keys {path} can be read by others (mode {mode:04o}): look who may have read it, then `chmod 600` it"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file cannot be read or written.
    #[error("the file of keys {path} cannot be {what} ({source}): check the disk and the permissions of the folder")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// `read`, `written` ...
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not one of ours, or damaged.
    #[error("the file of keys {path} is damaged at line {line}: restore it from a backup; it was not touched")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// First line that makes no sense, from 1.
        line: usize,
    },
    /// Made by a newer version.
    #[error("the file of keys {path} is of a newer version: update this program; the file was not touched")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("this system gives no random numbers ({0}), and without them no key is safe: repair the system")]
    NoRandomness(String),
    /// A fault of this program: a name or a secret that no store takes.
    #[error("a secret was given a bad name or is too large: this is a fault of this program, please report it")]
    NotStorable,
}

impl KeyStoreError {
    /// A stable name for `--json` and for tests.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKind(_) => "unknown_key_store",
            Self::NoKeyring { .. } => "no_keyring",
            Self::Refused { .. } => "keyring_refused",
            Self::TooSlow { .. } => "keyring_too_slow",
            Self::Forgetful => "keyring_forgetful",
            Self::TooOpen { .. } => "keys_too_open",
            Self::File { .. } => "keys_file",
            Self::Damaged { .. } => "keys_damaged",
            Self::Newer { .. } => "keys_newer",
            Self::NoRandomness(_) => "no_randomness",
            Self::NotStorable => "not_storable",
        }
    }
}

/// An open key store of one home.
#[derive(Debug)]
pub struct KeyStore {
    store: Store,
}

#[derive(Debug)]
enum Store {
    Keyring(keyring::Keyring),
    File(file::KeyFile),
}

impl KeyStore {
    /// Opens the store of `kind` for the existing folder `home`. Entries in the keyring belong to the folder's canonical
    /// path: a home that was moved does not find them.
    ///
    /// # Errors
    /// [`KeyStoreError::NoKeyring`] quickly when there is none; for a file [`KeyStoreError::TooOpen`] and what reading it
    /// may bring.
    pub fn open(kind: KeyStoreKind, home: &Path) -> Result<Self, KeyStoreError> {
        let store = match kind {
            KeyStoreKind::Keyring => Store::Keyring(keyring::Keyring::open(home)?),
            KeyStoreKind::File => Store::File(file::KeyFile::open(home)?),
        };
        Ok(Self { store })
    }

    /// What kind of store this is.
    #[must_use]
    pub fn kind(&self) -> KeyStoreKind {
        match self.store {
            Store::Keyring(_) => KeyStoreKind::Keyring,
            Store::File(_) => KeyStoreKind::File,
        }
    }

    /// Keeps `secret` under `name` (lower-case letters, digits, `-`; at most [`NAME_BYTES_MAX`]), replacing what was there.
    /// It is durable when this returns.
    ///
    /// # Errors
    /// [`KeyStoreError`]; what was there before is still there then.
    pub fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeyStoreError> {
        check_name(name)?;
        if secret.len() > SECRET_BYTES_MAX {
            return Err(KeyStoreError::NotStorable);
        }
        match &self.store {
            Store::Keyring(keyring) => keyring.put(name, secret),
            Store::File(file) => file.put(name, secret),
        }
    }

    /// The secret under `name`, `None` when there is none. Wiped when dropped.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        check_name(name)?;
        match &self.store {
            Store::Keyring(keyring) => keyring.get(name),
            Store::File(file) => file.get(name),
        }
    }

    /// Forgets the secret under `name`; fine when there is none.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn delete(&self, name: &str) -> Result<(), KeyStoreError> {
        check_name(name)?;
        match &self.store {
            Store::Keyring(keyring) => keyring.delete(name),
            Store::File(file) => file.delete(name),
        }
    }

    /// Shows that secrets can be kept: writes one, reads it back, deletes it. For `init`, before anything depends on it.
    ///
    /// # Errors
    /// [`KeyStoreError`]; nothing is left behind where the store allows deleting.
    pub fn probe(&self) -> Result<(), KeyStoreError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| KeyStoreError::NoRandomness(error.to_string()))?;
        // Its own name each time, so that two programs can probe at once.
        let name = format!("probe-{}", tombolo_model::id::hex(&secret[..6]));
        self.put(&name, &secret)?;
        let back = self.get(&name);
        let deleted = self.delete(&name);
        if back?.is_none_or(|back| *back != secret) {
            return Err(KeyStoreError::Forgetful);
        }
        deleted
    }
}

fn check_name(name: &str) -> Result<(), KeyStoreError> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(known) {
        return Err(KeyStoreError::NotStorable);
    }
    Ok(())
}
