//! The simulated disk as SQLite sees it: a registered VFS. Its open files are in `file.rs`.
//!
//! Responsible for: the C table of a VFS, registering and unregistering it, and keeping it valid for as long as SQLite
//! may use it. Not responsible for: what a disk does (`state.rs`).
//!
//! Life time. A connection keeps a pointer to its VFS until it is closed, and nothing stops a test from dropping the
//! disk before. So a VFS table lives in a [`Slot`] that is never freed, only used again: by the next disk, once the
//! disk is dropped and its last file closed. The number of slots is the largest number of disks that lived at once.
//! A slot knows its disk only weakly; a call that comes when the disk is gone is refused.
//! Read next: `file.rs`.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rusqlite::ffi;

use super::file::{self, FileC};
use super::state::State;

/// Longest file name, in bytes, its end mark included.
const NAME_BYTES: c_int = 512;
/// Milliseconds from the Julian epoch, which SQLite counts from, to 1970.
const JULIAN_TO_UNIX_MS: i64 = 210_866_760_000_000;
const DAY_MS: f64 = 86_400_000.0;

/// A disk together with the VFS table through which SQLite reaches it. Open files and the `Disk` share it.
pub(super) struct Mounted {
    state: Mutex<State>,
    /// Sleep for real when SQLite waits for a lock.
    pub(super) sleeps: AtomicBool,
    slot: &'static Slot,
}

/// A VFS table that can be used again, and the disk it stands for.
struct Slot {
    table: UnsafeCell<ffi::sqlite3_vfs>,
    name: CString,
    disk: Mutex<Weak<Mounted>>,
}

// SAFETY: `table` is written by SQLite alone (its `pNext`, under SQLite's own mutex) after the slot is built; `name`
// never changes; `disk` is a mutex.
unsafe impl Sync for Slot {}
// SAFETY: nothing in a slot belongs to a thread; see `Sync`.
unsafe impl Send for Slot {}

/// Slots whose disk is gone.
static FREE_SLOTS: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
static SLOT_COUNT: AtomicU64 = AtomicU64::new(0);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn take() -> &'static Self {
        if let Some(slot) = locked(&FREE_SLOTS).pop() {
            return slot;
        }
        let number = SLOT_COUNT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("tombolo-disk-{number}")).expect("the name has no zero byte");
        let slot: &'static Self = Box::leak(Box::new(Self {
            table: UnsafeCell::new(ffi::sqlite3_vfs {
                iVersion: 2,
                szOsFile: size_of::<FileC>() as c_int,
                mxPathname: NAME_BYTES,
                pNext: std::ptr::null_mut(),
                zName: std::ptr::null(),
                pAppData: std::ptr::null_mut(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                xFullPathname: Some(full_path),
                xDlOpen: Some(dl_open),
                xDlError: Some(dl_error),
                xDlSym: Some(dl_sym),
                xDlClose: Some(dl_close),
                xRandomness: Some(randomness),
                xSleep: Some(sleep),
                xCurrentTime: Some(current_time),
                xGetLastError: Some(last_error),
                xCurrentTimeInt64: Some(current_time_ms),
                xSetSystemCall: None,
                xGetSystemCall: None,
                xNextSystemCall: None,
            }),
            name,
            disk: Mutex::new(Weak::new()),
        }));
        // SAFETY: the slot was just made and nobody else knows it; from here on it never moves and is never freed.
        unsafe {
            (*slot.table.get()).zName = slot.name.as_ptr();
            (*slot.table.get()).pAppData = std::ptr::from_ref(slot).cast_mut().cast();
        }
        slot
    }
}

