//! What people read: pure functions from rows to lines. Columns everywhere; colours, headings and date dividers on a
//! terminal only.
//!
//! Words follow one rule: short, plain, certain. Whatever others wrote goes through `text.rs` first. Not here: JSON
//! (`rows.rs`), writing to the terminal (`out.rs`).

mod beside;
mod reading;

pub(crate) use reading::receipts;

use crate::calendar::Moment;
use crate::door::{
    self, ConversationRow, DigestRow, Event, Finding, InviteRow, Message, MessageState, Standing, SyncReport,
};
use crate::rows::hex;
use crate::span;
use crate::text::{cut, harmless, one_line, pad, table, width};
use crate::zone::Zone;

/// How lines are drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Style {
    /// People look at it: headings, dividers.
    pub(crate) terminal: bool,
    /// Colours, too.
    pub(crate) colour: bool,
    /// Whose clock is shown.
    pub(crate) zone: Zone,
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Strong,
    Quiet,
    Tide,
    Sand,
    Proven,
    Storm,
}

impl Style {
    fn paint(&self, ink: Ink, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Strong => "1",
            Ink::Quiet => "2",
            Ink::Tide => "36",
            Ink::Sand => "33",
            Ink::Proven => "32",
            Ink::Storm => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The same without headings and dividers.
    pub(crate) fn plain(&self) -> Self {
        Self { terminal: false, ..self.clone() }
    }

    /// Something to be overlooked.
    pub(crate) fn quiet(&self, text: &str) -> String {
        self.paint(Ink::Quiet, text)
    }

    /// A heading.
    pub(crate) fn heading(&self, text: &str) -> String {
        self.paint(Ink::Strong, text)
    }

    /// Something that somebody must do something about.
    pub(crate) fn alarm(&self, text: &str) -> String {
        self.paint(Ink::Storm, text)
    }

    /// The moment at which a date (days since 1970) begins on this person's clock, **milliseconds** since 1970.
    pub(crate) fn start_ms(&self, days: i64) -> u64 {
        let utc_ms = days.saturating_mul(86_400_000);
        let offset_ms = i64::from(self.zone.offset_s(utc_ms.max(0) as u64)) * 1_000;
        utc_ms.saturating_sub(offset_ms).max(0) as u64
    }

    /// Date and time on this person's clock.
    pub(crate) fn when(&self, unix_ms: u64) -> String {
        let moment = self.moment(unix_ms);
        format!("{} {}", moment.date(), moment.clock())
    }

    fn moment(&self, unix_ms: u64) -> Moment {
        Moment::at(unix_ms, self.zone.offset_s(unix_ms))
    }

    fn divider(&self, text: &str) -> String {
        self.paint(Ink::Quiet, &format!("\u{2500}\u{2500} {text} \u{2500}\u{2500}"))
    }

    /// A heading above columns, on a terminal only.
    fn with_heading(&self, heading: &[&str], rows: Vec<Vec<String>>, right: &[bool]) -> Vec<String> {
        if !self.terminal || rows.is_empty() {
            return table(&rows, right);
        }
        let mut all = vec![heading.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
        all.extend(rows);
        let mut lines = table(&all, right);
        lines[0] = self.paint(Ink::Quiet, &lines[0]);
        lines
    }
}

/// Widest column of names.
const NAME_WIDTH_MAX: usize = 20;

/// A page of messages. `older` = there may be more before it; `ids` = with the beginnings of their ids.
pub(crate) fn messages(rows: &[Message], older: bool, ids: bool, style: &Style) -> Vec<String> {
    if rows.is_empty() {
        return if style.terminal { vec![style.paint(Ink::Quiet, "No messages here.")] } else { Vec::new() };
    }
    let mut lines = Vec::new();
    if let (true, true, Some(first)) = (older, style.terminal, rows.first()) {
        lines.push(style.paint(Ink::Quiet, &format!("older ones: --before {}", first.id)));
    }
    let names: Vec<String> = rows.iter().map(|row| name(row, style)).collect();
    let name_width = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let mut last: Option<(bool, i64)> = None;
    for (row, name) in rows.iter().zip(&names) {
        let moment = style.moment(row.time_ms);
        let is_imported = row.state == MessageState::Imported;
        if style.terminal && last != Some((is_imported, moment.days)) {
            let from_elsewhere = if is_imported { " (imported)" } else { "" };
            lines.push(style.divider(&format!("{}{from_elsewhere}", moment.day())));
            last = Some((is_imported, moment.days));
        }
        let time = if style.terminal { moment.clock() } else { format!("{} {}", moment.date(), moment.clock()) };
        let id = if ids { format!("{}  ", row.id.short()) } else { String::new() };
        let indent = " ".repeat(id.len() + width(&time) + 2 + name_width + 2);
        let ink = if row.own && !is_imported { Ink::Tide } else { Ink::Strong };
        let name = format!("{}{}", style.paint(ink, name), &pad(name, name_width)[name.len()..]);
        let text = harmless(&row.text).trim_end().replace('\n', &format!("\n{indent}"));
        let text = match beside::instead(row) {
            Some(instead) => style.paint(Ink::Quiet, &instead),
            None if row.state == MessageState::Sealed => style.paint(Ink::Quiet, &text),
            None => text,
        };
        let above = beside::above(row).into_iter().map(|line| style.paint(Ink::Quiet, &line));
        let text: Vec<String> =
            above.chain((!text.is_empty()).then_some(text)).chain(beside::below(row, style)).collect();
        let text = text.join(&format!("\n{indent}"));
        let mut line = format!("{}  {name}  {text}", style.paint(Ink::Quiet, &format!("{id}{time}")));
        for (ink, mark) in marks(row) {
            line.push_str(&format!("  {}", style.paint(ink, &format!("({mark})"))));
        }
        lines.extend(line.split('\n').map(|line| line.trim_end().to_owned()));
    }
    lines
}

fn name(row: &Message, style: &Style) -> String {
    // What this person wrote elsewhere keeps the name that it had there.
    let own = style.terminal && row.own && row.state != MessageState::Imported;
    if own { "You".to_owned() } else { cut(&one_line(&row.name), NAME_WIDTH_MAX) }
}

fn marks(row: &Message) -> Vec<(Ink, String)> {
    let mut marks = Vec::new();
    match door::late_by_ms(row) {
        Some(0..1_000) => marks.push((Ink::Sand, "arrived late".to_owned())),
        Some(late_ms) => marks.push((Ink::Sand, format!("arrived {} later", span::words(late_ms)))),
        None => {}
    }
    match row.state {
        MessageState::Local => marks.push((Ink::Quiet, "on this device only".to_owned())),
        MessageState::Held(1) => marks.push((Ink::Quiet, "also in 1 other place".to_owned())),
        MessageState::Held(count) => marks.push((Ink::Quiet, format!("also in {count} other places"))),
        MessageState::Delivered(_) => marks.push((Ink::Quiet, "delivered".to_owned())),
        MessageState::Read(count) if count == row.reach.others => marks.push((Ink::Quiet, "read".to_owned())),
        MessageState::Read(count) => {
            marks.push((Ink::Quiet, format!("read by {count} of {}", row.reach.others)));
        }
        MessageState::Received => {}
        MessageState::Imported => {}
        MessageState::Sealed => {}
    }
    marks.extend(beside::marks(row));
    marks
}

/// Titles are at most so wide in columns.
const TITLE_WIDTH_MAX: usize = 60;

/// The title, or what stands for it.
pub(crate) fn title(row: &ConversationRow) -> String {
    let title = cut(&one_line(&row.title), TITLE_WIDTH_MAX);
    match (title.is_empty(), row.standing) {
        (true, Standing::Asked) => "(asked to join; waits for a member)".to_owned(),
        (false, Standing::Asked) => format!("{title} (asked to join; waits for a member)"),
        (true, Standing::Member) => "(without a title)".to_owned(),
        (false, Standing::Member) => title,
    }
}

fn short(id: &door::ConversationId) -> String {
    id.to_string()[..8].to_owned()
}

/// All conversations.
pub(crate) fn list(rows: &[ConversationRow], style: &Style) -> Vec<String> {
    if rows.is_empty() && style.terminal {
        let words = "No conversations yet. `tombolo new TITLE` begins one, `tombolo accept LINK` joins one.";
        return vec![style.paint(Ink::Quiet, words)];
    }
    let cells = rows.iter().map(|row| vec![short(&row.id), unread(row), row.ops.to_string(), title(row)]);
    let mut lines = style.with_heading(&["ID", "UNREAD", "OPS", "TITLE"], cells.collect(), &[false, true, true]);
    let first = lines.len() - rows.len();
    for (line, row) in lines[first..].iter_mut().zip(rows) {
        if row.unread > 0 {
            *line = style.paint(Ink::Strong, line);
        }
    }
    lines
}

/// How much is unread; `@2` stands for two that call upon this person.
fn unread(row: &ConversationRow) -> String {
    if row.mentions == 0 { row.unread.to_string() } else { format!("{} @{}", row.unread, row.mentions) }
}

/// Digests, with titles where they are known.
pub(crate) fn digests(rows: &[DigestRow], conversations: &[ConversationRow], style: &Style) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let known = conversations.iter().find(|known| known.id == row.conversation);
        vec![short(&row.conversation), row.ops.to_string(), hex(&row.digest), known.map(title).unwrap_or_default()]
    });
    style.with_heading(&["ID", "OPS", "DIGEST", "TITLE"], cells.collect(), &[false, true])
}

