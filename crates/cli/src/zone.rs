//! How far local time is ahead of UTC at a given moment.
//!
//! Reads what the system says: the variable `TZ`, else `/etc/localtime` (the TZif format of RFC 9636: transitions, and
//! behind them a rule as in POSIX). What cannot be read counts as UTC: a wrong clock face is no reason to fail.
//! Not here: dates (`calendar.rs`).

use crate::calendar::{is_leap, month_len, weekday, year_start};
use std::path::Path;

/// Local time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Offset before the first transition, **seconds** ahead of UTC.
    first_s: i32,
    /// Moments (Unix seconds) from which an offset (seconds ahead of UTC) holds, ascending.
    transitions: Vec<(i64, i32)>,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

/// A rule that repeats every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    standard_s: i32,
    summer: Option<Summer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    offset_s: i32,
    start: Turn,
    end: Turn,
}

/// A day of the year, and a time on it in **seconds** of the local time that holds until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    day: Day,
    time_s: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// 1 to 365; 29 February is never counted.
    Julian(u32),
    /// 0 to 365.
    OfYear(u32),
    /// Month, week (5 = last), day of the week.
    Weekday(u32, u32, u32),
}

/// Where zones lie by name.
const FOLDER: &str = "/usr/share/zoneinfo";
/// Larger files are no zones.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Zone {
    /// The zone that this process lives in.
    pub(crate) fn local() -> Self {
        let chosen = std::env::var("TZ").ok();
        let found = match chosen.as_deref() {
            None => read(Path::new("/etc/localtime")),
            Some("") => None,
            Some(text) => {
                let name = text.trim_start_matches(':');
                // A name never leaves the folder; an absolute path is allowed, as in the C library.
                let file = Path::new(FOLDER).join(name);
                if name.split('/').any(|part| part == "..") { None } else { read(&file) }
                    .or_else(|| rule(name).map(|rule| Self { rule: Some(rule), ..Self::default() }))
            }
        };
        found.unwrap_or_default()
    }

    /// **Seconds** ahead of UTC at a moment (milliseconds since 1970).
    pub(crate) fn offset_s(&self, unix_ms: u64) -> i32 {
        let at_s = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
        let passed = self.transitions.partition_point(|(from, _)| *from <= at_s);
        match (self.rule, passed.checked_sub(1).and_then(|last| self.transitions.get(last))) {
            (Some(rule), _) if passed == self.transitions.len() => rule.offset_s(at_s),
            (_, Some((_, offset))) => *offset,
            (_, None) => self.first_s,
        }
    }
}

fn read(path: &Path) -> Option<Zone> {
    let len = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if len > FILE_BYTES_MAX { None } else { tzif(&std::fs::read(path).ok()?) }
}

/// Counts of a TZif header, in the order of the file.
struct Counts {
    version: u8,
    utc: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

fn header(bytes: &[u8]) -> Option<Counts> {
    if bytes.get(..4)? != b"TZif" {
        return None;
    }
    let count = |at: usize| number(bytes, 20 + 4 * at, 4).map(|count| count as usize);
    Some(Counts {
        version: *bytes.get(4)?,
        utc: count(0)?,
        standard: count(1)?,
        leaps: count(2)?,
        times: count(3)?,
        types: count(4)?,
        chars: count(5)?,
    })
}

/// A signed big-endian number.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<i64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let negative = bytes.first()? & 0x80 != 0;
    Some(bytes.iter().fold(if negative { -1 } else { 0 }, |number, byte| number << 8 | i64::from(*byte)))
}

fn tzif(bytes: &[u8]) -> Option<Zone> {
    let counts = header(bytes)?;
    let size = |counts: &Counts, time: usize| {
        let rest = counts.types * 6 + counts.chars + counts.leaps * (time + 4) + counts.standard + counts.utc;
        44 + counts.times * (time + 1) + rest
    };
    if counts.version == 0 {
        block(bytes, &counts, 4)
    } else {
        // The first block is for old readers; the second has times of 64 bits and the rule behind it.
        let bytes = bytes.get(size(&counts, 4)..)?;
        let counts = header(bytes)?;
        let mut zone = block(bytes, &counts, 8)?;
        let footer = std::str::from_utf8(bytes.get(size(&counts, 8)..)?).ok()?;
        zone.rule = footer.strip_prefix('\n').and_then(|text| text.split('\n').next()).and_then(rule);
        Some(zone)
    }
}

