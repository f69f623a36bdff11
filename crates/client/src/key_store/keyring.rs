//! Secrets in the system's keyring: Secret Service on Linux, Keychain on macOS, Credential Manager on Windows.
//!
//! The keyring may ask the person for a password and then answers late or never, and its D-Bus client must not run on a
//! worker of an async runtime: so every call has a thread of its own and a time limit. A thread that never returns is
//! left behind; it holds nothing of ours but the one secret.

use super::KeyStoreError;
use keyring::{Entry, Error};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use zeroize::Zeroizing;

/// Name of this program in the keyring.
const SERVICE: &str = "tombolo";
/// **Milliseconds** for one call: long enough to type a password.
const LIMIT_MS: u64 = 60_000;

/// The entries of one home.
#[derive(Debug)]
pub(super) struct Keyring {
    /// Tells homes apart without naming them.
    home: String,
    limit_ms: u64,
}

impl Keyring {
    pub(super) fn open(home: &Path) -> Result<Self, KeyStoreError> {
        let keyring = Self { home: scope(home)?, limit_ms: LIMIT_MS };
        let status = || match Entry::store_status() {
            Ok(()) => Ok(()),
            Err(error) => Err(KeyStoreError::NoKeyring { cause: cause(error) }),
        };
        within(keyring.limit_ms, "answer", status)?;
        Ok(keyring)
    }

    pub(super) fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeyStoreError> {
        let secret = Zeroizing::new(secret.to_vec());
        self.with_entry(name, "keep a key", move |entry| entry.set_secret(&secret))
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        self.with_entry(name, "give a key", |entry| match entry.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        })
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), KeyStoreError> {
        self.with_entry(name, "delete a key", |entry| match entry.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(error),
        })
    }

    fn with_entry<T: Send + 'static>(
        &self,
        name: &str,
        what: &'static str,
        ask: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let user = format!("{}/{name}", self.home);
        within(self.limit_ms, what, move || {
            Entry::new(SERVICE, &user).and_then(|entry| ask(&entry)).map_err(|error| match error {
                Error::NoDefaultStore => KeyStoreError::NoKeyring { cause: cause(&error) },
                error => KeyStoreError::Refused { what, cause: cause(&error) },
            })
        })
    }
}

/// Stands for a home in the names of its entries: a hash of its canonical path.
fn scope(home: &Path) -> Result<String, KeyStoreError> {
    let path = std::fs::canonicalize(home).map_err(|source| KeyStoreError::File {
        path: home.to_owned(),
        what: "found",
        source,
    })?;
    let hash = blake3::derive_key("tombolo 1 home of keyring entries", path.as_os_str().as_encoded_bytes());
    Ok(tombolo_model::id::hex(&hash[..16]))
}

/// Runs `ask` on a thread of its own and waits at most `limit_ms`.
fn within<T: Send + 'static>(
    limit_ms: u64,
    what: &'static str,
    ask: impl FnOnce() -> Result<T, KeyStoreError> + Send + 'static,
) -> Result<T, KeyStoreError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let asking = thread::Builder::new().name("keyring".to_owned()).spawn(move || {
        // Nobody listens any more when the time was over: then the answer is dropped, and wiped.
        let _ = answer.send(ask());
    });
    if let Err(error) = asking {
        return Err(KeyStoreError::Refused { what, cause: format!("no thread could be started: {error}") });
    }
    match answered.recv_timeout(Duration::from_millis(limit_ms)) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(KeyStoreError::TooSlow { what, limit_ms }),
        Err(RecvTimeoutError::Disconnected) => {
            Err(KeyStoreError::Refused { what, cause: "its client library failed".to_owned() })
        }
    }
}

/// The error in one line, without what it may carry (some variants hold the secret's bytes).
fn cause(error: &Error) -> String {
    match error {
        Error::PlatformFailure(cause) | Error::NoStorageAccess(cause) => cause.to_string(),
        Error::NoDefaultStore => "there is none".to_owned(),
        Error::BadEncoding(_) | Error::BadDataFormat(..) => "it keeps the key in a form that is not ours".to_owned(),
        Error::Ambiguous(entries) => format!("it has {} entries where one should be", entries.len()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_keyring_that_never_answers_does_not_hold_us() {
        let begin = Instant::now();
        let stuck = within(50, "give a key", || {
            thread::sleep(Duration::from_secs(5));
            Ok(())
        });
        assert!(begin.elapsed() < Duration::from_secs(2));
        let error = stuck.unwrap_err();
        assert_eq!(error.code(), "keyring_too_slow");
        assert!(error.to_string().contains("--key-store file"), "{error}");
    }

    #[test]
    fn a_client_that_panics_is_an_error() {
        let broken = within::<()>(5_000, "give a key", || panic!("as a library might"));
        assert_eq!(broken.unwrap_err().code(), "keyring_refused");
    }

    #[test]
    fn causes_never_carry_the_secret() {
        let shown =
            cause(&Error::BadEncoding(vec![0xa1; 32])) + &cause(&Error::BadDataFormat(vec![161; 4], "x".into()));
        assert!(!shown.contains("161") && !shown.contains("a1"), "{shown}");
    }

    #[test]
    fn a_home_is_one_scope_however_it_is_written() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = scope(a.path()).unwrap();
        assert_eq!(scope(&a.path().join(".").join("")).unwrap(), one);
        assert_ne!(scope(b.path()).unwrap(), one);
        assert!(one.len() == 32 && !one.contains('/'));
        assert_eq!(scope(&a.path().join("nowhere")).unwrap_err().code(), "keys_file");
    }
}
