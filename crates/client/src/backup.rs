//! One file that holds a whole profile, and only its key opens; and a profile made of such a file.
//!
//! The copy of the database is made by SQLCipher into a file under a key of its own, drawn for it and forgotten
//! afterwards, then sealed a second time together with the keys of the account; what people wrote never lies on the disk
//! in the clear on the way. What a crash leaves is such a file, and the next start removes it.
//!
//! Whoever restores becomes another device, always: the old one may still live, and two that write one log would fork it.
//! The new one is certified by the account in all conversations, begins new logs, and meets every peer for the first time.
//! Not here: the sealing (`seal::backup`), what a profile is (`profile.rs`).
//!
//! ```text
//! content = (kind:u8 len:u64 bytes)*      1 keys: account 32, storage 32, key of the copy 32
//!                                         2 description: JSON {name, account, relays, made_ms}
//!                                         3 the copy of the database      others are left alone
//! ```

use crate::entropy::Entropy;
use crate::key_store::KeyStore;
use crate::node::{Identity, Node};
use crate::profile::{self, Description};
use crate::{Config, Created, Error, SystemEntropy, tail_mark};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_oplog::rusqlite::{self, Connection, OpenFlags, params};
use tombolo_oplog::{Log, Open};
use tombolo_replica::Now;
use tombolo_seal::StorageKey;
use tombolo_seal::backup::{BackupError, BackupKey, BackupReader, BackupWriter};
use zeroize::Zeroizing;

const KEYS: u8 = 1;
const DESCRIPTION: u8 = 2;
const DATABASE: u8 = 3;
/// **Bytes** of the keys.
const KEYS_BYTES: usize = 96;
/// **Bytes** of a description: a name and some addresses.
const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024;
/// Parts of a backup, known or not.
const PARTS_MAX: usize = 64;
/// Names of what lies in the home for as long as it is worked on. Both are keyed databases.
const COPY: &str = "backup.tmp";
const RESTORED: &str = "restore.tmp";

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Opens it: to be shown once and written down. It is kept nowhere.
    pub key: BackupKey,
    /// Its **bytes**.
    pub bytes: u64,
    /// Conversations in it.
    pub conversations: u64,
}

#[derive(Serialize, Deserialize)]
struct About {
    name: String,
    account: String,
    relays: Vec<String>,
    made_ms: u64,
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    if let Some(error) = BackupError::in_io(error) {
        let (code, hint) = match error {
            BackupError::NotABackup => ("not-a-backup", "name the file that `tombolo backup` made"),
            BackupError::Newer(_) => ("newer", ""),
            BackupError::WrongKey => ("wrong-key", "compare the key with what was written down"),
            BackupError::Damaged { .. } => ("damaged", "take another copy of the backup; nothing was changed here"),
            BackupError::CutOff { .. } => ("cut-off", "take another copy of the backup; nothing was changed here"),
        };
        return Error::new(code, error.to_string(), hint);
    }
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "free some space; nothing was lost",
        io::ErrorKind::AlreadyExists => "name another file: a backup never replaces another one",
        _ => "",
    };
    Error::new("file", format!("{what} {} failed: {error}", path.display()), hint)
}

/// Removes a database that was worked on, with all that SQLite lays beside it.
fn remove(path: &Path) -> io::Result<()> {
    for ending in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what a crash has left in a home. To be called under its lock, when there is a profile.
pub(crate) fn tidy(home: &Path) -> Result<(), Error> {
    for name in [COPY, RESTORED] {
        let path = home.join(name);
        remove(&path).map_err(|error| failed("removing", &path, &error))?;
    }
    Ok(())
}

/// Removes what a restore has left that was cut off: its copy, and the database that it was making beside it, in which
/// nobody has written. To be called under the lock of a home without a profile.
pub(crate) fn abandon(home: &Path) -> Result<(), Error> {
    let (copied, database) = (home.join(RESTORED), home.join(profile::DATABASE));
    if !copied.exists() {
        return Ok(());
    }
    // The copy goes last: as long as it is there, this is repeated.
    remove(&database).and_then(|()| remove(&copied)).map_err(|error| failed("clearing", home, &error))
}

/// Removes a database when dropped, whatever happened.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        let _ = remove(&self.0);
    }
}

/// A raw key as SQLCipher takes it: used as it is, without stretching.
fn key_text(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(67));
    text.push_str("x'");
    for byte in key {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text.push('\'');
    text
}

