//! What stands beside a message, in words: answers, files, reactions, edits, deletion.

use super::{Ink, Style};
use crate::door::{Cited, Message};
use crate::text::{cut, one_line};
use crate::{size, span};

/// Widest excerpt of what is answered or quoted.
const EXCERPT_WIDTH_MAX: usize = 60;
/// Widest name of a file.
const FILE_WIDTH_MAX: usize = 40;

/// What is shown in place of the text, where it is not shown.
pub(super) fn instead(row: &Message) -> Option<String> {
    if row.beside.blocked {
        return Some("(blocked)".to_owned());
    }
    row.beside.deleted.as_ref().map(|name| format!("(deleted by {})", one_line(name)))
}

/// Marks behind the text.
pub(super) fn marks(row: &Message) -> Vec<(Ink, String)> {
    let beside = &row.beside;
    let mut marks = Vec::new();
    if beside.conflict {
        marks.push((Ink::Storm, "edited and deleted at once: `tombolo conflicts`".to_owned()));
    }
    if beside.edits > 0 && beside.deleted.is_none() {
        let words = if beside.merged { "edited by several at once, merged" } else { "edited" };
        marks.push((Ink::Quiet, words.to_owned()));
    }
    if beside.mentions_me {
        marks.push((Ink::Sand, "calls you".to_owned()));
    }
    if beside.pinned {
        marks.push((Ink::Quiet, "pinned".to_owned()));
    }
    match beside.replies {
        0 => {}
        1 => marks.push((Ink::Quiet, "1 answer".to_owned())),
        count => marks.push((Ink::Quiet, format!("{count} answers"))),
    }
    if beside.expires_ms > 0 {
        let after = beside.expires_ms.saturating_sub(row.time_ms);
        marks.push((Ink::Quiet, format!("disappears {} after it was written", span::words(after))));
    }
    marks
}

/// Lines above the text: what it answers and quotes.
pub(super) fn above(row: &Message) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(row.beside.answers.iter().map(|answered| cited("to", answered)));
    lines.extend(row.beside.quotes.iter().map(|quoted| cited(">", quoted)));
    lines
}

fn cited(how: &str, cited: &Cited) -> String {
    if cited.name.is_empty() {
        return format!("{how} a message that is not here yet ({})", cited.at.id.short());
    }
    let excerpt = if cited.excerpt.is_empty() { "(deleted)".to_owned() } else { one_line(&cited.excerpt) };
    format!("{how} {}: {}", one_line(&cited.name), cut(&excerpt, EXCERPT_WIDTH_MAX))
}

/// Lines below the text: files and reactions.
pub(super) fn below(row: &Message, style: &Style) -> Vec<String> {
    let mut lines = Vec::new();
    for file in &row.beside.files {
        let name = cut(&one_line(&file.name), FILE_WIDTH_MAX);
        lines.push(style.paint(Ink::Tide, &format!("[{name}, {}]", size::words(file.bytes))));
    }
    let reactions: Vec<String> = row
        .beside
        .reactions
        .iter()
        .map(|reaction| {
            let own = if reaction.own { "*" } else { "" };
            format!("{} {}{own}", one_line(&reaction.emoji), reaction.names.len())
        })
        .collect();
    if !reactions.is_empty() {
        lines.push(reactions.join("  "));
    }
    lines
}
