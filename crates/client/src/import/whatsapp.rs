//! A WhatsApp export as messages: `[12.03.21, 14:05:33] Ana: text` (iOS) or `12/03/2021, 14:05 - Ana: text` (Android).
//!
//! Each line that begins with a header of the file's dialect begins a message; other lines belong to the one before.
//! Dates are decided by all of them together: an order of day, month and year that a line contradicts is out. Where
//! none does, nobody can know, and [`parse`] asks. Lines that nobody wrote ("Ana added Ben") are left out and
//! counted: they tell of the other program's groups, not of this conversation. Not here: single headers (`header.rs`),
//! files (`attachment.rs`), zip archives (`archive.rs`).

use super::civil::{DAY_MS, DateOrder, days, moment, year};
use super::header::{Begins, Dialect, Header, begins, is_mark};
use super::limit::{HEAD_BYTES_MAX, MESSAGES_MAX};
use super::words::is_left_out;
use super::{Entry, Reading, attachment};
use crate::Error;
use std::collections::BTreeMap;
use tombolo_model::limit::NAME_BYTES_MAX;

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct Chat {
    pub(super) entries: Vec<Entry>,
    /// Lines that nobody wrote.
    pub(super) system: u64,
    /// Messages whose file was left out when the export was made.
    pub(super) omitted: u64,
}

/// A message as it stands in the text: **bytes** of its name and its body.
struct Found {
    numbers: [u32; 3],
    time_ms: i64,
    /// The date as it is written.
    date: (usize, usize),
    /// `None`: nobody wrote it.
    name: Option<(usize, usize)>,
    body: (usize, usize),
}

/// The first line that is not empty, if it begins a message.
pub(super) fn recognise(text: &str) -> Begins {
    text.lines().find(|line| !line.trim().is_empty()).map_or(Begins::Text, begins)
}

/// Reads a text.
///
/// # Errors
/// `ambiguous-dates`, `dates`, `too-large`, `not-an-export`.
pub(super) fn parse(text: &str, reading: &Reading<'_>, known: &dyn Fn(&str) -> bool) -> Result<Chat, Error> {
    let Begins::Header(first) = recognise(text) else {
        return Err(Error::new("not-an-export", "the text does not begin with a message of an export", ""));
    };
    let dialect = first.dialect;
    let headers = split(text, &dialect)?;
    let order = decide(text, &headers, &dialect, reading)?;
    let mut messages: Vec<Found> = Vec::with_capacity(headers.len());
    for found in headers {
        match (day_ms(found.numbers, order), messages.last_mut()) {
            (Some(_), _) => messages.push(found),
            // No such day: a line of the message before that only looks like a header.
            (None, Some(before)) => before.body.1 = found.body.1,
            (None, None) => return Err(no_such_day(&text[found.date.0..found.date.1], order)),
        }
    }
    Ok(chat(text, &messages, &dialect, order, reading, known))
}

/// Finds the messages.
fn split(text: &str, dialect: &Dialect) -> Result<Vec<Found>, Error> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.trim_end_matches(['\n', '\r']).len();
        match begins(&text[at..end]) {
            Begins::Header(header) if header.dialect == *dialect => {
                if found.len() == MESSAGES_MAX {
                    let words = format!("an export may have {MESSAGES_MAX} messages, this one has more");
                    return Err(Error::new("too-large", words, "divide it"));
                }
                found.push(message(text, at, end, &header));
            }
            Begins::Header(_) | Begins::UnknownHalf(_) | Begins::Text => {
                if let Some(last) = found.last_mut() {
                    last.body.1 = end;
                }
            }
        }
        at += line.len();
    }
    Ok(found)
}

/// Name and body of a line that begins with a header.
fn message(text: &str, at: usize, end: usize, header: &Header) -> Found {
    let from = at + header.len;
    let mut until = end.min(from + HEAD_BYTES_MAX);
    while !text.is_char_boundary(until) {
        until -= 1;
    }
    let rest = &text[from..until];
    let colon = rest.find(": ").or_else(|| rest.ends_with(':').then(|| rest.len() - 1));
    let name = colon.filter(|colon| is_name(&rest[..*colon]));
    Found {
        numbers: header.numbers,
        time_ms: header.time_ms,
        date: (at + header.date.0, at + header.date.1),
        name: name.map(|colon| (from, from + colon)),
        body: (name.map_or(from, |colon| (from + colon + 2).min(end)), end),
    }
}

