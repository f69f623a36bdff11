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
                let (before, after) = (bytes(packed.before_bytes), bytes(packed.after_bytes));
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
    let taken = bytes(row.body_bytes + row.text_bytes);
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

/// `512 B`, `1.4 kB`, `3.2 MB`.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let words: Vec<String> = [0, 999, 1_000, 1_449, 2_500_000, 7_000_000_000].into_iter().map(bytes).collect();
        assert_eq!(words, ["0 B", "999 B", "1.0 kB", "1.4 kB", "2.5 MB", "7.0 GB"]);
    }
}