/// Invitations.
pub(crate) fn invites(rows: &[InviteRow], now_ms: u64, style: &Style) -> Vec<String> {
    if rows.is_empty() && style.terminal {
        return vec![style.paint(Ink::Quiet, "No invitations. `tombolo invite` makes one.")];
    }
    let cells = rows.iter().map(|row| {
        let state = if row.revoked {
            "revoked".to_owned()
        } else if row.expires_ms == 0 {
            "works until it is revoked".to_owned()
        } else if row.expires_ms <= now_ms {
            "expired".to_owned()
        } else {
            let until = style.moment(row.expires_ms);
            format!("works until {} {}", until.date(), until.clock())
        };
        vec![short(&row.conversation), format!("{} of {}", row.used, row.uses), state, hex(&row.key)]
    });
    style.with_heading(&["ID", "USED", "STATE", "KEY"], cells.collect(), &[false, true])
}

/// A number with groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// What a sync did.
pub(crate) fn sync(report: &SyncReport, style: &Style) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(if report.proven {
        style.paint(Ink::Proven, "Complete. Both sides hold the same history, and that is proven.")
    } else {
        style.paint(Ink::Sand, "Not complete yet. Everything written here is safe on this device.")
    });
    lines.push(format!(
        "{} came, {} went; {} in, {} out; {}.",
        counted(report.ops_in, "op", "ops"),
        grouped(report.ops_out),
        counted(report.bytes_in, "byte", "bytes"),
        grouped(report.bytes_out),
        counted(report.round_trips, "round trip", "round trips"),
    ));
    if report.files_in + report.files_out > 0 {
        lines.push(format!("{} came, {} went.", counted(report.files_in, "file", "files"), grouped(report.files_out)));
    }
    let found = &report.found_by;
    let tools =
        [("cursor", found.cursor), ("heights", found.heights), ("sketch", found.sketch), ("ranges", found.ranges)];
    let found: Vec<String> =
        tools.iter().filter(|(_, ops)| *ops > 0).map(|(tool, ops)| format!("{} by {tool}", grouped(*ops))).collect();
    if !found.is_empty() {
        lines.push(style.paint(Ink::Quiet, &format!("Found: {}.", found.join(", "))));
    }
    lines
}