/// Whether this can be whom a message is from. A line that nobody wrote may contain a colon, too, mostly in a new title.
fn is_name(text: &str) -> bool {
    let quotes = text.chars().filter(|c| matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}'));
    let name = clean_name(text);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && quotes.count().is_multiple_of(2)
}

/// A name without the marks around it, and without the sign for people who are not in the exporter's address book.
fn clean_name(text: &str) -> String {
    let name: String = text
        .chars()
        .filter(|c| !is_mark(*c))
        .map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c })
        .collect();
    let name = name.trim();
    name.strip_prefix("~ ").unwrap_or(name).trim().to_owned()
}

/// **Milliseconds** at which a day begins, as if local time were UTC.
fn day_ms(numbers: [u32; 3], order: DateOrder) -> Option<i64> {
    let (number, month, day) = order.pick(numbers);
    days(year(number), month, day).map(|days| days * DAY_MS)
}

fn no_such_day(date: &str, order: DateOrder) -> Error {
    let words = format!("there is no day `{date}` in the order {order}; nothing was imported");
    Error::new("dates", words, "choose another order with --dates dmy, mdy or ymd")
}

/// The earliest year in which there can be messages.
const FIRST_YEAR: u32 = 2009;
/// **Milliseconds** by which clocks may be ahead.
const AHEAD_MS: i64 = 2 * DAY_MS;
/// **Milliseconds** by which a message may stand behind a later one: phones are off line, and their clocks wrong.
const BACK_MS: i64 = DAY_MS * 3 / 2;

/// What speaks against an order, the strongest first: days that do not exist, days before there were messages or after
/// today, and times that jump back.
fn against(order: DateOrder, found: &[Found], now_ms: i64) -> (usize, usize, usize) {
    let (mut impossible, mut odd, mut back) = (0, 0, 0);
    let mut latest = i64::MIN;
    for message in found {
        let Some(day_ms) = day_ms(message.numbers, order) else {
            impossible += 1;
            continue;
        };
        let ms = day_ms + message.time_ms;
        odd += usize::from(year(order.pick(message.numbers).0) < FIRST_YEAR || ms > now_ms + AHEAD_MS);
        back += usize::from(latest > i64::MIN && ms < latest - BACK_MS);
        latest = ms;
    }
    (impossible, odd, back)
}

fn decide(text: &str, found: &[Found], dialect: &Dialect, reading: &Reading<'_>) -> Result<DateOrder, Error> {
    use DateOrder::{Dmy, Mdy, Ymd};
    let possible: &[DateOrder] = match dialect.year_at {
        Some(0) => &[Ymd],
        Some(_) => &[Dmy, Mdy],
        None => &[Dmy, Mdy, Ymd],
    };
    if let Some(order) = reading.dates.filter(|order| possible.contains(order)) {
        return Ok(order);
    }
    let now_ms = i64::try_from(reading.now_ms).unwrap_or(i64::MAX / 2);
    let mut weighed: Vec<_> = possible.iter().map(|order| (against(*order, found, now_ms), *order)).collect();
    // A look-alike among the lines is no reason to believe that years come first.
    let mostly = |(impossible, odd, _): (usize, usize, usize)| (impossible + odd) * 2 < found.len();
    if weighed.iter().any(|(against, order)| *order != Ymd && mostly(*against)) && !dialect.may_begin_with_short_year()
    {
        weighed.retain(|(_, order)| *order != Ymd || dialect.year_at.is_some());
    }
    if let Some(first) = found.first()
        && weighed.iter().all(|((impossible, ..), _)| *impossible == found.len())
    {
        return Err(no_such_day(&text[first.date.0..first.date.1], weighed[0].1));
    }
    let best = weighed.iter().map(|(against, _)| *against).min().unwrap_or_default();
    let left: Vec<DateOrder> = weighed
        .iter()
        // That times jump back speaks only where they do not at all in another order.
        .filter(|((impossible, odd, back), _)| (*impossible, *odd) == (best.0, best.1) && (*back == 0 || best.2 > 0))
        .map(|(_, order)| *order)
        .collect();
    match left.as_slice() {
        [one] => Ok(*one),
        several => Err(ambiguous(text, found, several)),
    }
}

