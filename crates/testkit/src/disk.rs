//! A simulated disk for SQLite: it lives in memory, loses power, fails, lies and forgets, all from a seed.
//!
//! Responsible for: the public face. A [`Disk`] is a VFS that SQLite opens databases on; what was not synced may be
//! lost, torn or reordered when the power fails, and any number of surviving disks can be made from any instant.
//! Not responsible for: processes (all connections are in this one), misdirected writes, real time.
//!
//! ```
//! use tombolo_testkit::disk::Disk;
//!
//! let disk = Disk::new(1);
//! let db = disk.connect("device.db")?;
//! db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)")?;
//! disk.start_recording();
//! for i in 1..=3_u64 {
//!     db.execute("INSERT INTO t VALUES (?1)", [i as i64])?;
//!     disk.mark(i); // from here on, row i must survive
//! }
//! let recording = disk.stop_recording();
//! let mut replay = recording.replay();
//! while replay.step() {
//!     for seed in 0..4 {
//!         let survivor = replay.power_loss(seed);
//!         let db = survivor.connect("device.db")?;
//!         let rows: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
//!         assert!(rows as u64 >= replay.mark());
//!     }
//! }
//! # Ok::<(), rusqlite::Error>(())
//! ```
//!
//! What is deterministic: which sectors, sizes and names survive, from the seed and the order of operations. What is
//! not: bytes that SQLite and SQLCipher draw themselves (WAL and journal salts, key salts, page nonces). They come from
//! generators of the whole process, which ask no VFS but the default one. So compare what queries return, not files.
//!
//! Map: `vfs.rs` and `file.rs` are SQLite's view, `state.rs` performs and fails, `image.rs` and `content.rs` know what
//! a power cut leaves, `record.rs` replays, `lock.rs` has locks and shared memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OpenFlags};

use crate::rng::Rng;

mod content;
mod file;
mod image;
mod lock;
mod record;
mod state;
mod vfs;

use image::Image;
pub use record::{Recording, Replay};
use state::{Plan, State};
use vfs::Mounted;

/// Time on a new disk, in milliseconds since 1970: 14 November 2023.
const START_TIME_MS: i64 = 1_700_000_000_000;

/// What goes wrong on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Any operation fails: open, create, read, write, truncate, sync, delete, growing shared memory (EIO).
    Io,
    /// The disk is full: writes, creating a file and growing shared memory fail (ENOSPC). A refused write may have
    /// written its first sectors.
    Full,
    /// Sync fails. Nothing becomes durable; everything stays pending, and a later sync may succeed.
    Sync,
}

/// How often a planned fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// One operation fails, the next ones work again.
    Once,
    /// This operation and all later ones that fit fail, until [`Disk::clear_faults`].
    FromThenOn,
}

/// A simulated disk; see the module. It may be shared between threads.
///
/// Dropping it takes its VFS away from SQLite. Connections that are still open go on working; the memory is freed when
/// the last one is closed.
pub struct Disk {
    mounted: Arc<Mounted>,
}

