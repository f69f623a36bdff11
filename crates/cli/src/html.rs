//! A conversation as one page that needs nothing else: to read in any browser, to print, to keep.
//!
//! No script, no remote content, and a policy in the page that forbids both, so a text of somebody else's can do nothing
//! there but be read. Each name and text is a box of its own direction, so right-to-left texts stand as they should and
//! marks of direction end with their text. Light or dark as the reader's system is; printed in black.
//! Not here: writing the file (`commands/export.rs`).

use crate::calendar::{Moment, iso};
use crate::door::{Message, MessageState};
use crate::show::grouped;
use crate::zone::Zone;
use std::fmt::Write as _;

/// **Milliseconds** within which messages of one person stand together.
const TOGETHER_MS: u64 = 5 * 60_000;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="tombolo">
"#;

const STYLE: &str = "
:root { --canvas: #fbfaf7; --raised: #ffffff; --text: #17211f; --quiet: #55635f; --tide: #0f766e; --own: #ddefea;
  --line: #e4dfd3; --sand: #f3e3c2; --on-sand: #7a5a14; }
@media (prefers-color-scheme: dark) { :root { --canvas: #0f1719; --raised: #1b282c; --text: #e8eeeb; --quiet: #a5b3ae;
  --tide: #4fd1c1; --own: #17403b; --line: #26353a; --sand: #3a2f17; --on-sand: #e9c77b; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--canvas); color: var(--text); padding: 32px 16px 64px;
  font: 15px/1.45 Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif; }
header, main { max-width: 720px; margin: 0 auto; }
header { padding-bottom: 16px; border-bottom: 1px solid var(--line); }
h1 { font-size: 28px; line-height: 1.25; overflow-wrap: anywhere; }
header p { color: var(--quiet); margin-top: 4px; font-size: 13px; }
h2 { font-size: 13px; font-weight: 600; color: var(--quiet); text-align: center; margin: 32px 0 12px; }
h2.part { font-size: 15px; color: var(--tide); margin-top: 40px; }
h2.part + h2 { margin-top: 12px; }
article { margin-top: 12px; max-width: 88%; width: fit-content; }
article.more { margin-top: 3px; }
article.own { margin-inline-start: auto; }
.who { display: flex; gap: 8px; align-items: baseline; padding: 0 14px 2px; font-size: 13px; }
.who b { color: var(--tide); font-weight: 600; overflow-wrap: anywhere; }
.own .who { justify-content: flex-end; }
time { color: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; white-space: nowrap; }
h2 time { font-size: inherit; }
.text { background: var(--raised); border: 1px solid var(--line); border-radius: 14px; padding: 8px 14px;
  white-space: pre-wrap; overflow-wrap: anywhere; max-width: 68ch; }
.own .text { background: var(--own); border-color: transparent; margin-inline-start: auto; width: fit-content; }
.gone { color: var(--quiet); font-style: italic; }
.cited, .file, .notes { padding: 2px 14px; font-size: 13px; color: var(--quiet); overflow-wrap: anywhere; }
.cited a { color: inherit; text-decoration: none; border-inline-start: 2px solid var(--tide); padding-inline-start: 8px; display: block; }
.own .notes, .own .file { text-align: end; }
.late { background: var(--sand); color: var(--on-sand); border-radius: 6px; padding: 0 6px; font-size: 12px; }
.empty { color: var(--quiet); text-align: center; margin-top: 48px; }
@media print {
  :root { --canvas: #fff; --raised: #fff; --text: #000; --quiet: #444; --tide: #000; --own: #fff; --line: #999; }
  body { padding: 0; font-size: 11pt; }
  article { break-inside: avoid; } h2 { break-after: avoid; } .own .text { border-color: var(--line); }
}
";

/// The whole page.
pub(crate) fn page(title: &str, messages: &[Message], zone: &Zone) -> String {
    let at = |ms: u64| Moment::at(ms, zone.offset_s(ms));
    let title = if title.trim().is_empty() { "Conversation" } else { title };
    let mut page = String::with_capacity(8 * 1024 + messages.len() * 256);
    page.push_str(HEAD);
    // Writing to a `String` cannot fail.
    let _ = write!(page, "<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n", escape(title));
    let _ =
        write!(page, "<h1 dir=\"auto\">{}</h1>\n<p>{}</p>\n</header>\n<main>\n", escape(title), span(messages, &at));
    if messages.is_empty() {
        page.push_str("<p class=\"empty\">Nothing has been written here yet.</p>\n");
    }
    let both = messages.first().is_some_and(imported) && messages.last().is_some_and(|last| !imported(last));
    let mut before: Option<&Message> = None;
    for message in messages {
        let moment = at(message.time_ms);
        let same_part = before.is_some_and(|before| imported(before) == imported(message));
        if both && !same_part {
            let part = if imported(message) { "Brought in from elsewhere" } else { "Written here" };
            let _ = writeln!(page, "<h2 class=\"part\">{part}</h2>");
        }
        let same_day = same_part && before.is_some_and(|before| at(before.time_ms).days == moment.days);
        if !same_day {
            let _ = writeln!(page, "<h2><time datetime=\"{}\">{}</time></h2>", moment.date(), moment.day());
        }
        let together = same_day && before.is_some_and(|before| follows(before, message));
        put(&mut page, message, &moment, together);
        before = Some(message);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn imported(message: &Message) -> bool {
    message.state == MessageState::Imported
}

/// Whether a message stands below another without its own name.
fn follows(before: &Message, message: &Message) -> bool {
    let soon = message.time_ms.saturating_sub(before.time_ms) < TOGETHER_MS && before.time_ms <= message.time_ms;
    soon && before.name == message.name && before.own == message.own && !message.late
}

fn put(page: &mut String, message: &Message, moment: &Moment, together: bool) {
    let own = message.own && !imported(message);
    let class = match (own, together) {
        (true, true) => " class=\"own more\"",
        (true, false) => " class=\"own\"",
        (false, true) => " class=\"more\"",
        (false, false) => "",
    };
    let _ = write!(page, "<article{class} id=\"m{}\">", message.id);
    if !together {
        let late = if message.late { " <span class=\"late\">arrived late</span>" } else { "" };
        let _ = write!(
            page,
            "<p class=\"who\"><b dir=\"auto\">{}</b> <time datetime=\"{}\">{}</time>{late}</p>",
            escape(&message.name),
            iso(message.time_ms),
            moment.clock()
        );
    }
    let beside = &message.beside;
    if let Some(answers) = beside.answers.as_ref().filter(|cited| !cited.name.is_empty()) {
        let (name, excerpt) = (escape(&answers.name), escape(&answers.excerpt));
        let to = answers.at.id;
        let _ = write!(page, "<p class=\"cited\" dir=\"auto\"><a href=\"#m{to}\">{name}: {excerpt}</a></p>");
    }
    if let Some(by) = &beside.deleted {
        let _ = write!(page, "<div class=\"text gone\" dir=\"auto\">deleted by {}</div>", escape(by));
    } else if !message.text.is_empty() || beside.files.is_empty() {
        let _ = write!(page, "<div class=\"text\" dir=\"auto\">{}</div>", escape(&message.text));
    }
    for file in &beside.files {
        let (name, bytes) = (escape(&file.name), grouped(file.bytes));
        let _ = write!(page, "<p class=\"file\" dir=\"auto\">{name} <span>{bytes} bytes</span></p>");
    }
    let mut notes: Vec<String> = Vec::new();
    if beside.edits > 0 {
        notes.push("edited".into());
    }
    if beside.pinned {
        notes.push("pinned".into());
    }
    for reaction in &beside.reactions {
        notes.push(format!(
            "<span title=\"{}\">{} {}</span>",
            escape(&reaction.names.join(", ")),
            escape(&reaction.emoji),
            reaction.names.len()
        ));
    }
    if !notes.is_empty() {
        let _ = write!(page, "<p class=\"notes\">{}</p>", notes.join(" "));
    }
    page.push_str("</article>\n");
}

/// How many messages, from when to when.
fn span(messages: &[Message], at: &dyn Fn(u64) -> Moment) -> String {
    let days = messages.iter().map(|message| at(message.time_ms).date());
    let (first, last) = (days.clone().min(), days.max());
    let count = match messages.len() {
        1 => "1 message".to_owned(),
        count => format!("{} messages", grouped(count as u64)),
    };
    match (first, last) {
        (Some(first), Some(last)) if first != last => format!("{count}, {first} to {last}"),
        (Some(first), _) => format!("{count}, {first}"),
        _ => count,
    }
}

/// A text that is nothing but text: what would be markup is spelled out, control characters are left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::door::{Beside, DeviceId, OpId, Reach};

    fn message(number: u8, name: &str, text: &str, time_ms: u64, state: MessageState) -> Message {
        Message {
            id: OpId([number; 32]),
            author: DeviceId([1; 32]),
            name: name.into(),
            text: text.into(),
            hlc: 0,
            time_ms,
            state,
            late: false,
            came_ms: 0,
            own: matches!(state, MessageState::Local | MessageState::Held(_)),
            cursor: String::new(),
            beside: Beside::default(),
            reach: Reach::default(),
        }
    }

    fn body(page: &str) -> &str {
        page.split_once("<main>").unwrap().1
    }

    #[test]
    fn what_people_write_is_never_markup() {
        let evil = "</div><script>alert(1)</script><img src=x onerror='a'>\"&\u{0}\u{1b}[2J";
        let page = page(evil, &[message(1, evil, evil, 0, MessageState::Received)], &Zone::default());
        assert!(
            !page.contains("<script") && !page.contains("<img") && !page.contains('\u{0}') && !page.contains('\u{1b}')
        );
        let tags: Vec<&str> = body(&page).split('<').skip(1).map(|tag| tag.split([' ', '>']).next().unwrap()).collect();
        assert_eq!(
            tags,
            [
                "h2", "time", "/time", "/h2", "article", "p", "b", "/b", "time", "/time", "/p", "div", "/div",
                "/article", "/main", "/body", "/html"
            ]
        );
        assert!(body(&page).contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("default-src 'none'") && !page.contains("http:") && !page.contains("https:"));
    }

    #[test]
    fn parts_days_and_names_are_said_once() {
        let (day, minute) = (86_400_000, 60_000);
        let messages = [
            message(1, "Ana", "long ago", 0, MessageState::Imported),
            message(2, "Ana", "and on", minute, MessageState::Imported),
            message(3, "Ben", "here", 20_000 * day, MessageState::Received),
            message(4, "Ben", "again", 20_000 * day + 6 * minute, MessageState::Received),
            message(5, "Me", "mine", 20_001 * day, MessageState::Held(1)),
        ];
        let page = page("", &messages, &Zone::default());
        let count = |what: &str| page.matches(what).count();
        assert_eq!((count("Brought in from elsewhere"), count("Written here")), (1, 1));
        assert_eq!((count("<h2><time"), count("<b dir=\"auto\">Ana</b>"), count("<b dir=\"auto\">Ben</b>")), (3, 1, 2));
        assert_eq!((count("class=\"own\""), count("class=\"more\"")), (1, 1));
        assert!(
            page.contains("<h1 dir=\"auto\">Conversation</h1>")
                && page.contains("5 messages, 1970-01-01 to 2024-10-05")
        );
        assert!(super::page("x", &[], &Zone::default()).contains("Nothing has been written here yet."));
    }
}
