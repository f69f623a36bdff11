//! One open file as SQLite sees it: the C table of its methods.
//!
//! Responsible for: translating SQLite's calls on a file into calls of `State`, `FileLock` and `SharedMemory`.
//! Not responsible for: what these do.
//!
//! Every file carries a copy of its own of the method table. SQLite finds the table through the file, and a table
//! shared with another file is the classic mistake of such a VFS: the two must then agree in version and life time.
//! Read next: `state.rs`, `lock.rs`.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi;

use super::image::Inode;
use super::lock::{HandleId, ShmHeld};
use super::state::Opened;
use super::vfs::Mounted;

/// What SQLite tells apart when it decides how much to write at once, in bytes: as its Unix VFS answers.
const SECTOR_SIZE_BYTES: c_int = 4_096;

/// A file in the room that SQLite gives us. SQLite knows the first field, so the layout is that of C.
#[repr(C)]
pub(super) struct FileC {
    /// Points to `methods`.
    pub(super) base: ffi::sqlite3_file,
    /// Owned.
    file: *mut OpenFile,
    methods: ffi::sqlite3_io_methods,
}

/// Our side of an open file.
struct OpenFile {
    disk: Arc<Mounted>,
    handle: HandleId,
    inode: Inode,
    named: bool,
    delete_on_close: Option<String>,
    lock_level: c_int,
    shm: ShmHeld,
    keeps_wal: bool,
}

const METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes `out` an open file.
///
/// # Safety
/// `out` has room for a [`FileC`] that stays where it is until it is closed.
pub(super) unsafe fn place(out: *mut FileC, disk: Arc<Mounted>, opened: Opened, delete_on_close: Option<String>) {
    let file = Box::into_raw(Box::new(OpenFile {
        disk,
        handle: opened.handle,
        inode: opened.inode,
        named: opened.named,
        delete_on_close,
        lock_level: ffi::SQLITE_LOCK_NONE,
        shm: ShmHeld::default(),
        keeps_wal: false,
    }));
    // SAFETY: as the caller promises. The base points into the same block.
    unsafe {
        (&raw mut (*out).file).write(file);
        (&raw mut (*out).methods).write(METHODS);
        (*out).base.pMethods = &raw const (*out).methods;
    }
}

// SAFETY (all functions below): they are only reachable through the table of a `FileC` that `place` filled and `close`
// has not emptied, so `file` is that `FileC`. SQLite is the caller; it never has two calls on one file at once (every
// connection has files of its own and is used by one thread at a time), so the `&mut` is the only one. Buffers are as
// long as SQLite says and belong to us for the call.

/// # Safety
/// As above.
unsafe fn open_file<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: as above.
    unsafe { &mut *(*file.cast::<FileC>()).file }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above; SQLite does not use the file after this.
    let mut open = unsafe {
        (*file).pMethods = std::ptr::null();
        Box::from_raw((*file.cast::<FileC>()).file)
    };
    let OpenFile { disk, handle, inode, lock_level, shm, delete_on_close, .. } = &mut *open;
    let mut state = disk.state();
    let state = &mut *state;
    if let Some(lock) = state.locks.get_mut(inode) {
        lock.lower(*handle, lock_level, ffi::SQLITE_LOCK_NONE);
        if lock.is_free() {
            state.locks.remove(inode);
        }
    }
    if let Some(memory) = state.memories.get_mut(inode)
        && memory.detach(shm)
    {
        state.memories.remove(inode);
    }
    if let Some(name) = delete_on_close {
        // A planned fault may keep the file; closing succeeds all the same.
        let _ = state.delete(name, false);
    }
    state.image.closed(*inode);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, len: c_int, offset: i64) -> c_int {
    let (Ok(len), Ok(offset)) = (usize::try_from(len), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: as above. SQLite's buffer may be uninitialised, which a slice must not be: zeroed first.
    let (open, out) = unsafe {
        out.cast::<u8>().write_bytes(0, len);
        (open_file(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), len))
    };
    let result = open.disk.state().read(open.inode, offset, out);
    code(result)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, len: c_int, offset: i64) -> c_int {
    let (Ok(len), Ok(offset)) = (usize::try_from(len), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: as above.
    let (open, data) = unsafe { (open_file(file), std::slice::from_raw_parts(data.cast::<u8>(), len)) };
    let result = open.disk.state().write(open.inode, open.named, offset, data);
    code(result)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let Ok(size) = usize::try_from(size) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let result = open.disk.state().truncate(open.inode, open.named, size);
    code(result)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let result = open.disk.state().sync(open.inode, open.named);
    code(result)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let size = open.disk.state().image.bytes(open.inode).len();
    // SAFETY: a valid place for the answer. A file in memory is shorter than 2^63 bytes.
    unsafe { *out = size as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, want: c_int) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let mut state = open.disk.state();
    let lock = state.locks.entry(open.inode).or_default();
    lock.raise(open.handle, &mut open.lock_level, want).map_or(ffi::SQLITE_BUSY, |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, want: c_int) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let mut state = open.disk.state();
    state.locks.entry(open.inode).or_default().lower(open.handle, &mut open.lock_level, want);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let reserved = open.disk.state().locks.get(&open.inode).is_some_and(super::lock::FileLock::is_reserved);
    // SAFETY: a valid place for the answer.
    unsafe { *out = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    if op != ffi::SQLITE_FCNTL_PERSIST_WAL {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: as above; the argument of this operation is an int that is read if not negative, else written.
    let (open, wish) = unsafe { (open_file(file), &mut *argument.cast::<c_int>()) };
    if *wish < 0 {
        *wish = c_int::from(open.keeps_wal);
    } else {
        open.keeps_wal = *wish > 0;
    }
    ffi::SQLITE_OK
}

const unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE_BYTES
}

const unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    // As the Unix VFS answers: a write does not damage bytes beside it when the power fails.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let (Ok(region), Ok(size)) = (usize::try_from(region), usize::try_from(size)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let mut state = open.disk.state();
    let memory = state.memories.entry(open.inode).or_default();
    memory.attach(&mut open.shm);
    let (address, result) = if memory.has(region) {
        (memory.region(region, size), ffi::SQLITE_OK)
    } else if extend == 0 {
        (std::ptr::null_mut(), ffi::SQLITE_OK)
    } else if let Err(code) = state.grow_shared_memory() {
        (std::ptr::null_mut(), code)
    } else {
        (state.memories.entry(open.inode).or_default().region(region, size), ffi::SQLITE_OK)
    };
    // SAFETY: a valid place for the answer.
    unsafe { *out = address };
    result
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let slots = first..first + count;
    if slots.end > ffi::SQLITE_SHM_NLOCK as usize || slots.is_empty() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let mut state = open.disk.state();
    let Some(memory) = state.memories.get_mut(&open.inode) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let result = if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        memory.unlock(&mut open.shm, slots);
        Ok(())
    } else if flags & ffi::SQLITE_SHM_SHARED != 0 {
        memory.lock_shared(&mut open.shm, first)
    } else {
        memory.lock_exclusive(&mut open.shm, slots)
    };
    result.map_or(ffi::SQLITE_BUSY, |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: as above.
    let open = unsafe { open_file(file) };
    let mut state = open.disk.state();
    if state.memories.get_mut(&open.inode).is_some_and(|memory| memory.detach(&mut open.shm)) {
        state.memories.remove(&open.inode);
    }
    ffi::SQLITE_OK
}