fn block(bytes: &[u8], counts: &Counts, time: usize) -> Option<Zone> {
    let indexes = 44 + counts.times * time;
    let types = indexes + counts.times;
    let offset = |index: usize| number(bytes, types + 6 * index, 4).map(|offset| offset as i32);
    let mut transitions = Vec::with_capacity(counts.times.min(FILE_BYTES_MAX as usize));
    for at in 0..counts.times {
        let index = usize::from(*bytes.get(indexes + at)?);
        transitions.push((number(bytes, 44 + at * time, time)?, offset(index)?));
    }
    Some(Zone { first_s: offset(0)?, transitions, rule: None })
}

/// Reads a rule as in POSIX: `CET-1CEST,M3.5.0,M10.5.0/3`.
fn rule(text: &str) -> Option<Rule> {
    let mut rest = text;
    name(&mut rest)?;
    let standard_s = -time(&mut rest)?;
    if rest.is_empty() {
        return Some(Rule { standard_s, summer: None });
    }
    name(&mut rest)?;
    let offset_s = if rest.starts_with(',') { standard_s + 3_600 } else { -time(&mut rest)? };
    let start = turn(&mut rest)?;
    let end = turn(&mut rest)?;
    rest.is_empty().then_some(Rule { standard_s, summer: Some(Summer { offset_s, start, end }) })
}

fn name(rest: &mut &str) -> Option<()> {
    let len = match rest.strip_prefix('<') {
        Some(quoted) => quoted.find('>')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()),
    };
    *rest = rest.get(len..)?;
    (len >= 3).then_some(())
}

fn digits(rest: &mut &str) -> Option<u32> {
    let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(len);
    *rest = after;
    number.parse().ok().filter(|number| *number < 1_000)
}

