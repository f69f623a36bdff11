//! `export`: all messages of a conversation, as lines for programs or as a page for people.
//!
//! Not here: what the page looks like (`html.rs`).

use super::choose;
use crate::door::Door;
use crate::failure::Failure;
use crate::out::Out;
use crate::{html, rows, show};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::Path;

pub(super) async fn run(door: &Door, name: &str, page: Option<&Path>, out: &Out) -> Result<(), Failure> {
    let conversation = choose(door, name).await?;
    let found = door.export(conversation).await?;
    let Some(file) = page else {
        // The lines are JSON whatever was asked for: they are what `import` reads.
        return out.rows_as(true, found.iter().map(rows::Exported::from), |_| Vec::new());
    };
    let title = door.conversations().await?.into_iter().find(|row| row.id == conversation).map(|row| row.title);
    let page = html::page(&title.unwrap_or_default(), &found, &out.style.zone);
    write(file, &page).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "name another file, or remove that one first",
            _ => "name a file in a folder that you may write to",
        };
        Failure::new("file", format!("{} cannot be written: {error}", file.display()), hint)
    })?;
    let row = rows::Written { file: file.display().to_string(), messages: found.len() as u64 };
    let words = format!("{} messages written to {}.", show::grouped(row.messages), row.file);
    out.rows([row], |_| vec![words])
}

/// Writes a file whole or not at all, and never over another one.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    if fs::exists(file)? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let put = || {
        let mut to = BufWriter::new(File::create(&part)?);
        to.write_all(text.as_bytes())?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, file)
    };
    let put = put();
    if put.is_err() {
        // What is wrong was said already.
        let _ = fs::remove_file(&part);
    }
    put
}
