//! The home of one profile: its description, its keys in the key store, its database, and the lock that keeps it to one
//! program at a time.
//!
//! `profile.json` holds nothing secret. Keys lie in the key store under `account`, `device` and `storage`.

use crate::key_store::{KeyStore, KeyStoreError, KeyStoreKind};
use crate::node::Identity;
use crate::{Error, tail_mark};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_seal::StorageKey;

const VERSION: u32 = 1;

/// What `profile.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    version: u32,
    name: String,
    account: String,
    device: String,
    certified_ms: u64,
    key_store: String,
    relays: Vec<String>,
}

impl Description {
    /// Of somebody whose keys are in such a key store.
    pub(crate) fn of(identity: &Identity, kind: KeyStoreKind) -> Self {
        Self {
            version: VERSION,
            name: identity.name.clone(),
            account: identity.account.id().to_string(),
            device: identity.device.id().to_string(),
            certified_ms: identity.certified_ms,
            key_store: kind_word(kind).to_owned(),
            relays: identity.relays.iter().map(|relay| relay.url.clone()).collect(),
        }
    }
}

/// A profile that is open for this program alone.
#[derive(Debug)]
pub(crate) struct Profile {
    home: PathBuf,
    pub(crate) identity: Identity,
    /// Whether the store is the one that was last closed in order.
    pub(crate) continue_logs: bool,
    pub(crate) lock: File,
}

impl From<KeyStoreError> for Error {
    fn from(error: KeyStoreError) -> Self {
        let hint = "use `--key-store file` (less safe: a file in the home that only you can read) or set TOMBOLO_KEY_STORE=file";
        Self::new(
            error.code(),
            error.to_string(),
            if matches!(error.code(), "keyring-unavailable") { hint } else { "" },
        )
    }
}

fn io_error(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable, or choose another with --home"
        }
        std::io::ErrorKind::StorageFull => "free some space; nothing was lost",
        _ => "",
    };
    Error::new("home", format!("{what} {} failed: {error}", path.display()), hint)
}

fn lock(home: &Path) -> Result<File, Error> {
    let path = home.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| io_error("opening", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::new(
            "in-use",
            "another program is using this home",
            "close it (`tombolo watch` or `listen` may be running), or wait a moment",
        )),
        Err(fs::TryLockError::Error(error)) => Err(io_error("locking", &path, &error)),
    }
}

/// Waits a little for the lock: commands follow each other quickly in scripts.
fn lock_patiently(home: &Path) -> Result<File, Error> {
    for _ in 0..50 {
        match lock(home) {
            Err(error) if error.code() == "in-use" => std::thread::sleep(std::time::Duration::from_millis(100)),
            other => return other,
        }
    }
    lock(home)
}

/// Makes the folder of a profile, which nobody else may enter, and locks it.
///
/// # Errors
/// `profile-exists` where there is a profile already, `in-use`, `home`.
pub(crate) fn prepare(home: &Path) -> Result<File, Error> {
    fs::create_dir_all(home).map_err(|error| io_error("creating", home, &error))?;
    restrict(home).map_err(|error| io_error("restricting", home, &error))?;
    let lock = lock(home)?;
    if description(home).exists() {
        let hint = "use it, or choose another home with --home";
        return Err(Error::new("profile-exists", format!("{} has a profile already", home.display()), hint));
    }
    crate::backup::abandon(home)?;
    Ok(lock)
}

fn description(home: &Path) -> PathBuf {
    home.join("profile.json")
}

/// Writes what a profile is; with it the home is one.
pub(crate) fn describe(home: &Path, what: &Description) -> Result<(), Error> {
    write(&description(home), what)
}

