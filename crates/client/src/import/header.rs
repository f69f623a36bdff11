//! The beginning of a message in a WhatsApp export: date, time, and where the rest begins.
//!
//! There is no list of locales here. A header is three numbers, what stands between them, a time, and an end; the first
//! one of a file fixes its [`Dialect`], and lines of another dialect are text. So `12/03/2021, 14:05 - Ana: x` inside
//! a message of an export that writes `[12.03.21, 14:05:33] Ana: x` stays what it is. Digits of every script in use,
//! marks of direction anywhere, every kind of space. Not here: which of the numbers is the day (`whatsapp.rs`).

use super::limit::HEAD_BYTES_MAX;
use super::words::{Half, half, half_before};

/// How a file writes its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `[date, time] ` or `date, time - `.
    pub(super) brackets: bool,
    /// Between the numbers of the date.
    separators: [String; 2],
    /// Between date and time, without a half of the day.
    between: String,
    /// Between hour and minute.
    colon: char,
    seconds: bool,
    /// Whether times name a half of the day, and where.
    half: Where,
    /// Which number has four digits, if any.
    pub(super) year_at: Option<usize>,
    /// What ends the header.
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Nowhere,
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Bracket,
    Dash,
    Comma,
}

impl Dialect {
    /// Whether a locale writes years of two digits first with these separators: `21-03-12` in Canada, `21. 3. 12.` in
    /// Korea. Nobody but Basques writes `21/3/12`, so dates with strokes and points are not doubted for that.
    pub(super) fn may_begin_with_short_year(&self) -> bool {
        self.separators.iter().all(|separator| !matches!(separator.trim_end(), "/") && separator != ".")
    }
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dialect: Dialect,
    /// The date's numbers in the order of the text.
    pub(super) numbers: [u32; 3],
    /// **Milliseconds** of the day.
    pub(super) time_ms: i64,
    /// **Bytes** of the line up to where name or text begin.
    pub(super) len: usize,
    /// **Bytes** at which the date begins and ends.
    pub(super) date: (usize, usize),
}

/// What the beginning of a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Header(Box<Header>),
    /// A date and a time, with a half of the day that is not known here.
    UnknownHalf(String),
    Text,
}

/// Marks that are not seen: of direction, and the one that some files begin with.
pub(super) fn is_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// First digits of the scripts that locales write numbers in.
const ZEROS: [char; 13] = [
    '0', '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{be6}', '\u{c66}', '\u{e50}', '\u{f20}',
    '\u{1040}', '\u{ff10}',
];

fn digit(c: char) -> Option<u32> {
    ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(u32::from(*zero)).filter(|value| *value < 10))
}

/// Chars of what stands between numbers of a date, and between date and time.
const SEPARATOR_CHARS_MAX: usize = 4;
const BETWEEN_CHARS_MAX: usize = 24;
/// Chars of a half of the day.
const HALF_CHARS_MAX: usize = 24;

struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl Cursor<'_> {
    /// The next char that is seen.
    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().find(|c| !is_mark(*c)).map(|c| if c.is_whitespace() { ' ' } else { c })
    }

    fn next(&mut self) -> Option<char> {
        for c in self.line[self.at..].chars() {
            self.at += c.len_utf8();
            if !is_mark(c) {
                return Some(if c.is_whitespace() { ' ' } else { c });
            }
        }
        None
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// A number of at most `max` digits, and how many it has.
    fn number(&mut self, max: usize) -> Option<(u32, usize)> {
        let (mut value, mut digits) = (0, 0);
        while let Some(next) = self.peek().and_then(digit) {
            if digits == max {
                return None;
            }
            (value, digits) = (value * 10 + next, digits + 1);
            self.next();
        }
        (digits > 0).then_some((value, digits))
    }

    /// What stands before the next digit.
    fn until_digit(&mut self, max: usize) -> Option<String> {
        let mut text = String::new();
        for _ in 0..=max {
            if self.peek().and_then(digit).is_some() {
                return Some(text);
            }
            text.push(self.next()?);
        }
        None
    }
}

/// A separator of a date: points, strokes, and the signs for year and month.
fn separates(text: &str) -> bool {
    let known = |c: char| matches!(c, '.' | '/' | '-' | ' ' | '\u{5e74}' | '\u{6708}' | '\u{b144}' | '\u{c6d4}');
    !text.is_empty() && text.chars().all(known) && !text.trim().is_empty()
}

/// What may stand between a date and its time: signs, and short words such as "at", but nothing that a text would need.
fn joins(text: &str) -> bool {
    !text.is_empty() && !text.contains(['[', ']', '(', ')', '<', '>', '"', ':', ';', '?', '!', '=', '+', '*', '@', '#'])
}

