//! Files on their way between an interface and the profile: what a person attaches waits in a folder of its own until its
//! message is written, and what somebody wants to see is opened into it. Both are in the clear there, so nothing stays: it
//! goes when it was used; what was attached and never sent goes when the program ends, and what a crash left at the next
//! start.
//!
//! Not here: sealing and carrying (`client`), HTTP (`web`).

use crate::api::Problem;
use crate::running::App;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tombolo_client::suggestion;

/// Folder inside the profile's.
const FOLDER: &str = "staging";

/// A file in the clear; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    /// Where it is.
    pub path: PathBuf,
    /// What names it in a call.
    pub id: String,
    keep: bool,
}

impl Staged {
    /// It waits for the message that it goes with.
    pub fn keep(mut self) -> String {
        self.keep = true;
        self.id.clone()
    }
}

impl Staged {
    /// Its message is written, so it goes.
    pub(crate) fn used(mut self) {
        self.keep = false;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.keep {
            // At the latest the next start removes it.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Numbers within this process; what an earlier one left is gone.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn root(home: &Path) -> PathBuf {
    home.join(FOLDER)
}

/// Removes what an earlier process left.
pub(crate) fn clear(home: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root(home)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn disk(error: &io::Error) -> Problem {
    Problem {
        code: "file-disk".into(),
        message: format!("the file cannot be kept on this machine: {error}"),
        hint: "make room on the disk and try again".into(),
    }
}

impl App {
    /// A place for a file that somebody attaches; what it is called there becomes its label.
    ///
    /// # Errors
    /// `no-profile`, `file-disk`.
    pub fn stage(&self, name: &str) -> Result<Staged, Problem> {
        self.client()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let folder = root(self.home()).join(&id);
        make(&folder).map_err(|error| disk(&error))?;
        Ok(Staged { path: folder.join(suggestion(name)), folder, id, keep: false })
    }

    /// Largest file that may be attached, **bytes**.
    ///
    /// # Errors
    /// `no-profile`; those of the store.
    pub async fn largest_bytes(&self) -> Result<u64, Problem> {
        Ok(self.client()?.file_settings().await?.largest_bytes)
    }

    /// Opens a file of a message for whoever wants to see it, and fetches it first if a relay is in reach. `n` counts from 1.
    ///
    /// # Errors
    /// `no-file`, `file-later`, `file-differs`, `file-damaged`, `file-disk`; those of the store.
    pub async fn bring(&self, message: &str, n: u32) -> Result<Staged, Problem> {
        let client = self.client()?;
        let row = client.fetch(message, n, |_| ()).await?;
        let staged = self.stage(&row.file.name)?;
        client.save(message, n, &staged.path, false).await?;
        Ok(staged)
    }

    /// What was staged under these ids.
    pub(crate) fn staged(&self, ids: &[String]) -> Result<Vec<Staged>, Problem> {
        let missing = || Problem {
            code: "no-file".into(),
            message: "what was attached is not here any more".into(),
            hint: "attach it again".into(),
        };
        let mut found = Vec::new();
        for id in ids {
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(missing());
            }
            let folder = root(self.home()).join(id);
            let mut files = fs::read_dir(&folder).map_err(|_| missing())?.flatten();
            let path = files.next().ok_or_else(missing)?.path();
            // Kept until the message is written: if that fails the person may try again.
            found.push(Staged { folder, path, id: id.clone(), keep: true });
        }
        Ok(found)
    }
}

/// Only this person may look into it.
fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mine = fs::Permissions::from_mode(0o700);
        if let Some(root) = folder.parent() {
            fs::set_permissions(root, mine.clone())?;
        }
        fs::set_permissions(folder, mine)?;
    }
    Ok(())
}
