//! What conversations take on this device: what the commands do and print.
//!
//! Not here: parsing (`args/storage.rs`).

use super::choose;
use crate::args::Storage;
use crate::calendar::{self, Moment};
use crate::door::{Door, StorageRow};
use crate::failure::Failure;
use crate::out::Out;
use crate::show::Style;
use crate::size;
use crate::text::one_line;
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    conversation: String,
    title: String,
    messages: u64,
    oldest: Option<String>,
    newest: Option<String>,
    ops: u64,
    body_bytes: u64,
    text_bytes: u64,
    pruned: u64,
    pruned_before: Option<String>,
}

#[derive(Serialize)]
struct PrunedRow {
    conversation: String,
    messages: u64,
}

/// Runs one of them.
pub(crate) async fn run(door: &Door, command: Storage, out: &Out) -> Result<(), Failure> {
    let client = door.client();
    match command {
        Storage::Storage { pack } => {
            if pack {
                let packed = client.pack().await?;
                let (before, after) = (size::words(packed.before_bytes), size::words(packed.after_bytes));
                out.remark(&format!("The file took {before} and takes {after} now."));
            }
            let found = client.storage().await?;
            let row = |row: &StorageRow| Row {
                conversation: row.conversation.to_string(),
                title: row.title.clone(),
                messages: row.messages,
                oldest: iso(row.oldest_ms),
                newest: iso(row.newest_ms),
                ops: row.ops,
                body_bytes: row.body_bytes,
                text_bytes: row.text_bytes,
                pruned: row.pruned,
                pruned_before: iso(row.pruned_before_ms),
            };
            out.rows(found.iter().map(row), |style| found.iter().flat_map(|row| words(row, style)).collect())
        }
        Storage::Prune { conversation, older_than, .. } => {
            let conversation = choose(door, &conversation).await?;
            let messages = match older_than {
                Some(span) => client.prune(conversation, span.ms).await?,
                None => client.want_pruned(conversation).await?,
            };
            let text = match (older_than, messages) {
                (Some(_), 0) => "Nothing here is as old as that.".to_owned(),
                (Some(_), count) => {
                    format!(
                        "{count} messages are gone from this device. `tombolo storage --pack` makes the file smaller."
                    )
                }
                (None, 0) => "Nothing was let go of here.".to_owned(),
                (None, count) => format!("{count} parts of messages come with the next sync, from whoever has them."),
            };
            out.rows([PrunedRow { conversation: conversation.to_string(), messages }], |_| vec![text])
        }
    }
}

fn words(row: &StorageRow, style: &Style) -> Vec<String> {
    let taken = size::words(row.body_bytes + row.text_bytes);
    let mut lines = vec![format!("{}  {} messages, {taken}", one_line(&row.title), row.messages)];
    if row.pruned > 0 {
        let day = Moment::at(row.pruned_before_ms, style.zone.offset_s(row.pruned_before_ms)).date();
        lines.push(format!("    {} messages before {day} were removed from this device", row.pruned));
    }
    lines
}

/// 0 = there is none.
fn iso(ms: u64) -> Option<String> {
    (ms > 0).then(|| calendar::iso(ms))
}
