//! What a simulated disk does when it is asked to do something: perform, count, record, or fail as planned.
//!
//! Responsible for: one place through which every operation goes, so that faults, counters and the operation log see
//! the same operations. Not responsible for: SQLite's calling conventions (`vfs.rs`, `file.rs`), power loss
//! (`content.rs`). Results are SQLite's codes, since these are what a VFS returns.
//! Read next: `vfs.rs`.

use std::collections::BTreeMap;
use std::ffi::c_int;

use rusqlite::ffi;

use super::content::SECTOR_BYTES;
use super::image::{Image, Inode};
use super::lock::{FileLock, HandleId, SharedMemory};
use super::record::{Op, Recording};
use super::{FaultKind, Repeat};
use crate::rng::Rng;

/// What an operation does; decides which faults can hit it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    Open,
    Create,
    Read,
    Write,
    Truncate,
    Sync,
    Delete,
    GrowSharedMemory,
}

/// A planned fault.
#[derive(Debug)]
pub(super) struct Plan {
    /// Fitting operations to let pass before the fault.
    pub(super) pass: u64,
    pub(super) kind: FaultKind,
    pub(super) repeat: Repeat,
}

/// Everything that one simulated disk consists of.
#[derive(Debug)]
pub(super) struct State {
    pub(super) image: Image,
    pub(super) rng: Rng,
    pub(super) now_ms: i64,
    pub(super) lies_on_sync: bool,
    pub(super) plan: Option<Plan>,
    pub(super) faults_hit: u64,
    pub(super) ops: u64,
    pub(super) syncs: u64,
    pub(super) bytes_written: u64,
    pub(super) mark: u64,
    pub(super) recording: Option<Recording>,
    pub(super) locks: BTreeMap<Inode, FileLock>,
    pub(super) memories: BTreeMap<Inode, SharedMemory>,
    last_handle: HandleId,
}

/// An opened file.
pub(super) struct Opened {
    pub(super) handle: HandleId,
    pub(super) inode: Inode,
    pub(super) named: bool,
}

impl State {
    pub(super) const fn new(image: Image, rng: Rng, now_ms: i64) -> Self {
        Self {
            image,
            rng,
            now_ms,
            lies_on_sync: false,
            plan: None,
            faults_hit: 0,
            ops: 0,
            syncs: 0,
            bytes_written: 0,
            mark: 0,
            recording: None,
            locks: BTreeMap::new(),
            memories: BTreeMap::new(),
            last_handle: 0,
        }
    }

    /// Adds an operation to the log, if one is kept.
    pub(super) fn record(&mut self, op: impl FnOnce() -> Op) {
        if let Some(recording) = &mut self.recording {
            recording.push(op());
        }
    }

    /// The fault that hits this operation, if any. Counts the operation.
    fn fault(&mut self, touch: Touch) -> Option<FaultKind> {
        self.ops += 1;
        let plan = self.plan.as_mut()?;
        let fits = match plan.kind {
            FaultKind::Io => true,
            FaultKind::Full => matches!(touch, Touch::Create | Touch::Write | Touch::GrowSharedMemory),
            FaultKind::Sync => touch == Touch::Sync,
        };
        if !fits {
            return None;
        }
        if plan.pass > 0 {
            plan.pass -= 1;
            return None;
        }
        let kind = plan.kind;
        if plan.repeat == Repeat::Once {
            self.plan = None;
        }
        self.faults_hit += 1;
        Some(kind)
    }