impl Disk {
    /// An empty disk. `seed` feeds everything random on it, except power cuts, which have seeds of their own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_image(seed, Image::default())
    }

    fn with_image(seed: u64, image: Image) -> Self {
        Self { mounted: Mounted::register(State::new(image, Rng::new(seed).fork("disk"), START_TIME_MS)) }
    }

    /// Name of this disk's VFS for `Connection::open_with_flags_and_vfs`. No other living disk has the same.
    #[must_use]
    pub fn vfs(&self) -> &str {
        self.mounted.name()
    }

    /// Opens a database on this disk, which is created if it does not exist.
    ///
    /// # Errors
    /// What SQLite says, planned faults included.
    pub fn connect(&self, name: &str) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags_and_vfs(name, flags, self.vfs())
    }

    // Power.

    /// A new disk as a power cut at this instant could leave it: of all that was not synced, some sectors, sizes and
    /// directory entries are new and some are old. This disk goes on undisturbed; call it again with another seed for
    /// another survivor. The survivor has the same virtual time and no faults.
    #[must_use]
    pub fn power_loss(&self, seed: u64) -> Self {
        let state = self.mounted.state();
        let (image, now_ms) = (state.image.power_loss(seed), state.now_ms);
        drop(state);
        let survivor = Self::with_image(seed, image);
        survivor.set_time_ms(now_ms);
        survivor
    }

    /// A copy of all files as they are now, fully synced: a copied profile, or a backup.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let state = self.mounted.state();
        let (image, now_ms) = (state.image.copy(), state.now_ms);
        drop(state);
        let copy = Self::with_image(seed, image);
        copy.set_time_ms(now_ms);
        copy
    }

    /// Whether directory changes (files created or deleted) are durable at once. Off at first: they wait for a sync,
    /// as on a real disk. On, a deleted journal never comes back.
    pub fn set_directory_durable_at_once(&self, at_once: bool) {
        let mut state = self.mounted.state();
        state.image.set_entries_durable_at_once(at_once);
        state.record(|| record::Op::EntriesDurableAtOnce(at_once));
    }

    // Recording.

    /// Begins to log every operation that changes the disk. A running recording is thrown away.
    pub fn start_recording(&self) {
        let mut state = self.mounted.state();
        state.recording = Some(Recording::new(state.image.clone(), state.mark));
    }

    /// Ends the recording and returns it. Empty if none was running.
    #[must_use]
    pub fn stop_recording(&self) -> Recording {
        let mut state = self.mounted.state();
        let (image, mark) = (state.image.clone(), state.mark);
        state.recording.take().unwrap_or_else(|| Recording::new(image, mark))
    }

    /// Notes in the recording how far the test has come, for example how many transactions were acknowledged; read it
    /// back with [`Replay::mark`].
    pub fn mark(&self, mark: u64) {
        let mut state = self.mounted.state();
        state.mark = mark;
        state.record(|| record::Op::Mark(mark));
    }

    // Faults.

    /// Plans a fault for the `k`-th operation from now (1 is the next one) among those that `kind` can hit. Replaces an
    /// earlier plan.
    ///
    /// With [`FaultKind::Io`] and [`Repeat::FromThenOn`] nothing changes on the disk any more from that operation on:
    /// so a power cut in the middle of running code is this plan, and [`Disk::power_loss`] afterwards.
    ///
    /// # Panics
    /// If `k` is 0.
    pub fn fail_from(&self, k: u64, kind: FaultKind, repeat: Repeat) {
        assert!(k > 0, "Disk::fail_from: operations are counted from 1");
        self.mounted.state().plan = Some(Plan { pass: k - 1, kind, repeat });
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.mounted.state().plan = None;
    }

    /// How many operations failed because of plans. A loop over `k` ends when a run leaves it unchanged.
    #[must_use]
    pub fn faults_hit(&self) -> u64 {
        self.mounted.state().faults_hit
    }

    /// While on, a sync does nothing and says that all is well.
    pub fn lie_on_sync(&self, lie: bool) {
        self.mounted.state().lies_on_sync = lie;
    }

    // Counters.

    /// Operations that could have failed so far, reads included.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.mounted.state().ops
    }

    /// Syncs of files and of the directory asked for so far, failed ones and lies included.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.mounted.state().syncs
    }

    /// Bytes written by SQLite so far, those of temporary files included.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.mounted.state().bytes_written
    }

    // Files.

    /// Names of all files, sorted. Shared memory is not a file here.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.mounted.state().image.names().map(str::to_owned).collect()
    }

    /// The bytes of a file as a program sees them now, synced or not; `None` if there is no such file.
    #[must_use]
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.mounted.state();
        state.image.lookup(name).map(|inode| state.image.bytes(inode).to_vec())
    }

    /// Puts a file on the disk or replaces its bytes, durable at once. SQLite must not have it open with anything
    /// cached; faults do not apply.
    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        self.mounted.state().put(name, bytes.to_vec());
    }

    /// Removes a file, durable at once. False if there is none.
    pub fn remove_file(&self, name: &str) -> bool {
        self.mounted.state().remove(name)
    }

    /// Flips one bit of a file, durable at once: bit rot. Pending changes of the file become durable, too.
    ///
    /// # Panics
    /// If there is no such file, no such byte in it, or `bit` is over 7.
    pub fn flip_bit(&self, name: &str, offset: usize, bit: u8) {
        let mut bytes = self.read_file(name).unwrap_or_else(|| panic!("Disk::flip_bit: there is no file {name}"));
        assert!(offset < bytes.len() && bit < 8, "Disk::flip_bit: {name} has {} bytes of 8 bits", bytes.len());
        bytes[offset] ^= 1 << bit;
        self.write_file(name, &bytes);
    }

    // Time.

    /// Sets what SQLite takes for the current time, in milliseconds since 1970. It stands still until set again.
    pub fn set_time_ms(&self, now_ms: i64) {
        self.mounted.state().now_ms = now_ms;
    }

    /// Whether SQLite really sleeps when it waits for a lock. Off at first: it only lets other threads run, so a busy
    /// timeout is over at once. Turn it on where connections on several threads wait for each other.
    pub fn set_real_sleep(&self, real: bool) {
        self.mounted.sleeps.store(real, Ordering::Relaxed);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.mounted.unregister();
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("vfs", &self.vfs()).field("files", &self.files()).finish_non_exhaustive()
    }
}