/// Copies a database into another one under `key` (none = in the clear), as it is at one moment.
fn copy(from: &Connection, to: &Path, key: Option<&[u8; 32]>) -> Result<(), rusqlite::Error> {
    let key = key.map(key_text).unwrap_or_default();
    let path = to.to_string_lossy();
    from.execute("ATTACH DATABASE ?1 AS copy KEY ?2", params![path, key.as_str()])?;
    let copied = (|| {
        // Nothing of it must survive a crash, and what is rolled back stays in memory.
        from.query_row("PRAGMA copy.journal_mode = MEMORY", [], |_| Ok(()))?;
        from.execute_batch("PRAGMA copy.synchronous = OFF; BEGIN")?;
        from.query_row("SELECT sqlcipher_export('copy')", [], |_| Ok(()))?;
        let application: i64 = from.query_row("PRAGMA main.application_id", [], |row| row.get(0))?;
        from.pragma_update(Some("copy"), "application_id", application)?;
        from.execute_batch("COMMIT")
    })();
    if copied.is_err() && !from.is_autocommit() {
        let _ = from.execute_batch("ROLLBACK");
    }
    let detached = from.execute_batch("DETACH DATABASE copy");
    copied.and(detached)
}

fn part(to: &mut impl Write, kind: u8, len: u64, from: &mut dyn Read) -> io::Result<()> {
    to.write_all(&[kind])?;
    to.write_all(&len.to_be_bytes())?;
    let copied = io::copy(&mut from.take(len), to)?;
    if copied == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Makes a backup of what `node` holds now.
pub(crate) fn make(node: &mut Node, file: &Path, now: Now) -> Result<Backup, Error> {
    let exists = |error: io::Error| failed("writing", file, &error);
    if fs::exists(file).map_err(exists)? {
        return Err(exists(io::ErrorKind::AlreadyExists.into()));
    }
    let key = BackupKey::new(node.random());
    let (salt, copy_key) = (node.random(), Zeroizing::new(node.random::<32>()));
    let beside = Gone(node.log().path().with_file_name(COPY));
    remove(&beside.0).map_err(|error| failed("removing", &beside.0, &error))?;
    copy(node.log().connection()?, &beside.0, Some(&copy_key))?;

    let identity = node.identity();
    let about = About {
        name: identity.name.clone(),
        account: identity.account.id().to_string(),
        relays: identity.relays.iter().map(|relay| relay.url.clone()).collect(),
        made_ms: now.wall_ms,
    };
    let about = serde_json::to_vec(&about).map_err(|error| Error::new("profile", error.to_string(), ""))?;
    let mut keys = Zeroizing::new([0; KEYS_BYTES]);
    keys[..32].copy_from_slice(&*identity.account.seed());
    keys[32..64].copy_from_slice(identity.storage.expose());
    keys[64..].copy_from_slice(&*copy_key);

    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let unfinished = PathBuf::from(name);
    let write = || -> io::Result<u64> {
        let mut database = File::open(&beside.0)?;
        let bytes = database.metadata()?.len();
        let mut to = BackupWriter::new(BufWriter::new(File::create(&unfinished)?), &key, salt)?;
        part(&mut to, KEYS, KEYS_BYTES as u64, &mut keys.as_slice())?;
        part(&mut to, DESCRIPTION, about.len() as u64, &mut about.as_slice())?;
        part(&mut to, DATABASE, bytes, &mut database)?;
        let to = to.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        to.sync_all()?;
        fs::rename(&unfinished, file)?;
        sync_folder(file)?;
        Ok(to.metadata()?.len())
    };
    let written = write();
    if written.is_err() {
        // What is wrong is said below.
        let _ = fs::remove_file(&unfinished);
    }
    let bytes = written.map_err(|error| failed("writing", file, &error))?;
    Ok(Backup { key, bytes, conversations: node.log().conversations()?.len() as u64 })
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// What a backup held; its database lies in the home, under its key.
struct Opened {
    keys: Zeroizing<[u8; KEYS_BYTES]>,
    about: About,
}

fn read_all(file: &Path, key: &BackupKey, database: &Path) -> io::Result<Opened> {
    let mut from = BackupReader::new(BufReader::new(File::open(file)?), key)?;
    let (mut keys, mut about, mut copied) = (None, None, false);
    for _ in 0..PARTS_MAX {
        let mut head = Vec::new();
        from.by_ref().take(9).read_to_end(&mut head)?;
        let Some((kind, len)) = head.split_first() else { break };
        let len = u64::from_be_bytes(len.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?);
        let mut body = from.by_ref().take(len);
        let read = match *kind {
            KEYS if len == KEYS_BYTES as u64 => {
                let mut found = Zeroizing::new([0; KEYS_BYTES]);
                body.read_exact(&mut *found)?;
                keys = Some(found);
                len
            }
            DESCRIPTION if len <= DESCRIPTION_BYTES_MAX => {
                let mut found = Vec::new();
                body.read_to_end(&mut found)?;
                about = Some(serde_json::from_slice(&found)?);
                found.len() as u64
            }
            DATABASE => {
                let mut to = OpenOptions::new().create_new(true).write(true).open(database)?;
                copied = true;
                io::copy(&mut body, &mut to)?
            }
            _ => io::copy(&mut body, &mut io::sink())?,
        };
        if read != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // Only whoever has come to the end knows that nothing is missing.
    if from.read(&mut [0])? > 0 {
        return Err(io::Error::other("it has more parts than there can be"));
    }
    match (keys, about, copied) {
        (Some(keys), Some(about), true) => Ok(Opened { keys, about }),
        _ => Err(io::Error::other("it does not hold a profile")),
    }
}

/// Makes a profile of a backup, for a new device of its account.
///
/// # Errors
/// `profile-exists`, `home-in-use` for a folder with a database of somebody; `not-a-backup`, `wrong-key`, `damaged`,
/// `cut-off`, `newer`; those of the key store and of the store. No profile was made then.
pub(crate) fn restore(config: &Config, file: &Path, key: &BackupKey, now: Now) -> Result<Created, Error> {
    let home = config.home.as_path();
    let _lock = profile::prepare(home)?;
    let database = home.join(profile::DATABASE);
    if database.exists() {
        let words = format!("{} holds messages, but no profile", home.display());
        return Err(Error::new("home-in-use", words, "choose another home with --home"));
    }
    let copy_of = Gone(home.join(RESTORED));
    let opened = read_all(file, key, &copy_of.0).map_err(|error| failed("reading", file, &error))?;
    let created = rebuild(config, &opened, &copy_of.0, &database, now);
    if created.is_err() {
        // As it was: no profile, no messages.
        let _ = remove(&database);
    }
    created
}

fn rebuild(config: &Config, opened: &Opened, copied: &Path, database: &Path, now: Now) -> Result<Created, Error> {
    let Opened { keys, about } = opened;
    let mut entropy: Box<dyn Entropy> = Box::new(SystemEntropy);
    let secret = |at: usize| {
        let mut secret = [0; 32];
        secret.copy_from_slice(&keys[at..at + 32]);
        secret
    };
    let kind = config.key_store.unwrap_or_default();
    let store = KeyStore::open(kind, &config.home)?;
    store.probe()?;
    {
        // What is attached is opened with the same flags, and made here.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let from = Connection::open_with_flags(copied, flags)?;
        from.pragma_update(None, "key", key_text(&secret(64)).as_str())?;
        from.pragma_update(None, "temp_store", "MEMORY")?;
        copy(&from, database, None)?;
    }
    let device = Zeroizing::new(entropy.bytes::<32>());
    let identity = || Identity {
        account: AccountKey::from_seed(secret(0)),
        device: DeviceKey::from_seed(*device),
        certified_ms: now.wall_ms,
        storage: StorageKey::new(secret(32)),
        name: about.name.clone(),
        relays: about
            .relays
            .iter()
            .map(|url| RelayAddress { key: [0; 32], url: url.clone(), region: String::new() })
            .collect(),
    };
    let who = identity();
    if who.account.id().to_string() != about.account {
        return Err(Error::new("damaged", "the backup names another account than it holds the key of", ""));
    }
    // Another replica from now on: nobody has met it, and it takes nothing for granted of anybody.
    let open = || Open { components: crate::node::COMPONENTS, ..Open::new(database, 0) };
    let mut log = Log::open(open())?;
    let mut batch = log.batch()?;
    batch.restart_chain(u64::from_be_bytes(entropy.bytes()))?;
    batch.forget_peers()?;
    batch.begin_new_logs()?;
    batch.commit()?;
    log.close()?;
    let mut node = Node::open(open(), identity(), false, entropy)?;
    node.certify_everywhere(now)?;
    node.close()?;
    File::open(database).and_then(|file| file.sync_all()).map_err(|error| failed("writing", database, &error))?;

    store.put("account", &secret(0))?;
    store.put("storage", &secret(32))?;
    store.put("device", &*device)?;
    let created = Created { account: who.account.id(), device: who.device.id() };
    // Last: with it the home is a profile.
    profile::describe(&config.home, &Description::of(&who, kind))?;
    tail_mark::leave(database);
    Ok(created)
}
