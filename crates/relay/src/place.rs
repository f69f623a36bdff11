//! The data folder: key, database, configuration, and the lock that keeps a second relay out.
//!
//! Responsible for: making what is missing with narrow permissions, refusing what would silently become another relay.
//! Not here: what is in the database (`oplog`), what the settings mean (`config.rs`).

use crate::{Config, RelayError};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tombolo_identity::DeviceKey;
use tombolo_model::id::{hex, unhex};
use tombolo_oplog::{Log, Open};

/// Fills bytes from the system's source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RelayError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RelayError::System(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// A data folder.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
}

/// Held by a running relay; other processes see it, and see it gone when the process dies in whatever way.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
}

impl Held {
    /// Tells `status` where this relay listens.
    pub(crate) fn say(&mut self, url: &str) -> std::io::Result<()> {
        self.file.write_all(url.as_bytes())?;
        self.file.sync_all()
    }
}

impl Place {
    /// A folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The configuration file, if it exists.
    #[must_use]
    pub fn config(&self) -> Option<PathBuf> {
        Some(self.folder.join("relay.toml")).filter(|path| path.exists())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("relay.db")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("relay.key")
    }

    /// Makes the folder, for this user alone.
    ///
    /// # Errors
    /// [`RelayError::DataFolder`].
    pub fn make(&self) -> Result<(), RelayError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(&self.folder).map_err(|source| self.failed(&self.folder, source))
    }

    /// Takes the folder for one running relay.
    pub(crate) fn hold(&self) -> Result<Held, RelayError> {
        let path = self.folder.join("relay.lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|source| self.failed(&path, source))?;
        // `status` holds the lock for a moment when it looks.
        for _ in 0..4 {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0).map_err(|source| self.failed(&path, source))?;
                    return Ok(Held { file });
                }
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
                Err(fs::TryLockError::Error(source)) => return Err(self.failed(&path, source)),
            }
        }
        Err(RelayError::InUse { path: self.folder.clone() })
    }

    /// Where a relay that runs on this folder listens; `None` when none runs.
    #[must_use]
    pub fn running_at(&self) -> Option<String> {
        let mut file = File::open(self.folder.join("relay.lock")).ok()?;
        if file.try_lock_shared().is_ok() {
            return None;
        }
        let mut url = String::new();
        file.read_to_string(&mut url).ok()?;
        Some(url)
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`RelayError::DataFolder`] when it cannot be read, [`RelayError::Key`] when it is none.
    pub fn key(&self) -> Result<DeviceKey, RelayError> {
        let path = self.key_file();
        let text = fs::read_to_string(&path).map_err(|source| self.failed(&path, source))?;
        if narrow(&path).map_err(|source| self.failed(&path, source))? {
            tracing::warn!(path = %path.display(), "others could read the relay's key; now only this user can");
        }
        let seed = unhex(text.trim()).map_err(|_| RelayError::Key { path })?;
        Ok(DeviceKey::from_seed(seed))
    }

    /// Reads the key; makes one where there is neither key nor database.
    ///
    /// # Errors
    /// As [`Place::key`], and [`RelayError::KeyMissing`].
    pub fn key_or_new(&self) -> Result<DeviceKey, RelayError> {
        let path = self.key_file();
        if path.exists() {
            return self.key();
        }
        if self.database().exists() {
            return Err(RelayError::KeyMissing { path });
        }
        let key = DeviceKey::from_seed(random()?);
        let text = hex(key.seed().as_ref()) + "\n";
        self.write_new(&path, text.as_bytes())?;
        Ok(key)
    }

    /// Opens the database, makes it if there is none.
    ///
    /// # Errors
    /// [`RelayError::Store`].
    pub fn open(&self) -> Result<Log, RelayError> {
        let log = Log::open(Open::new(self.database(), u64::from_be_bytes(random()?)))?;
        narrow(&self.database()).map_err(|source| self.failed(&self.database(), source))?;
        Ok(log)
    }

    /// Makes folder, key, database and a commented configuration.
    ///
    /// # Errors
    /// [`RelayError::Exists`] when there is a configuration already; others as they say.
    pub fn init(&self, config: &Config) -> Result<DeviceKey, RelayError> {
        config.check()?;
        self.make()?;
        let path = self.folder.join("relay.toml");
        if path.exists() {
            return Err(RelayError::Exists { path });
        }
        let _held = self.hold()?;
        let key = self.key_or_new()?;
        self.open()?.close()?;
        self.write_new(&path, config.commented().as_bytes())?;
        Ok(key)
    }

    /// A new file that is on the disk when this returns, for this user alone.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), RelayError> {
        let write = || -> std::io::Result<()> {
            let half = path.with_extension("new");
            match fs::remove_file(&half) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            let mut file = options.open(&half)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&half, path)?;
            // The name too must survive a power cut: a relay that forgets its key is another relay.
            #[cfg(unix)]
            File::open(&self.folder)?.sync_all()?;
            Ok(())
        };
        write().map_err(|source| self.failed(path, source))
    }

    fn failed(&self, path: &Path, source: std::io::Error) -> RelayError {
        RelayError::DataFolder { path: path.into(), source }
    }
}