/// Dates that a question shows.
const EXAMPLES: usize = 3;

fn ambiguous(text: &str, found: &[Found], orders: &[DateOrder]) -> Error {
    let mut shown: Vec<String> = Vec::new();
    for message in found {
        let date: String = text[message.date.0..message.date.1].chars().filter(|c| !is_mark(*c)).collect();
        let mut means: Vec<String> = Vec::new();
        for order in orders {
            let (number, month, day) = order.pick(message.numbers);
            means.push(format!("{:04}-{month:02}-{day:02} ({order})", year(number)));
        }
        let line = format!("{date} is {}", means.join(" or "));
        let differ = message.numbers[0] != message.numbers[1];
        if differ && !shown.contains(&line) {
            shown.push(line);
        }
        if shown.len() == EXAMPLES {
            break;
        }
    }
    // Every date reads the same in every order: any will do, and yet it must be said which.
    if shown.is_empty() {
        shown.push("every date has the same number as day and as month".into());
    }
    let words =
        format!("no line of this export says which number is the day: {}; nothing was imported", shown.join("; "));
    let orders: Vec<String> = orders.iter().map(ToString::to_string).collect();
    Error::new("ambiguous-dates", words, format!("say it with --dates {}", orders.join(" or --dates ")))
}

/// Turns what was found into messages.
fn chat(
    text: &str,
    found: &[Found],
    dialect: &Dialect,
    order: DateOrder,
    reading: &Reading<'_>,
    known: &dyn Fn(&str) -> bool,
) -> Chat {
    let names: Vec<Option<String>> =
        found.iter().map(|message| message.name.map(|(from, to)| clean_name(&text[from..to]))).collect();
    let itself = if dialect.brackets { program(text, found, &names) } else { None };
    let mut chat = Chat { entries: Vec::with_capacity(found.len()), ..Chat::default() };
    for (at, (message, name)) in found.iter().zip(names).enumerate() {
        let body = &text[message.body.0..message.body.1];
        let notice = at == 0 && dialect.brackets && says_program(body);
        let Some(who) = name.filter(|name| !notice && itself.as_ref() != Some(name)) else {
            chat.system += 1;
            continue;
        };
        let local_ms = day_ms(message.numbers, order).unwrap_or(0) + message.time_ms;
        let marked = body.starts_with(is_mark);
        let body = clean_body(body);
        let (text, files) = attachment::take(&body, dialect.brackets, known);
        chat.omitted += u64::from(is_left_out(&body, marked));
        let time_ms = moment(local_ms, reading.offset_s);
        let local_ms = u64::try_from(local_ms).unwrap_or(0);
        chat.entries.push(Entry { time_ms, key_ms: local_ms, who, key_text: body, text, files });
    }
    chat
}

/// A body without the mark before what the program says, and with plain ends of lines.
fn clean_body(body: &str) -> String {
    let body = body.trim_start_matches(is_mark).replace("\r\n", "\n");
    body.trim_end_matches(['\n', '\r']).to_owned()
}

/// On iOS a mark of direction stands before what the program says itself, and files are in pointed brackets.
fn says_program(body: &str) -> bool {
    let inner = body.trim_start_matches(is_mark);
    inner.len() < body.len() && !inner.starts_with('<') && !is_left_out(inner, true)
}

/// On iOS lines that nobody wrote come from the chat's own name: the one that says nothing else.
fn program(text: &str, found: &[Found], names: &[Option<String>]) -> Option<String> {
    let mut only: BTreeMap<&str, bool> = BTreeMap::new();
    for (message, name) in found.iter().zip(names) {
        let Some(name) = name else { continue };
        let says = says_program(&text[message.body.0..message.body.1]);
        *only.entry(name).or_insert(true) &= says;
    }
    let first = names.first()?.as_deref()?;
    only.get(first).copied().unwrap_or(false).then(|| first.to_owned())
}
