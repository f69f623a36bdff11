//! Sealed files on this device: the folder `blobs` of the profile.
//!
//! ```text
//! blobs/HASH          a whole blob, checked when it came
//! blobs/HASH.part     one that is coming (part.rs)
//! blobs/tmp-*         one that is being sealed
//! ```
//!
//! Whatever stands under its final name is on the disk. Not here: what is known about blobs (`table.rs`).

use super::label;
use crate::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tombolo_model::id::hex;
use tombolo_model::{BlobId, content};
use tombolo_seal::{FileKey, Layout};

/// Leftovers of a crash are removed when they are older than this: nobody seals for so long.
const LEFTOVER: Duration = Duration::from_secs(86_400);
const BUFFER_BYTES: usize = 256 * 1024;

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    /// The folder beside a database.
    pub(crate) fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name("blobs") }
    }

    pub(crate) fn blob(&self, id: &BlobId) -> PathBuf {
        self.path.join(id.to_string())
    }

    pub(crate) fn part(&self, id: &BlobId) -> PathBuf {
        self.path.join(format!("{id}.part"))
    }

    /// Makes the folder and removes what a crash left.
    pub(crate) fn make(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.path).map_err(|error| disk("making", &self.path, &error))?;
        let Ok(entries) = fs::read_dir(&self.path) else { return Ok(()) };
        for entry in entries.flatten() {
            let old = entry.metadata().and_then(|found| found.modified()).ok();
            let old = old.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFTOVER);
            if old && entry.file_name().to_string_lossy().starts_with("tmp-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Whether a blob is here whole.
    pub(crate) fn has(&self, id: &BlobId) -> bool {
        self.blob(id).is_file()
    }

    /// **Bytes** of a blob that have come.
    pub(crate) fn come(&self, id: &BlobId) -> u64 {
        fs::metadata(self.part(id)).map_or(0, |found| found.len())
    }

    /// Seals a file while it is read; it is on the disk when this returns. `key` and `name` are fresh random bytes.
    pub(crate) fn seal(&self, path: &Path, key: [u8; 32], name: [u8; 8], max: u64) -> Result<content::File, Error> {
        self.make()?;
        let unreadable = |error: &io::Error| {
            let words = format!("{} cannot be read: {error}", path.display());
            Error::new("file-unreadable", words, "name a file that you may read")
        };
        let from = File::open(path).map_err(|error| unreadable(&error))?;
        let found = from.metadata().map_err(|error| unreadable(&error))?;
        if !found.is_file() {
            let words = format!("{} is no file", path.display());
            return Err(Error::new("file-unreadable", words, "folders can be packed into one first"));
        }
        let bytes = found.len();
        let too_large = || {
            let words = format!("{} has {bytes} bytes; at most {max} may be sent", path.display());
            Error::new("file-too-large", words, "split it, or raise the limit with `tombolo files --largest SIZE`")
        };
        let layout = Layout::of(bytes).filter(|_| bytes <= max).ok_or_else(too_large)?;
        let temporary = self.path.join(format!("tmp-{}", hex(&name)));
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
        let sealed = self.seal_into(&temporary, layout, &mut from, &FileKey::new(key));
        let id = sealed.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::InvalidData => Error::new(
                    "file-changed",
                    format!("{} was changed while it was read; nothing was sent", path.display()),
                    "send it again once nobody writes to it",
                ),
                _ => disk("sealing into", &self.path, &error),
            }
        })?;
        let name = label::of(path);
        let media = label::media(&name).to_owned();
        Ok(content::File { blob: id.0, key, bytes, name, media, image: None })
    }

    /// As [`Folder::seal`] for what is read from elsewhere and says to have so many **bytes**. `None`: larger than may be.
    ///
    /// # Errors
    /// Of reading and writing; nothing stays then.
    pub(crate) fn seal_stream(
        &self,
        from: &mut dyn io::Read,
        bytes: u64,
        (key, name): ([u8; 32], [u8; 8]),
        max: u64,
    ) -> io::Result<Option<content::File>> {
        let Some(layout) = Layout::of(bytes).filter(|_| bytes <= max) else { return Ok(None) };
        self.make().map_err(io::Error::other)?;
        let temporary = self.path.join(format!("tmp-{}", hex(&name)));
        let sealed = self.seal_into(&temporary, layout, from, &FileKey::new(key));
        if sealed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        let file =
            content::File { blob: sealed?.0, key, bytes, name: String::new(), media: String::new(), image: None };
        Ok(Some(file))
    }

    fn seal_into(
        &self,
        temporary: &Path,
        layout: Layout,
        from: &mut dyn io::Read,
        key: &FileKey,
    ) -> io::Result<BlobId> {
        let mut to = BufWriter::with_capacity(BUFFER_BYTES, new_file(temporary)?);
        let id = key.seal(layout, from, &mut to)?;
        let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        self.put(temporary, &id)?;
        Ok(id)
    }

    /// Gives a file that is on the disk its final name.
    pub(crate) fn put(&self, from: &Path, id: &BlobId) -> io::Result<()> {
        fs::rename(from, self.blob(id))?;
        sync_folder(&self.path)
    }

    /// Takes a damaged blob as one that is coming: what is right of it need not come again.
    pub(crate) fn damaged(&self, id: &BlobId) -> io::Result<()> {
        fs::rename(self.blob(id), self.part(id))?;
        sync_folder(&self.path)
    }

    /// Removes whatever is here of a blob.
    pub(crate) fn remove(&self, id: &BlobId) {
        // What stays behind is looked at again when the blob is wanted.
        let _ = fs::remove_file(self.blob(id));
        let _ = fs::remove_file(self.part(id));
    }

    /// Opens a blob into a file at the place that a person chose; a folder gets a name made from the label. Nothing that
    /// is there is replaced unless `overwrite` says so. Returns where it is; it is on the disk then.
    pub(crate) fn save(&self, file: &content::File, to: &Path, overwrite: bool) -> Result<PathBuf, Error> {
        let to = if to.is_dir() { to.join(label::suggestion(&file.name)) } else { to.to_owned() };
        let exists = || {
            let words = format!("{} exists already and was left as it is", to.display());
            Error::new("exists", words, "choose another name, or replace it with --overwrite")
        };
        if !overwrite && to.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let id = BlobId(file.blob);
        let layout = Layout::of(file.bytes).ok_or_else(|| lie(&file.name, "length"))?;
        let half = half_of(&to);
        let written = self.open_into(&half, layout, file, &id).and_then(|()| {
            if !overwrite {
                // Whoever comes first has the name; what we put there is replaced by the whole file at once.
                drop(new_file(&to)?);
            }
            fs::rename(&half, &to)?;
            sync_folder(folder_of(&to))
        });
        let Err(error) = written else { return Ok(to) };
        let _ = fs::remove_file(&half);
        Err(match error.kind() {
            ErrorKind::AlreadyExists => exists(),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                // What is right of it is kept, and only the rest comes again.
                let _ = self.damaged(&id);
                damaged(&file.name)
            }
            _ => disk("writing", &to, &error),
        })
    }

    fn open_into(&self, half: &Path, layout: Layout, file: &content::File, id: &BlobId) -> io::Result<()> {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, File::open(self.blob(id))?);
        let _ = fs::remove_file(half);
        let mut to = BufWriter::with_capacity(BUFFER_BYTES, new_file(half)?);
        let found = FileKey::new(file.key).open(layout, &mut from, &mut to)?;
        if found != *id {
            return Err(io::Error::new(ErrorKind::InvalidData, "another hash"));
        }
        to.flush()?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// A new file that only its owner may read.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Where a file stands until it is whole: beside its final place, so that it can be renamed.
fn half_of(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    folder_of(to).join(format!(".{name}.{}.part", std::process::id()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

pub(crate) fn disk(what: &str, path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull => "free some space; nothing was lost",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "choose a folder that you may write",
        _ => "",
    };
    Error::new("file-disk", format!("{what} {} failed: {error}", path.display()), hint)
}

/// The sender said something about a file that is not so.
pub(crate) fn lie(name: &str, what: &str) -> Error {
    let words = format!("{name:?} does not have the {what} that its sender stated; it was dropped");
    Error::new("file-differs", words, "ask its sender to send it again")
}

/// The sealed copy here has changed.
pub(crate) fn damaged(name: &str) -> Error {
    let words = format!("the copy of {name:?} on this device is damaged; nothing of it was written");
    Error::new("file-damaged", words, "`tombolo sync` fetches the damaged part again")
}