/// Looks at the beginning of a line. Costs the same for lines of every length.
pub(super) fn begins(line: &str) -> Begins {
    let mut end = line.len().min(HEAD_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    read(&line[..end]).unwrap_or(Begins::Text)
}

fn read(line: &str) -> Option<Begins> {
    let mut cursor = Cursor { line, at: 0 };
    let brackets = cursor.eat('[');
    cursor.peek().and_then(digit)?;
    let from = cursor.at;
    let (one, digits_one) = cursor.number(4)?;
    let first = cursor.until_digit(SEPARATOR_CHARS_MAX).filter(|text| separates(text))?;
    let (two, digits_two) = cursor.number(2)?;
    let second = cursor.until_digit(SEPARATOR_CHARS_MAX).filter(|text| separates(text))?;
    let (three, digits_three) = cursor.number(4)?;
    let to = cursor.at;
    let year_at = match (digits_one, digits_two, digits_three) {
        (4, 1..=2, 1..=2) => Some(0),
        (1..=2, 1..=2, 4) => Some(2),
        (1..=2, 1..=2, 1..=2) => None,
        _ => return None,
    };
    let between = cursor.until_digit(BETWEEN_CHARS_MAX).filter(|text| joins(text))?;
    let (before, between) = half_before(&between);
    let (hour, _) = cursor.number(2)?;
    let colon = cursor.next().filter(|c| matches!(c, ':' | '.' | 'h' | '\u{2236}'))?;
    let (minute, minute_digits) = cursor.number(2)?;
    let mut second_of = None;
    let behind_minute = cursor.at;
    if cursor.eat(colon) {
        match cursor.number(2) {
            Some((value, 2)) => second_of = Some(value),
            _ => cursor.at = behind_minute,
        }
    }
    let (end, word) = ending(&mut cursor, brackets)?;
    let after = half(&word);
    if !word.is_empty() && after.is_none() {
        // A word that means nothing here: a header of an unknown locale, or a text.
        return Some(Begins::UnknownHalf(word));
    }
    let hour = hour_of_day(hour, before.or(after))?;
    if minute_digits != 2 || minute > 59 || second_of.is_some_and(|second| second > 59) {
        return None;
    }
    let dialect = Dialect {
        brackets,
        separators: [first, second],
        between: between.trim().to_owned(),
        colon,
        seconds: second_of.is_some(),
        half: match (before, after) {
            (Some(_), _) => Where::Before,
            (None, Some(_)) => Where::After,
            (None, None) => Where::Nowhere,
        },
        year_at,
        end,
    };
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second_of.unwrap_or(0));
    let (numbers, len) = ([one, two, three], cursor.at);
    let time_ms = seconds * 1_000;
    Some(Begins::Header(Box::new(Header { dialect, numbers, time_ms, len, date: (from, to) })))
}

/// What ends the header, and the word before it.
fn ending(cursor: &mut Cursor<'_>, brackets: bool) -> Option<(End, String)> {
    let mut word = String::new();
    loop {
        if word.chars().count() > HALF_CHARS_MAX {
            return None;
        }
        match cursor.next()? {
            ']' if brackets => {
                cursor.eat(' ');
                return Some((End::Bracket, word.trim().to_owned()));
            }
            '-' | '\u{2013}' if !brackets && word.ends_with(' ') && cursor.peek().is_none_or(|c| c == ' ') => {
                cursor.eat(' ');
                return Some((End::Dash, word.trim().to_owned()));
            }
            ',' if !brackets && word.is_empty() && cursor.peek() == Some(' ') => {
                cursor.eat(' ');
                return Some((End::Comma, word));
            }
            c => word.push(c),
        }
    }
}