impl Mounted {
    /// Makes a disk known to SQLite under a name that no other living disk has.
    ///
    /// # Panics
    /// If SQLite refuses the VFS (it has no memory left).
    pub(super) fn register(state: State) -> Arc<Self> {
        let slot = Slot::take();
        let disk = Arc::new(Self { state: Mutex::new(state), sleeps: AtomicBool::new(false), slot });
        *locked(&slot.disk) = Arc::downgrade(&disk);
        // SAFETY: the table is complete, stays where it is for the rest of the process, and is not registered now:
        // `unregister` came before the slot was free.
        let code = unsafe { ffi::sqlite3_vfs_register(slot.table.get(), 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite refused to register a simulated disk: code {code}");
        disk
    }

    /// No new connection can be opened from now on; open ones go on.
    pub(super) fn unregister(&self) {
        // SAFETY: the table is valid; taking out one that is not registered is allowed and does nothing.
        unsafe { ffi::sqlite3_vfs_unregister(self.slot.table.get()) };
    }

    /// The name to open connections with.
    pub(super) fn name(&self) -> &str {
        self.slot.name.to_str().expect("slot names are ASCII")
    }

    /// Access to the disk. Never held while SQLite is called.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The `Disk` unregistered the table, and no file is open: the next disk may have it.
        locked(&FREE_SLOTS).push(self.slot);
    }
}

/// The disk behind a VFS table; `None` once it is dropped and its last file closed.
///
/// # Safety
/// `vfs` is the table of a [`Slot`].
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Mounted>> {
    // SAFETY: `pAppData` of a slot's table points to the slot, which is never freed.
    let slot = unsafe { &*(*vfs).pAppData.cast::<Slot>() };
    locked(&slot.disk).upgrade()
}

/// A file name from SQLite; `None` for a temporary file.
///
/// # Safety
/// `name` is null or a string that outlives the call.
unsafe fn name_of<'a>(name: *const c_char) -> Option<std::borrow::Cow<'a, str>> {
    // SAFETY: as the caller promises.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy())
}

// SAFETY (all functions below): they are only reachable through the table of a slot, so SQLite is the caller and keeps
// the contract of `sqlite3_vfs`: `vfs` is that table, strings end with a zero byte, out pointers are valid or null
// where null is checked.

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    out: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let out = out.cast::<FileC>();
    // SAFETY: SQLite hands over room for `szOsFile` bytes, aligned for any C struct. A null method table tells it not
    // to close the file if opening fails.
    unsafe { (*out).base.pMethods = std::ptr::null() };
    // SAFETY: see above.
    let (Some(disk), name) = (unsafe { disk_of(vfs) }, unsafe { name_of(name) }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let opened = disk.state().open(name.as_deref(), flags);
    match opened {
        Ok(opened) => {
            let delete_on_close =
                (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then(|| name.map(std::borrow::Cow::into_owned)).flatten();
            // SAFETY: room for a `FileC`, see above; `out_flags` is checked.
            unsafe {
                file::place(out, disk, opened, delete_on_close);
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
            }
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: see above.
    let (Some(disk), Some(name)) = (unsafe { disk_of(vfs) }, unsafe { name_of(name) }) else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    let result = disk.state().delete(&name, sync_directory != 0);
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: see above.
    let (Some(disk), Some(name)) = (unsafe { disk_of(vfs) }, unsafe { name_of(name) }) else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    let state = disk.state();
    let found = state.image.lookup(&name);
    // As SQLite's Unix VFS does: an empty file does not count as an existing one.
    let yes = found.is_some_and(|inode| flags != ffi::SQLITE_ACCESS_EXISTS || !state.image.bytes(inode).is_empty());
    // SAFETY: SQLite passes a valid place for the answer.
    unsafe { *result = c_int::from(yes) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a string that outlives the call.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > usize::try_from(room).unwrap_or(0) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` has `room` bytes, and `name` fits. SQLite's buffers do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    let room = usize::try_from(len).unwrap_or(0);
    // SAFETY: `out` has `len` bytes.
    unsafe { std::ptr::write_bytes(out, 0, room) };
    // SAFETY: as above, and they are initialised now.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), room) };
    // SAFETY: see above.
    if let Some(disk) = unsafe { disk_of(vfs) } {
        disk.state().rng.fill(bytes);
    }
    len
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, duration_us: c_int) -> c_int {
    // SAFETY: see above.
    let disk = unsafe { disk_of(vfs) };
    if disk.is_some_and(|disk| disk.sleeps.load(Ordering::Relaxed)) {
        std::thread::sleep(Duration::from_micros(u64::try_from(duration_us).unwrap_or(0)));
    } else {
        // Whoever holds the lock that is waited for may run on another thread.
        std::thread::yield_now();
    }
    duration_us
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    let mut now_ms = 0;
    // SAFETY: see above.
    unsafe {
        let code = current_time_ms(vfs, &raw mut now_ms);
        *days = now_ms as f64 / DAY_MS;
        code
    }
}

unsafe extern "C" fn current_time_ms(vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: see above.
    let Some(disk) = (unsafe { disk_of(vfs) }) else {
        return ffi::SQLITE_ERROR;
    };
    let now_ms = disk.state().now_ms;
    // SAFETY: a valid place for the answer.
    unsafe { *out = JULIAN_TO_UNIX_MS.saturating_add(now_ms) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _len: c_int, _out: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn dl_open(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

unsafe extern "C" fn dl_error(_vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) {
    if len > 0 {
        // SAFETY: `out` has `len` bytes.
        unsafe { *out = 0 };
    }
}

unsafe extern "C" fn dl_sym(
    _vfs: *mut ffi::sqlite3_vfs,
    _library: *mut c_void,
    _symbol: *const c_char,
) -> Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn dl_close(_vfs: *mut ffi::sqlite3_vfs, _library: *mut c_void) {}
