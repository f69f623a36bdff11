//! Locks and shared memory of one database file, between the connections of this process.
//!
//! Responsible for: the five lock levels of the rollback journal, and the memory and eight locks that a write-ahead log
//! needs (what the `-shm` file is on a real disk). Nothing here blocks: who cannot have a lock is told so at once.
//! Not responsible for: other processes (there are none on a simulated disk), and for waiting (SQLite's busy handler).
//! Read next: `file.rs`, which maps SQLite's calls to these.

use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicU64;

use rusqlite::ffi;

/// Number of an open file; never used twice on a disk.
pub(super) type HandleId = u64;

/// Someone else holds a lock that is in the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Lock state of one database file. Levels are SQLite's: none, shared, reserved, pending, exclusive.
#[derive(Debug, Default)]
pub(super) struct FileLock {
    /// Handles that hold shared or more.
    holders: u32,
    /// The one handle that holds more than shared, and how much.
    writer: Option<(HandleId, c_int)>,
}

impl FileLock {
    /// Raises the lock of `handle` from `level` to `want`. A refused exclusive lock may leave it at pending, which
    /// keeps new readers out.
    pub(super) fn raise(&mut self, handle: HandleId, level: &mut c_int, want: c_int) -> Result<(), Busy> {
        if *level >= want {
            return Ok(());
        }
        let others_level = self.writer.filter(|&(writer, _)| writer != handle).map_or(0, |(_, level)| level);
        if want == ffi::SQLITE_LOCK_SHARED {
            if others_level >= ffi::SQLITE_LOCK_PENDING {
                return Err(Busy);
            }
            self.holders += 1;
        } else {
            if others_level > 0 {
                return Err(Busy);
            }
            if want == ffi::SQLITE_LOCK_EXCLUSIVE && self.holders > 1 {
                *level = ffi::SQLITE_LOCK_PENDING;
                self.writer = Some((handle, *level));
                return Err(Busy);
            }
            self.writer = Some((handle, want));
        }
        *level = want;
        Ok(())
    }

    /// Lowers the lock of `handle` from `level` to `want` (shared or none).
    pub(super) fn lower(&mut self, handle: HandleId, level: &mut c_int, want: c_int) {
        if *level <= want {
            return;
        }
        if self.writer.is_some_and(|(writer, _)| writer == handle) {
            self.writer = None;
        }
        if want == ffi::SQLITE_LOCK_NONE {
            self.holders -= 1;
        }
        *level = want;
    }

    /// Whether nobody holds anything.
    pub(super) const fn is_free(&self) -> bool {
        self.holders == 0 && self.writer.is_none()
    }

    /// Whether anyone means to write.
    pub(super) const fn is_reserved(&self) -> bool {
        self.writer.is_some()
    }
}

const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// The shared memory of one database file.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    /// Atomics, because connections on several threads read and write them through raw pointers. A region stays where
    /// it is until the last connection lets go.
    regions: Vec<Box<[AtomicU64]>>,
    shared: [u32; SLOTS],
    exclusive: [bool; SLOTS],
    users: u32,
}

/// What one connection holds of a [`SharedMemory`].
#[derive(Debug, Default)]
pub(super) struct ShmHeld {
    attached: bool,
    shared: [bool; SLOTS],
    exclusive: [bool; SLOTS],
}

impl SharedMemory {
    /// Counts the connection among the users.
    pub(super) const fn attach(&mut self, held: &mut ShmHeld) {
        if !held.attached {
            held.attached = true;
            self.users += 1;
        }
    }

    /// Gives everything back. True if nobody uses the memory any more.
    pub(super) fn detach(&mut self, held: &mut ShmHeld) -> bool {
        self.unlock(held, 0..SLOTS);
        if std::mem::take(&mut held.attached) {
            self.users -= 1;
        }
        self.users == 0
    }

    /// True if the region exists.
    pub(super) fn has(&self, region: usize) -> bool {
        region < self.regions.len()
    }

    /// Address of a region of `size_bytes`, which is made (zeroed), with those before it, if it does not exist yet.
    pub(super) fn region(&mut self, region: usize, size_bytes: usize) -> *mut c_void {
        while self.regions.len() <= region {
            self.regions.push((0..size_bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        }
        self.regions[region].as_ptr().cast_mut().cast()
    }

    /// Takes one lock shared.
    pub(super) const fn lock_shared(&mut self, held: &mut ShmHeld, slot: usize) -> Result<(), Busy> {
        if held.shared[slot] {
            return Ok(());
        }
        if self.exclusive[slot] {
            return Err(Busy);
        }
        self.shared[slot] += 1;
        held.shared[slot] = true;
        Ok(())
    }

    /// Takes all locks of the range exclusively, or none.
    pub(super) fn lock_exclusive(&mut self, held: &mut ShmHeld, slots: std::ops::Range<usize>) -> Result<(), Busy> {
        let taken = |slot: usize| {
            let others_shared = self.shared[slot] - u32::from(held.shared[slot]);
            others_shared > 0 || (self.exclusive[slot] && !held.exclusive[slot])
        };
        if slots.clone().any(taken) {
            return Err(Busy);
        }
        for slot in slots {
            self.exclusive[slot] = true;
            held.exclusive[slot] = true;
        }
        Ok(())
    }

    /// Lets go of what the connection holds in the range.
    pub(super) fn unlock(&mut self, held: &mut ShmHeld, slots: std::ops::Range<usize>) {
        for slot in slots {
            if std::mem::take(&mut held.exclusive[slot]) {
                self.exclusive[slot] = false;
            }
            if std::mem::take(&mut held.shared[slot]) {
                self.shared[slot] -= 1;
            }
        }
    }
}
