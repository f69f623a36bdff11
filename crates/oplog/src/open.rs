//! Opening the file: settings that durability rests on, schema, and what happens after a failed write.
//!
//! Responsible for: the one writing connection ([`Log`]), further connections for reading ([`Reader`]), asserting the
//! settings, refusing files of newer versions untouched, and poisoning: after an error of the disk or of a commit the
//! store says [`LogError::Poisoned`] to everything until it is opened again, since nobody can know what is on the disk.
//! Not here: writing (`batch.rs`), reading (`reads.rs`).

use crate::cache::Cache;
use crate::migrate::{self, APPLICATION_ID, Component};
use crate::proof::Proofs;
use crate::{Batch, LogError, schema};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection waits for another process's lock before it says [`LogError::Busy`].
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(5_000);
/// Statements kept prepared per connection: about twice what the log itself uses.
const STATEMENTS_MAX: usize = 192;
/// Page cache of the writer in **KiB** (negative: SQLite's way to say KiB instead of pages).
const WRITER_CACHE: i64 = -32_000;
/// Page cache of a reader in **KiB**.
const READER_CACHE: i64 = -8_000;
/// Pages in the WAL after which it is moved into the file (SQLite's default). While the WAL grows, each sync of it also
/// writes the file's length, so sends are faster over a WAL that has been through once: with four times as many pages,
/// most of a thousand sends fell into the growing (208 microseconds in the middle, against 160).
const WAL_PAGES: i64 = 1_000;
/// The WAL is cut to this many **bytes** after that: pages of 4,096 bytes (SQLite's default).
const WAL_BYTES_KEPT: i64 = WAL_PAGES * 4_096;

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct Open<'a> {
    /// The file; made when it does not exist. Its folder must exist.
    pub path: PathBuf,
    /// Name of a registered SQLite VFS; `None` = the system's. Tests bring a disk that loses power.
    pub vfs: Option<String>,
    /// Random bits, used once if the file is new: they become its incarnation, by which peers notice a replaced file.
    pub random: u64,
    /// Further parts of the same file, e.g. the views of `store`.
    pub components: &'a [Component],
}

impl Open<'_> {
    /// A file of the system's disk, without further parts.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, random: u64) -> Self {
        Self { path: path.into(), vfs: None, random, components: &[] }
    }
}

/// A connection that reads the log. [`Log`] is one too (it dereferences to its own); [`Log::reader`] makes more, which
/// see committed state only and may live on other threads.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    incarnation: u64,
    poisoned: Cell<bool>,
    /// What was let go of may still stand in the WAL.
    unwiped: Cell<bool>,
    /// Proofs that were asked for before.
    pub(crate) proofs: RefCell<Proofs>,
}

impl Reader {
    /// The connection, unless an earlier write failed.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub(crate) fn db(&self) -> Result<&Connection, LogError> {
        if self.poisoned.get() { Err(LogError::Poisoned) } else { Ok(&self.conn) }
    }

    /// The SQLite connection, for tables of other parts. Writing goes through [`Log::batch`] only.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn connection(&self) -> Result<&Connection, LogError> {
        self.db()
    }

    /// The random number that this file got when it was made.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Runs `read` on one snapshot: what other connections commit meanwhile is not seen.
    ///
    /// # Errors
    /// Those of `read`, and [`LogError`] of SQLite when no snapshot can be taken.
    pub fn snapshot<T, E: From<LogError>>(&self, read: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        let tx = Transaction::new_unchecked(self.db()?, TransactionBehavior::Deferred).map_err(LogError::from)?;
        let result = read(self)?;
        tx.finish().map_err(LogError::from)?;
        Ok(result)
    }

    /// Lets what is read until the answer is dropped see one snapshot, and take the locks for it once. `None` where that
    /// cannot be: then each read stands for itself.
    #[must_use]
    pub fn hold(&self) -> Option<Transaction<'_>> {
        Transaction::new_unchecked(self.db().ok()?, TransactionBehavior::Deferred).ok()
    }

    /// Whether an earlier write failed, so that the store must be opened again.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }

    /// Whether bodies that were let go of may still stand in the WAL (see [`Log::wipe`]).
    #[must_use]
    pub fn is_unwiped(&self) -> bool {
        self.unwiped.get()
    }

    pub(crate) fn set_unwiped(&self, unwiped: bool) {
        self.unwiped.set(unwiped);
    }

    pub(crate) fn poison(&self) {
        self.poisoned.set(true);
    }
}

/// The log: one file, one writing connection.
#[derive(Debug)]
pub struct Log {
    reader: Reader,
    cache: Cache,
    path: PathBuf,
    vfs: Option<String>,
}