fn skip(rest: &mut &str, mark: char) -> bool {
    let after = rest.strip_prefix(mark);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

/// `[+-]h[:m[:s]]` in seconds.
fn time(rest: &mut &str) -> Option<i32> {
    let sign = if skip(rest, '-') { -1 } else { 1 };
    skip(rest, '+');
    let mut seconds = digits(rest)? * 3_600;
    for unit in [60, 1] {
        if skip(rest, ':') {
            seconds += digits(rest)? * unit;
        }
    }
    Some(sign * seconds as i32)
}

fn turn(rest: &mut &str) -> Option<Turn> {
    if !skip(rest, ',') {
        return None;
    }
    let day = if skip(rest, 'M') {
        let month = digits(rest)?;
        let week = skip(rest, '.').then(|| digits(rest))??;
        let day = skip(rest, '.').then(|| digits(rest))??;
        if !(1..=12).contains(&month) || !(1..=5).contains(&week) || day > 6 {
            return None;
        }
        Day::Weekday(month, week, day)
    } else if skip(rest, 'J') {
        Day::Julian(digits(rest).filter(|day| (1..=365).contains(day))?)
    } else {
        Day::OfYear(digits(rest).filter(|day| *day <= 365)?)
    };
    let time_s = if skip(rest, '/') { time(rest)? } else { 2 * 3_600 };
    Some(Turn { day, time_s })
}

impl Turn {
    /// Unix seconds of the turn in a year, when local time is `offset_s` ahead of UTC until then.
    fn at(self, year: i64, offset_s: i32) -> i64 {
        let start = year_start(year);
        let day = match self.day {
            Day::Julian(day) => {
                let behind_february = is_leap(year) && day >= 60;
                start + i64::from(day) - 1 + i64::from(behind_february)
            }
            Day::OfYear(day) => start + i64::from(day),
            Day::Weekday(month, week, wanted) => {
                let first: i64 = start + (1..month).map(|month| i64::from(month_len(year, month))).sum::<i64>();
                let ahead = (wanted + 7 - weekday(first)) % 7;
                let mut of_month = ahead + 7 * (week - 1);
                while of_month >= month_len(year, month) {
                    of_month -= 7;
                }
                first + i64::from(of_month)
            }
        };
        day * 86_400 + i64::from(self.time_s) - i64::from(offset_s)
    }
}

impl Rule {
    fn offset_s(self, at_s: i64) -> i32 {
        let Some(summer) = self.summer else { return self.standard_s };
        let local_days = at_s.saturating_add(i64::from(self.standard_s)).div_euclid(86_400);
        let (year, ..) = crate::calendar::date(local_days);
        let start = summer.start.at(year, self.standard_s);
        let end = summer.end.at(year, summer.offset_s);
        // South of the equator summer spans the turn of the year.
        let is_summer = if start < end { start <= at_s && at_s < end } else { at_s < end || start <= at_s };
        if is_summer { summer.offset_s } else { self.standard_s }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Zone {
        Zone { rule: Some(rule(text).unwrap()), ..Zone::default() }
    }

    /// Milliseconds since 1970 of a moment in 2026, in UTC.
    fn utc(month: u32, day: i64, hour: i64) -> u64 {
        let days: i64 = (1..month).map(|month| i64::from(month_len(2026, month))).sum();
        ((year_start(2026) + days + day - 1) * 86_400 + hour * 3_600) as u64 * 1_000
    }

    #[test]
    fn rules_turn_when_they_say() {
        let paris = of("CET-1CEST,M3.5.0,M10.5.0/3");
        // 29 March and 25 October 2026, each at 01:00 UTC.
        assert_eq!(paris.offset_s(utc(3, 29, 1) - 1), 3_600);
        assert_eq!(paris.offset_s(utc(3, 29, 1)), 7_200);
        assert_eq!(paris.offset_s(utc(10, 25, 1) - 1), 7_200);
        assert_eq!(paris.offset_s(utc(10, 25, 1)), 3_600);

        let sydney = of("AEST-10AEDT,M10.1.0,M4.1.0/3");
        assert_eq!(sydney.offset_s(utc(1, 15, 0)), 39_600);
        assert_eq!(sydney.offset_s(utc(7, 15, 0)), 36_000);
        assert_eq!(sydney.offset_s(utc(12, 31, 23)), 39_600);

        assert_eq!(of("<+0530>-5:30").offset_s(0), 19_800);
        assert_eq!(of("EST5").offset_s(utc(7, 1, 0)), -18_000);
        let julian = of("AAA0BBB,J60,J300");
        assert_eq!(julian.offset_s(utc(3, 1, 2) - 1), 0);
        assert_eq!(julian.offset_s(utc(3, 1, 2)), 3_600);
    }

    #[test]
    fn nonsense_is_no_rule() {
        for text in
            ["", "UTC", "1", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M1.1.1", "CET-1x", "A<B>3", "<3"]
        {
            assert_eq!(rule(text), None, "{text}");
        }
    }

    /// A file with one transition, in the second version of the format.
    fn file(transition_s: i64, footer: &str) -> Vec<u8> {
        let header = |times: u32, types: u32, chars: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            for count in [0, 0, 0, times, types, chars] {
                bytes.extend(count.to_be_bytes());
            }
            bytes
        };
        let mut bytes = header(0, 1, 1);
        bytes.extend([0; 7]);
        bytes.extend(header(1, 2, 4));
        bytes.extend(transition_s.to_be_bytes());
        bytes.push(1);
        bytes.extend(600i32.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend((-600i32).to_be_bytes());
        bytes.extend([1, 0]);
        bytes.extend(b"LMT\0");
        bytes.extend(format!("\n{footer}\n").bytes());
        bytes
    }

    #[test]
    fn files_are_read() {
        let zone = tzif(&file(1_000, "")).unwrap();
        assert_eq!(zone.offset_s(999_999), 600);
        assert_eq!(zone.offset_s(1_000_000), -600);
        // The rule holds behind the last transition.
        let zone = tzif(&file(1_000, "EST5")).unwrap();
        assert_eq!(zone.offset_s(999_999), 600);
        assert_eq!(zone.offset_s(1_000_000), -18_000);
    }

    #[test]
    fn damaged_files_are_no_zones() {
        let whole = file(1_000, "EST5");
        for len in 0..whole.len() - 6 {
            assert_eq!(tzif(&whole[..len]), None, "{len}");
        }
        let mut vast = whole;
        vast[32..36].copy_from_slice(&[0x7f; 4]);
        assert_eq!(tzif(&vast), None);
    }
}
