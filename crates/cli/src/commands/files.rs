//! Files: attach, list, fetch, save.
//!
//! Names come from others and are shown like everything that others wrote; where a file goes is what the person types.
//! Not here: what becomes of the bytes (the client).

use crate::calendar::iso;
use crate::door::{ConversationId, Door, FileRow, FileSettings, FileState, Post};
use crate::failure::Failure;
use crate::out::Out;
use crate::progress::Bar;
use crate::rows;
use crate::size::words;
use crate::text::{cut, one_line, table};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A file, with `--json`.
#[derive(Serialize)]
struct Row {
    message: String,
    n: u32,
    conversation: String,
    name: String,
    media: String,
    bytes: u64,
    width: Option<u32>,
    height: Option<u32>,
    thumbnail_bytes: Option<usize>,
    blob: String,
    author: String,
    own: bool,
    time: String,
    state: &'static str,
    come_bytes: Option<u64>,
    why: Option<String>,
    relays: u64,
}

impl From<&FileRow> for Row {
    fn from(row: &FileRow) -> Self {
        let image = row.file.image.as_ref();
        let (mut come_bytes, mut why) = (None, None);
        match &row.state {
            FileState::Coming(bytes) => come_bytes = Some(*bytes),
            FileState::Failed(words) => why = Some(words.clone()),
            FileState::Local | FileState::Here | FileState::Wanted | FileState::Elsewhere => {}
        }
        Self {
            message: row.message.to_string(),
            n: row.n,
            conversation: row.conversation.to_string(),
            name: row.file.name.clone(),
            media: row.file.media.clone(),
            bytes: row.file.bytes,
            width: image.map(|image| image.width),
            height: image.map(|image| image.height),
            thumbnail_bytes: image.map(|image| image.thumbnail.len()),
            blob: rows::hex(&row.file.blob),
            author: row.author.to_string(),
            own: row.own,
            time: iso(row.hlc >> 16),
            state: row.state.word(),
            come_bytes,
            why,
            relays: row.relays,
        }
    }
}

/// `saved`, with `--json`.
#[derive(Serialize)]
struct Saved {
    saved: String,
}

/// `files` without a conversation and with a limit, with `--json`.
#[derive(Serialize)]
struct Limits {
    largest_bytes: u64,
    automatic_bytes: u64,
    automatic_total_bytes: u64,
}

fn state(row: &FileRow) -> String {
    match &row.state {
        FileState::Local => "on this device only".to_owned(),
        FileState::Here if row.own => "here and on a relay".to_owned(),
        FileState::Here => "here".to_owned(),
        FileState::Coming(bytes) => format!("{} of it came", words(*bytes)),
        FileState::Wanted => "comes with the next sync".to_owned(),
        FileState::Elsewhere => "to be asked for: `tombolo fetch`".to_owned(),
        FileState::Failed(why) => format!("failed: {}", one_line(why)),
    }
}

fn lines(found: &[FileRow]) -> Vec<String> {
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|row| {
            let message = row.message.to_string();
            let sides = row.file.image.as_ref().map(|image| format!("{} x {}", image.width, image.height));
            vec![
                message[..8].to_owned(),
                row.n.to_string(),
                cut(&one_line(&row.file.name), 40),
                words(row.file.bytes),
                sides.unwrap_or_default(),
                state(row),
            ]
        })
        .collect();
    table(&cells, &[])
}

/// `send --file`.
pub(crate) async fn attach(
    door: &Door,
    conversation: ConversationId,
    post: Post,
    files: Vec<PathBuf>,
    out: &Out,
) -> Result<(), Failure> {
    let bar = Bar::new(out.progress, "sealing");
    let (moving, total) = (bar.clone(), files.len() as u64);
    let sent = door.client().attach(conversation, post, files, move |done| moving.set(done as u64, total)).await;
    bar.done();
    let sent = sent?;
    out.rows([rows::SentRow::from(&sent)], |_| vec![sent.id.to_string()])
}

/// `files`.
pub(crate) async fn list(door: &Door, conversation: Option<ConversationId>, out: &Out) -> Result<(), Failure> {
    let found = door.client().files(conversation).await?;
    out.rows(found.iter().map(Row::from), |_| lines(&found))
}

/// `files --automatic`, `--automatic-total`, `--largest`.
pub(crate) async fn limits(
    door: &Door,
    (automatic, total, largest): (Option<u64>, Option<u64>, Option<u64>),
    out: &Out,
) -> Result<(), Failure> {
    let old = door.client().file_settings().await?;
    let new = FileSettings {
        automatic_bytes: automatic.unwrap_or(old.automatic_bytes),
        automatic_total_bytes: total.unwrap_or(old.automatic_total_bytes),
        largest_bytes: largest.unwrap_or(old.largest_bytes),
    };
    door.client().set_file_settings(new).await?;
    let row = Limits {
        largest_bytes: new.largest_bytes,
        automatic_bytes: new.automatic_bytes,
        automatic_total_bytes: new.automatic_total_bytes,
    };
    out.rows([row], |_| {
        vec![
            format!(
                "Files up to {} come by themselves, {} in all.",
                words(new.automatic_bytes),
                words(new.automatic_total_bytes)
            ),
            format!("Files up to {} may be attached.", words(new.largest_bytes)),
        ]
    })
}

/// `fetch`.
pub(crate) async fn fetch(door: &Door, message: &str, n: u32, out: &Out) -> Result<(), Failure> {
    let bar = Bar::new(out.progress, "fetching");
    let moving = bar.clone();
    let fetched = door.client().fetch(message, n, move |progress| moving.set(progress.ops, progress.expected)).await;
    bar.done();
    let row = fetched?;
    out.rows([Row::from(&row)], |_| lines(std::slice::from_ref(&row)))
}

/// `save`.
pub(crate) async fn save(
    door: &Door,
    (message, n): (&str, u32),
    to: &Path,
    overwrite: bool,
    out: &Out,
) -> Result<(), Failure> {
    let saved = door.client().save(message, n, to, overwrite).await?;
    let saved = saved.display().to_string();
    out.rows([Saved { saved: saved.clone() }], |_| vec![one_line(&saved)])
}