    /// Opens or creates a file. `name` is `None` for a temporary file.
    pub(super) fn open(&mut self, name: Option<&str>, flags: c_int) -> Result<Opened, c_int> {
        let has = |flag: c_int| flags & flag != 0;
        let existing = name.and_then(|name| self.image.lookup(name));
        let may_create = has(ffi::SQLITE_OPEN_CREATE) || name.is_none();
        if existing.is_none() && !may_create || existing.is_some() && has(ffi::SQLITE_OPEN_EXCLUSIVE) {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let touch = if existing.is_some() { Touch::Open } else { Touch::Create };
        if self.fault(touch).is_some() {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let inode = existing.unwrap_or_else(|| self.image.free_inode());
        match name {
            None => self.image.create_unnamed(inode),
            Some(name) if existing.is_none() => {
                let syncs_directory =
                    has(ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL);
                self.image.create(inode, name, syncs_directory);
                self.record(|| Op::Create { name: name.to_owned(), inode, syncs_directory });
            }
            Some(_) => {}
        }
        self.image.opened(inode);
        self.last_handle += 1;
        Ok(Opened { handle: self.last_handle, inode, named: name.is_some() })
    }

    /// Reads; what lies behind the end of the file is zeroed and reported as a short read, as SQLite wants it.
    pub(super) fn read(&mut self, inode: Inode, offset: usize, out: &mut [u8]) -> Result<(), c_int> {
        if self.fault(Touch::Read).is_some() {
            return Err(ffi::SQLITE_IOERR_READ);
        }
        let bytes = self.image.bytes(inode);
        let available = bytes.len().saturating_sub(offset).min(out.len());
        let (found, missing) = out.split_at_mut(available);
        if available > 0 {
            found.copy_from_slice(&bytes[offset..offset + available]);
        }
        missing.fill(0);
        if missing.is_empty() { Ok(()) } else { Err(ffi::SQLITE_IOERR_SHORT_READ) }
    }

    /// Writes. A full disk takes some sectors before it refuses.
    pub(super) fn write(&mut self, inode: Inode, named: bool, offset: usize, data: &[u8]) -> Result<(), c_int> {
        match self.fault(Touch::Write) {
            None => self.put_down(inode, named, offset, data),
            Some(FaultKind::Full) => {
                let sectors = self.rng.index(data.len() / SECTOR_BYTES + 1);
                self.put_down(inode, named, offset, &data[..sectors * SECTOR_BYTES]);
                return Err(ffi::SQLITE_FULL);
            }
            Some(FaultKind::Io | FaultKind::Sync) => return Err(ffi::SQLITE_IOERR_WRITE),
        }
        Ok(())
    }

    fn put_down(&mut self, inode: Inode, named: bool, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.bytes_written += data.len() as u64;
        self.image.write(inode, offset, data);
        if named {
            self.record(|| Op::Write { inode, offset, data: data.into() });
        } else {
            // A temporary file does not outlive a power cut: nothing to remember.
            self.image.sync(inode);
        }
    }

    /// Sets the size of a file in bytes.
    pub(super) fn truncate(&mut self, inode: Inode, named: bool, size: usize) -> Result<(), c_int> {
        if self.fault(Touch::Truncate).is_some() {
            return Err(ffi::SQLITE_IOERR_TRUNCATE);
        }
        self.image.truncate(inode, size);
        if named {
            self.record(|| Op::Truncate { inode, size });
        }
        Ok(())
    }

    /// Makes a file durable, unless the disk lies or fails. After a failed sync everything is still pending.
    pub(super) fn sync(&mut self, inode: Inode, named: bool) -> Result<(), c_int> {
        self.syncs += 1;
        if self.fault(Touch::Sync).is_some() {
            return Err(ffi::SQLITE_IOERR_FSYNC);
        }
        if !self.lies_on_sync {
            self.image.sync(inode);
            if named {
                self.record(|| Op::Sync { inode });
            }
        }
        Ok(())
    }

    /// Deletes a file.
    pub(super) fn delete(&mut self, name: &str, sync_directory: bool) -> Result<(), c_int> {
        if self.image.lookup(name).is_none() {
            return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
        }
        if self.fault(Touch::Delete).is_some() {
            return Err(ffi::SQLITE_IOERR_DELETE);
        }
        if sync_directory {
            self.syncs += 1;
        }
        let sync_directory = sync_directory && !self.lies_on_sync;
        self.image.delete(name, sync_directory);
        self.record(|| Op::Delete { name: name.to_owned(), sync_directory });
        Ok(())
    }

    /// Whether the shared memory of a file may grow; on a real disk it is a file, too.
    pub(super) fn grow_shared_memory(&mut self) -> Result<(), c_int> {
        self.fault(Touch::GrowSharedMemory).map_or(Ok(()), |_| Err(ffi::SQLITE_IOERR_SHMSIZE))
    }

    /// Puts a file on the disk, durable at once.
    pub(super) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let inode = self.image.lookup(name).unwrap_or_else(|| self.image.free_inode());
        self.record(|| Op::Put { inode, name: name.to_owned(), bytes: bytes.clone() });
        self.image.put(inode, name, bytes);
    }

    /// Removes a file, durable at once. False if there is none.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let exists = self.image.lookup(name).is_some();
        if exists {
            self.image.delete(name, true);
            self.record(|| Op::Delete { name: name.to_owned(), sync_directory: true });
        }
        exists
    }
}