/// Creates a profile: keys, description. The database comes with the first opening.
pub(crate) fn create(
    home: &Path,
    name: &str,
    relays: &[String],
    kind: KeyStoreKind,
    now_ms: u64,
    entropy: &mut dyn crate::Entropy,
) -> Result<(), Error> {
    let _lock = prepare(home)?;
    if name.trim().is_empty() || name.len() > tombolo_model::limit::NAME_BYTES_MAX {
        return Err(Error::new("name", "a name needs 1 to 256 bytes", ""));
    }
    for relay in relays {
        check_url(relay)?;
    }
    let store = KeyStore::open(kind, home)?;
    store.probe()?;
    let (account, device): ([u8; 32], [u8; 32]) = (entropy.bytes(), entropy.bytes());
    let storage: [u8; 32] = entropy.bytes();
    store.put("account", &account)?;
    store.put("device", &device)?;
    store.put("storage", &storage)?;
    let description = Description {
        version: VERSION,
        name: name.to_owned(),
        account: AccountKey::from_seed(account).id().to_string(),
        device: DeviceKey::from_seed(device).id().to_string(),
        certified_ms: now_ms,
        key_store: kind_word(kind).to_owned(),
        relays: relays.to_vec(),
    };
    describe(home, &description)
}

/// Checks an address of a relay.
pub(crate) fn check_url(url: &str) -> Result<(), Error> {
    if tombolo_seal::invitation::is_relay_url(url) {
        Ok(())
    } else {
        let hint = "an address looks like ws://127.0.0.1:7400 or wss://relay.example";
        Err(Error::new("address", format!("{url:?} is not the address of a relay"), hint))
    }
}

fn kind_word(kind: KeyStoreKind) -> &'static str {
    match kind {
        KeyStoreKind::Keyring => "keyring",
        KeyStoreKind::File => "file",
    }
}

fn write(path: &Path, description: &Description) -> Result<(), Error> {
    let text =
        serde_json::to_string_pretty(description).map_err(|error| Error::new("profile", error.to_string(), ""))?;
    let part = path.with_extension("json.part");
    let put = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    put().map_err(|error| io_error("writing", path, &error))
}

#[cfg(unix)]
fn restrict(home: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(home, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn restrict(_home: &Path) -> std::io::Result<()> {
    Ok(())
}

impl Profile {
    /// Opens the profile in `home`; `kind` overrides where its keys are sought.
    pub(crate) fn open(home: &Path, kind: Option<KeyStoreKind>) -> Result<Self, Error> {
        let path = description(home);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(
                "no-profile",
                format!("there is no profile in {}", home.display()),
                "create one with `tombolo init --name NAME`, or name its folder with --home",
            ),
            _ => io_error("reading", &path, &error),
        })?;
        let damaged = |detail: String| {
            Error::new("profile", format!("{} is damaged: {detail}", path.display()), "restore it from a backup")
        };
        let description: Description = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if description.version > VERSION {
            return Err(Error::new(
                "newer",
                "a newer version of this program made this profile",
                "update this program",
            ));
        }
        let lock = lock_patiently(home)?;
        crate::backup::tidy(home)?;
        let kind =
            kind.unwrap_or(if description.key_store == "file" { KeyStoreKind::File } else { KeyStoreKind::Keyring });
        let store = KeyStore::open(kind, home)?;
        let key = |name: &str| -> Result<[u8; 32], Error> {
            let Some(found) = store.get(name)? else {
                let words = format!("the key store ({}) has no key `{name}` of this profile", kind_word(kind));
                let hint = "unlock the keyring, or name the key store that the profile was made with (--key-store); the messages are still there";
                return Err(Error::new("key-missing", words, hint));
            };
            found.as_slice().try_into().map_err(|_| damaged(format!("key `{name}` has another length")))
        };
        let identity = Identity {
            account: AccountKey::from_seed(key("account")?),
            device: DeviceKey::from_seed(key("device")?),
            certified_ms: description.certified_ms,
            storage: StorageKey::new(key("storage")?),
            name: description.name,
            relays: description
                .relays
                .into_iter()
                .map(|url| RelayAddress { key: [0; 32], url, region: String::new() })
                .collect(),
        };
        if identity.device.id().to_string() != description.device {
            return Err(damaged("the key store holds the keys of another profile".into()));
        }
        let continue_logs = tail_mark::take(&database(home));
        Ok(Self { home: home.to_owned(), identity, continue_logs, lock })
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        database(&self.home)
    }
}

/// The name of the database in a home.
pub(crate) const DATABASE: &str = "tombolo.db";

fn database(home: &Path) -> PathBuf {
    home.join(DATABASE)
}
