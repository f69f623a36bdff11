//! Whether the store that is being opened is the very one that was last closed in order.
//!
//! A device must never write two ops for one place of its log. It may go on in a log only if nothing of it can be missing:
//! not after a crash, not in a restored backup, not in a copied profile. So a clean close leaves a mark beside the
//! database: the file's device, inode, size, and the time of its last status change, which no copy or restore can set.
//! Opening takes the mark away first. No mark, or one that does not fit: the next op begins a new log.
//!
//! Not noticed: a machine snapshot that brings back file system and mark together; there, a peer that knows more of the
//! own log than this store closes it (`Appended::tail_lost`).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where the mark of a database lies.
fn mark_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".closed");
    PathBuf::from(name)
}

/// What tells one state of a file from every other.
#[cfg(unix)]
fn fingerprint(database: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(database)?;
    Ok(format!("{} {} {} {}.{:09}\n", meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

/// Elsewhere there is no time that cannot be set: never continue a log after a restart.
#[cfg(not(unix))]
fn fingerprint(_database: &Path) -> std::io::Result<String> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

/// Takes the mark away; `true` when the database is as the last clean close left it. To be called before the database is
/// opened.
pub(crate) fn take(database: &Path) -> bool {
    let path = mark_path(database);
    let Ok(left) = fs::read_to_string(&path) else { return false };
    let same = fingerprint(database).is_ok_and(|now| now == left);
    // If the mark cannot be removed it must not be believed: the next crash would leave it lying.
    fs::remove_file(&path).is_ok() && sync_folder(&path) && same
}

/// Leaves the mark after the database was closed. Failing to is safe: the next op begins a new log.
pub(crate) fn leave(database: &Path) {
    let path = mark_path(database);
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&path)?;
        file.write_all(fingerprint(database)?.as_bytes())?;
        file.sync_all()
    };
    if write().is_err() {
        let _ = fs::remove_file(&path);
    }
}

fn sync_folder(path: &Path) -> bool {
    path.parent().and_then(|folder| fs::File::open(folder).ok()).is_some_and(|folder| folder.sync_all().is_ok())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_an_untouched_store_is_continued() {
        let folder = std::env::temp_dir().join(format!("tombolo-mark-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let database = folder.join("a.db");
        fs::write(&database, "content").unwrap();
        leave(&database);
        assert!(take(&database), "closed in order");
        assert!(!take(&database), "the mark was taken: this is what a crash leaves");
        leave(&database);
        let content = fs::read(&database).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&database, content).unwrap();
        assert!(!take(&database), "the same bytes written back over the same file: a restored backup");
        leave(&database);
        let copy = folder.join("b.db");
        fs::copy(&database, &copy).unwrap();
        fs::copy(mark_path(&database), mark_path(&copy)).unwrap();
        assert!(!take(&copy), "a copied profile");
        fs::remove_dir_all(&folder).unwrap();
    }
}