/// What the doctor found.
pub(crate) fn findings(rows: &[Finding], style: &Style) -> Vec<String> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![if row.ok { "ok" } else { "BAD" }.to_owned(), one_line(&row.check), one_line(&row.detail)])
        .collect();
    let mut lines = table(&cells, &[]);
    for (line, row) in lines.iter_mut().zip(rows) {
        let word = if row.ok { "ok" } else { "BAD" };
        let ink = if row.ok { Ink::Proven } else { Ink::Storm };
        *line = format!("{}{}", style.paint(ink, word), &line[word.len()..]);
    }
    let bad = rows.iter().filter(|row| !row.ok).count() as u64;
    if bad == 0 {
        lines.push(style.paint(Ink::Proven, "Everything is as it should be."));
    } else {
        let words = format!(
            "{} not as it should be. `tombolo doctor --repair` mends what can be mended.",
            counted(bad, "check is", "checks are")
        );
        lines.push(style.paint(Ink::Storm, &words));
    }
    lines
}

/// Something that happened while connected.
pub(crate) fn event(event: &Event, conversations: &[ConversationRow], style: &Style) -> Vec<String> {
    let titled = |id: &door::ConversationId| {
        let known = conversations.iter().find(|row| row.id == *id && !row.title.is_empty());
        known.map_or_else(|| short(id), |row| cut(&one_line(&row.title), TITLE_WIDTH_MAX))
    };
    let quiet = |text: String| style.paint(Ink::Quiet, &text);
    match event {
        Event::Connected { with } => vec![quiet(format!("Connected with {}.", one_line(with)))],
        Event::Disconnected { with, reason } => {
            vec![quiet(format!(
                "Offline: {}: {}. What is written stays safe here and goes out later.",
                one_line(with),
                one_line(reason)
            ))]
        }
        Event::Message { conversation, message } | Event::Changed { conversation, message } => {
            let changed = if matches!(event, Event::Changed { .. }) { " (changed)" } else { "" };
            let place = style.paint(Ink::Quiet, &format!("{}{changed}", titled(conversation)));
            // Under a divider for every single message nobody could read.
            let plain = Style { terminal: false, ..style.clone() };
            let mut lines = messages(std::slice::from_ref(message), false, false, &plain);
            if let Some(first) = lines.first_mut() {
                *first = format!("{place}  {first}");
            }
            lines
        }
        Event::Proven { with, ops } => {
            let words = format!("Complete with {}: {}.", one_line(with), counted(*ops, "op", "ops"));
            vec![style.paint(Ink::Proven, &words)]
        }
        Event::Presence { conversation, device, what } => {
            vec![quiet(format!("{}: {} is {}.", titled(conversation), &device.to_string()[..8], one_line(what)))]
        }
        Event::Joined { conversation, device } => {
            vec![format!("{}: device {} takes part from now on.", titled(conversation), &device.to_string()[..8])]
        }
        Event::Notice { words, .. } => vec![style.paint(Ink::Sand, &format!("Note: {}.", one_line(words)))],
    }
}

#[cfg(test)]
#[path = "show/tests.rs"]
mod tests;