fn hour_of_day(hour: u32, half: Option<Half>) -> Option<u32> {
    match (half, hour) {
        (None, 0..=23) => Some(hour),
        (Some(Half::Morning), 0..=11) => Some(hour),
        (Some(Half::Morning), 12) => Some(0),
        (Some(Half::Evening), 0..=11) => Some(hour + 12),
        // Some locales name the half and count to 24 all the same.
        (Some(Half::Evening), 12..=23) => Some(hour),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(line: &str) -> Header {
        match begins(line) {
            Begins::Header(header) => *header,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn headers_of_many_places_are_read() {
        for (line, numbers, clock, rest) in [
            ("[12.03.21, 14:05:33] Ana: x", [12, 3, 21], "14:05:33", "Ana: x"),
            ("\u{200e}[12.03.21, 14:05:33] Ana: x", [12, 3, 21], "14:05:33", "Ana: x"),
            ("[3/12/21, 2:05:33\u{202f}PM] Ana: x", [3, 12, 21], "14:05:33", "Ana: x"),
            ("[12/3/2021, 12:05:33 a. m.] Ana: x", [12, 3, 2021], "00:05:33", "Ana: x"),
            ("[2021-03-12, 14:05:33] Ana: x", [2021, 3, 12], "14:05:33", "Ana: x"),
            ("[2021/3/12 \u{4e0b}\u{5348}2:05:33] Ana: x", [2021, 3, 12], "14:05:33", "Ana: x"),
            ("[2021. 3. 12. \u{c624}\u{d6c4} 2:05:33] Ana: x", [2021, 3, 12], "14:05:33", "Ana: x"),
            ("[12.3.2021 klo 14.05.33] Ana: x", [12, 3, 2021], "14:05:33", "Ana: x"),
            (
                "[\u{661}\u{662}\u{200f}/\u{663}\u{200f}/\u{662}\u{660}\u{662}\u{661}, \u{662}:\u{660}\u{665}:\u{663}\u{663} \u{645}] Ana: x",
                [12, 3, 2021],
                "14:05:33",
                "Ana: x",
            ),
            ("12/03/2021, 14:05 - Ana: x", [12, 3, 2021], "14:05:00", "Ana: x"),
            ("3/12/21, 2:05 PM - Ana: x", [3, 12, 21], "14:05:00", "Ana: x"),
            ("12/3/21 2:05 p.\u{a0}m. - Ana: x", [12, 3, 21], "14:05:00", "Ana: x"),
            ("12.03.21, 14:05 - Ana: x", [12, 3, 21], "14:05:00", "Ana: x"),
            ("12.03.21 \u{433}., 14:05 - Ana: x", [12, 3, 21], "14:05:00", "Ana: x"),
            ("12/03/2021 \u{e0} 14:05 - Ana: x", [12, 3, 2021], "14:05:00", "Ana: x"),
            ("12-03-2021 14:05 - Ana: x", [12, 3, 2021], "14:05:00", "Ana: x"),
            ("2021. 03. 12. 14:05 - Ana: x", [2021, 3, 12], "14:05:00", "Ana: x"),
            ("2021/03/12 14:05 - Ana: x", [2021, 3, 12], "14:05:00", "Ana: x"),
            ("2021\u{b144} 3\u{c6d4} 12\u{c77c} \u{c624}\u{d6c4} 2:05, Ana : x", [2021, 3, 12], "14:05:00", "Ana : x"),
            ("2021\u{5e74}3\u{6708}12\u{65e5} 14:05 - Ana: x", [2021, 3, 12], "14:05:00", "Ana: x"),
            ("12/3/2564 14:05 - Ana: x", [12, 3, 2564], "14:05:00", "Ana: x"),
        ] {
            let found = header(line);
            let seconds = found.time_ms / 1_000;
            let shown = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
            assert_eq!((found.numbers, shown.as_str()), (numbers, clock), "{line}");
            assert_eq!(&line[found.len..], rest, "{line}");
        }
    }

    #[test]
    fn texts_are_no_headers() {
        for line in [
            "",
            "hello",
            "12.03.21",
            "12.03.21, 14:05",
            "[12.03.21, 14:05:33",
            "12/03/2021, 14:65 - x",
            "[12.03.21, 14:05:60] x",
            "12/03/2021, 25:05 - x",
            "12/03/2021, 13:05 AM - x",
            "120/03/2021, 14:05 - x",
            "2021/03/2021, 14:05 - x",
            "1 2 3 4:05 - x",
            "12345/1/1, 14:05 - x",
        ] {
            assert_eq!(begins(line), Begins::Text, "{line}");
        }
        assert_eq!(begins("12/03/2021, 2:05 xyz - Ana: x"), Begins::UnknownHalf("xyz".into()));
    }

    #[test]
    fn another_dialect_is_another() {
        let of = |line: &str| header(line).dialect;
        assert_eq!(of("[12.03.21, 14:05:33] A: x"), of("[1.3.21, 4:05:33] B: y"));
        for other in ["[12.03.2021, 14:05:33] A: x", "[12/03/21, 14:05:33] A: x", "[12.03.21, 14:05] A: x"] {
            assert_ne!(of("[12.03.21, 14:05:33] A: x"), of(other));
        }
        assert_ne!(of("3/12/21, 2:05 PM - A: x"), of("3/12/21, 2:05 - A: x"));
    }
}