impl Deref for Log {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Log {
    /// Opens the file, makes it if there is none, and runs missing schema steps. Nothing is rebuilt.
    ///
    /// # Errors
    /// [`LogError::Newer`] and [`LogError::NotAStore`] leave the file untouched. [`LogError::ReadOnly`],
    /// [`LogError::CannotOpen`], [`LogError::Damaged`], [`LogError::Setting`] and others as they say.
    pub fn open(open: Open<'_>) -> Result<Self, LogError> {
        let mut components = vec![Component { name: schema::NAME, steps: schema::STEPS }];
        components.extend_from_slice(open.components);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = connect(&open.path, flags, open.vfs.as_deref())?;
        // Until the versions are known to be ours, closing must not move the WAL into the file either.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let found = migrate::inspect(&conn)?;
        migrate::refuse_newer(&found, &components)?;
        if conn.is_readonly("main")? {
            return Err(LogError::ReadOnly);
        }
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        configure_writer(&conn)?;
        if migrate::outdated(&found, &components) {
            prepare(&conn, &components, open.random)?;
        }
        let incarnation = read_incarnation(&conn)?;
        let reader = Reader {
            conn,
            incarnation,
            poisoned: Cell::new(false),
            unwiped: Cell::new(false),
            proofs: RefCell::default(),
        };
        let log = Self { reader, cache: Cache::default(), path: open.path, vfs: open.vfs };
        // A crash may have come between letting go of a body and wiping it.
        log.set_unwiped(true);
        log.wipe()?;
        Ok(log)
    }

    /// Opens a second connection that only reads. It sees what is committed.
    ///
    /// # Errors
    /// [`LogError`] when the file cannot be opened.
    pub fn reader(&self) -> Result<Reader, LogError> {
        self.reader.db()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = connect(&self.path, flags, self.vfs.as_deref())?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update(None, "cache_size", READER_CACHE)?;
        let incarnation = self.reader.incarnation;
        Ok(Reader {
            conn,
            incarnation,
            poisoned: Cell::new(false),
            unwiped: Cell::new(false),
            proofs: RefCell::default(),
        })
    }

    /// Begins a batch: everything done through it becomes durable with [`Batch::commit`], or nothing does.
    ///
    /// # Errors
    /// [`LogError::Busy`] when another process writes, [`LogError::Poisoned`], and others of SQLite.
    pub fn batch(&mut self) -> Result<Batch<'_>, LogError> {
        Batch::begin(&self.reader, &mut self.cache)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file and says so when that fails (dropping does the same silently).
    ///
    /// # Errors
    /// [`LogError`] of the last checkpoint; everything committed is on the disk all the same.
    pub fn close(self) -> Result<(), LogError> {
        self.reader.conn.close().map_err(|(_, error)| error.into())
    }
}

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> Result<Connection, LogError> {
    let conn = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Else a kept statement with `LIMIT ?` is compiled again for each new number.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(conn)
}

/// Settings of the writer. Each that durability or erasure rests on is read back.
fn configure_writer(conn: &Connection) -> Result<(), LogError> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(LogError::Setting { setting: "journal_mode = WAL", found: mode });
    }
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;")?;
    // These answer with a row.
    conn.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
    conn.query_row(&format!("PRAGMA journal_size_limit = {WAL_BYTES_KEPT}"), [], |_| Ok(()))?;
    conn.query_row(&format!("PRAGMA wal_autocheckpoint = {}", WAL_PAGES), [], |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", WRITER_CACHE)?;
    for (setting, name, want) in [
        ("synchronous = FULL", "synchronous", 2),
        ("secure_delete = ON", "secure_delete", 1),
        ("foreign_keys = ON", "foreign_keys", 1),
    ] {
        let found: i64 = conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
        if found != want {
            return Err(LogError::Setting { setting, found: found.to_string() });
        }
    }
    Ok(())
}

/// Runs missing schema steps and names a new file, in one transaction.
fn prepare(conn: &Connection, components: &[Component], random: u64) -> Result<(), LogError> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    migrate::refuse_newer(&migrate::inspect(conn)?, components)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    for component in components {
        migrate::migrate(&tx, component.name, component.steps)?;
    }
    tx.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES ('incarnation', ?1)",
        [random.to_be_bytes().as_slice()],
    )?;
    tx.commit()?;
    Ok(())
}

fn read_incarnation(conn: &Connection) -> Result<u64, LogError> {
    let value: Option<Vec<u8>> =
        conn.query_row("SELECT value FROM meta WHERE key = 'incarnation'", [], |row| row.get(0)).optional()?;
    let bytes: Option<[u8; 8]> = value.and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or_else(|| LogError::damaged("the store has lost its incarnation"))
}