/// Takes away what others may do with a file; says whether they could do anything.
fn narrow(path: &Path) -> std::io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let wide = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
        if wide {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(wide)
    }
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| false)
}

/// A folder that is gone when this is dropped.
#[derive(Debug)]
pub struct ThrowAway(PathBuf);

impl ThrowAway {
    /// Makes one in the system's folder for such things.
    ///
    /// # Errors
    /// [`RelayError::DataFolder`].
    pub fn new() -> Result<Self, RelayError> {
        let name = format!("tombolo-relay-{}", hex(&random::<6>()?));
        let place = Place::new(std::env::temp_dir().join(name));
        place.make()?;
        Ok(Self(place.folder))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // What stays behind is a few files in a folder for throw-away files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_stays_and_is_never_made_beside_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("a/b"));
        place.make().unwrap();
        let key = place.key_or_new().unwrap().id();
        assert_eq!(place.key_or_new().unwrap().id(), key);
        place.open().unwrap().close().unwrap();
        fs::remove_file(place.key_file()).unwrap();
        assert!(matches!(place.key_or_new(), Err(RelayError::KeyMissing { .. })));
        fs::write(place.key_file(), "short").unwrap();
        assert!(matches!(place.key(), Err(RelayError::Key { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        place.key_or_new().unwrap();
        let mode = || fs::metadata(place.key_file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(place.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
        place.key().unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn one_relay_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        assert_eq!(place.running_at(), None);
        let mut held = place.hold().unwrap();
        held.say("ws://127.0.0.1:1").unwrap();
        assert!(matches!(place.hold(), Err(RelayError::InUse { .. })));
        assert_eq!(place.running_at().as_deref(), Some("ws://127.0.0.1:1"));
        drop(held);
        assert_eq!(place.running_at(), None);
        place.hold().unwrap();
    }

    #[test]
    fn init_writes_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("relay"));
        let config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
        let key = place.init(&config).unwrap().id();
        assert_eq!(Config::read(&place.config().unwrap()).unwrap(), config);
        assert_eq!(place.key().unwrap().id(), key);
        assert!(matches!(place.init(&config), Err(RelayError::Exists { .. })));
        assert_eq!(place.key().unwrap().id(), key);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let error = Place::new(dir.path().join("file/relay")).make().unwrap_err();
        assert!(error.to_string().contains("file/relay"), "{error}");
        fs::write(dir.path().join("relay.db"), vec![7; 4096]).unwrap();
        let error = Place::new(dir.path()).open().unwrap_err();
        assert_eq!(error.code(), "not-a-store");
    }
}
