//! `backup` and `restore`: everything in one sealed file, and a fresh machine made of it.
//!
//! The key is shown once and never taken from the command line, where others on the machine could see it.
//! Not here: the file (the client).

use crate::args::Global;
use crate::door::{self, BackupKey, Door};
use crate::failure::Failure;
use crate::out::Out;
use crate::{rows, show};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// **Bytes** of a file with a key: longer ones hold something else.
const KEY_FILE_BYTES_MAX: u64 = 1024;

pub(super) async fn make(door: &Door, file: &Path, out: &Out) -> Result<(), Failure> {
    let made = door.backup(file.to_owned()).await?;
    let row = rows::Backup {
        file: file.display().to_string(),
        bytes: made.bytes,
        conversations: made.conversations,
        key: made.key.to_string(),
    };
    let lines = vec![
        format!("key      {}", row.key),
        format!(
            "file     {}, {} bytes, {} conversations",
            row.file,
            show::grouped(row.bytes),
            show::grouped(row.conversations)
        ),
    ];
    out.rows([row], |_| lines)?;
    if out.style.terminal && !out.json {
        out.remark("Write the key down: it is shown this once, and nobody can open the file without it.");
    }
    Ok(())
}

pub(super) async fn restore(global: &Global, file: PathBuf, key_file: Option<&Path>, out: &Out) -> Result<(), Failure> {
    let text = match key_file {
        Some(path) => from_file(path)?,
        None => asked(out)?,
    };
    let key: BackupKey = text.parse().map_err(|error: door::InvalidBackupKey| {
        Failure::new("backup-key", error.to_string(), "it looks like 0W3G-E1R7-0W3G-E1R7-0W3G-E1R7-0Z1K")
    })?;
    let profile = door::restore(global, file, key).await?;
    super::print_profile(&profile, out)?;
    if out.style.terminal && !out.json {
        out.remark("This is a new device of your account. `tombolo sync` brings what was written since.");
    }
    Ok(())
}

fn from_file(path: &Path) -> Result<String, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new("file", format!("{} cannot be read: {error}", path.display()), "");
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

fn asked(out: &Out) -> Result<String, Failure> {
    if out.style.terminal && std::io::stdin().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "Backup key: ");
    }
    let mut line = String::new();
    std::io::stdin().lock().take(KEY_FILE_BYTES_MAX).read_line(&mut line).map_err(|error| {
        Failure::new("input", format!("standard input cannot be read: {error}"), "put the key into a file: --key-file")
    })?;
    Ok(line)
}
