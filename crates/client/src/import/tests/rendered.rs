//! Whatever is rendered in a dialect parses back.

use super::{NOW_MS, lines, read_at};
use crate::import::DateOrder;
use proptest::prelude::*;
use std::fmt::Write as _;

/// How an export is written.
#[derive(Clone, Debug)]
struct Style {
    brackets: bool,
    order: DateOrder,
    separator: &'static str,
    long_year: bool,
    padded: bool,
    /// Between date and time.
    between: &'static str,
    colon: char,
    seconds: bool,
    /// Words for the halves of the day, and whether they stand before the time.
    halves: Option<(&'static str, &'static str, bool)>,
    zero: char,
    /// Marks of direction sprinkled over headers, and lines that end as on iOS.
    marks: bool,
    returns: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let orders = prop::sample::select(vec![DateOrder::Dmy, DateOrder::Mdy, DateOrder::Ymd]);
    let separators = prop::sample::select(vec![".", "/", "-", ". "]);
    let betweens = prop::sample::select(vec![", ", " ", ". ", ".", " klo ", " \u{433}., ", ",\u{a0}"]);
    let halves = prop::option::of(prop::sample::select(vec![
        ("AM", "PM", false),
        ("a.\u{a0}m.", "p.\u{a0}m.", false),
        ("\u{f6}\u{f6}", "\u{f6}s", false),
        ("\u{635}", "\u{645}", false),
        ("\u{4e0a}\u{5348}", "\u{4e0b}\u{5348}", true),
        ("\u{c624}\u{c804}", "\u{c624}\u{d6c4}", true),
    ]));
    let zeros = prop::sample::select(vec!['0', '0', '\u{660}', '\u{966}']);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let colons = prop::sample::select(vec![':', ':', '.']);
    (orders, separators, betweens, halves, zeros, flags, colons).prop_map(
        |(order, separator, between, halves, zero, (brackets, long_year, padded, seconds, marks, returns), colon)| {
            Style {
                brackets,
                order,
                separator,
                // See `Dialect::may_begin_with_short_year`.
                long_year: long_year || (order == DateOrder::Ymd && (separator == "/" || separator == ".")),
                padded,
                between: if between == "." { " " } else { between },
                colon,
                seconds,
                halves,
                zero,
                marks,
                returns,
            }
        },
    )
}

#[derive(Clone, Debug)]
struct Said {
    /// Seconds after the one before.
    later: u64,
    who: String,
    text: String,
}

fn said() -> impl Strategy<Value = Said> {
    let who = prop::sample::select(vec![
        "Ana",
        "Ben Smith",
        "+49 170 1234567",
        "\u{5d0}\u{5e0}\u{5d4}",
        "Zo\u{eb}: x",
        "O'Neil (work)",
    ]);
    let line = "[a-zA-Z0-9 .,:;<>()\\[\\]/\"'\u{e9}\u{4f60}\u{1f600}-]{0,30}";
    let text = prop::collection::vec(line, 1..4).prop_map(|lines| lines.join("\n"));
    (0..400_000u64, who, text).prop_map(|(later, who, text)| Said {
        later,
        who: who.replace(": ", " "),
        text: text.trim_end_matches('\n').to_owned(),
    })
}

fn number(value: u32, width: usize, zero: char) -> String {
    let text = format!("{value:0width$}");
    text.chars().map(|c| char::from_u32(u32::from(zero) + u32::from(c) - u32::from('0')).unwrap()).collect()
}

/// Year, month, day of a day since 1970, counted one by one: slow, and of another shape than what is tested.
fn date(days: u64) -> (u32, u32, u32) {
    let (mut year, mut left) = (1970, days);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lens = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, len) in (1..).zip(lens) {
            if left < len {
                return (year, month, u32::try_from(left).unwrap() + 1);
            }
            left -= len;
        }
        year += 1;
    }
}

fn header(style: &Style, at_s: u64) -> String {
    let (year, month, day) = date(at_s / 86_400);
    let of_day = u32::try_from(at_s % 86_400).unwrap();
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let width = if style.padded { 2 } else { 1 };
    let digits = |value, width| number(value, width, style.zero);
    let year = if style.long_year { digits(year, 4) } else { digits(year % 100, 2) };
    let (month, day) = (digits(month, width), digits(day, width));
    let parts = match style.order {
        DateOrder::Dmy => [day, month, year],
        DateOrder::Mdy => [month, day, year],
        DateOrder::Ymd => [year, month, day],
    };
    let mark = if style.marks { "\u{200f}" } else { "" };
    let date = parts.join(&format!("{mark}{}", style.separator));
    let shown = if style.halves.is_some() { (hour + 11) % 12 + 1 } else { hour };
    let mut time = format!("{}{}{}", digits(shown, width), style.colon, digits(minute, 2));
    if style.seconds {
        let _ = write!(time, "{}{}", style.colon, digits(second, 2));
    }
    if let Some((morning, evening, before)) = style.halves {
        let word = if hour < 12 { morning } else { evening };
        time = if before { format!("{word} {time}") } else { format!("{time}\u{202f}{word}") };
    }
    let mark = if style.marks { "\u{200e}" } else { "" };
    if style.brackets {
        format!("{mark}[{date}{}{time}] ", style.between)
    } else {
        format!("{mark}{date}{}{time} - ", style.between)
    }
}

fn render(style: &Style, said: &[Said], start_s: u64) -> (String, Vec<(u64, String, String)>) {
    let (mut text, mut expected) = (String::new(), Vec::new());
    let mut at_s = start_s;
    for one in said {
        at_s += one.later;
        let end = if style.returns { "\r\n" } else { "\n" };
        let _ = write!(text, "{}{}: {}{end}", header(style, at_s), one.who, one.text);
        let shown_s = if style.seconds { at_s } else { at_s - at_s % 60 };
        expected.push((shown_s, one.who.clone(), one.text.clone()));
    }
    (text, expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rendered_parses_back(
        style in style(), said in prop::collection::vec(said(), 1..20), start_s in 1_300_000_000..1_750_000_000u64, offset_s in -43_200..50_400i32,
    ) {
        let (text, expected) = render(&style, &said, start_s);
        let export = read_at(text.as_bytes(), Some(style.order), 0).unwrap();
        prop_assert_eq!(lines(&export), expected.clone(), "{}", text);
        // In another zone everything is another moment and nothing else changes.
        let moved = read_at(text.as_bytes(), Some(style.order), offset_s).unwrap();
        let back: Vec<_> = lines(&moved).into_iter().map(|(s, who, text)| (s.checked_add_signed(offset_s.into()).unwrap(), who, text)).collect();
        prop_assert_eq!(back, expected.clone());
        prop_assert_eq!(keys(&export), keys(&moved), "keys do not depend on the zone");
        // Without being told the order it is found, or asked for, but never guessed wrong.
        match read_at(text.as_bytes(), None, 0) {
            Ok(found) => prop_assert_eq!(lines(&found), expected, "{}", text),
            Err(error) => {
                prop_assert_eq!(error.code(), "ambiguous-dates", "{}", text);
                prop_assert!(error.hint().contains(&format!("--dates {}", style.order)), "{error}");
            }
        }
    }

    /// A message on a day above the 12th of each month leaves nothing to ask, where years have four digits.
    #[test]
    fn one_clear_day_decides(mut style in style(), said in prop::collection::vec(said(), 1..6)) {
        style.long_year = true;
        // 2021-03-25.
        let (text, expected) = render(&style, &said, 1_616_630_400 - said[0].later);
        let found = read_at(text.as_bytes(), None, 0).unwrap();
        prop_assert_eq!(lines(&found), expected);
    }
}

fn keys(export: &crate::import::Export) -> Vec<[u8; 16]> {
    let (planned, too_long) = super::super::plan(&export.entries, export.format());
    assert_eq!(too_long, 0);
    planned.into_iter().map(|one| one.content.source_key).collect()
}

#[test]
fn the_generator_renders_what_phones_write() {
    let mut style = Style {
        brackets: true,
        order: DateOrder::Dmy,
        separator: ".",
        long_year: false,
        padded: true,
        between: ", ",
        colon: ':',
        seconds: true,
        halves: None,
        zero: '0',
        marks: false,
        returns: false,
    };
    assert_eq!(header(&style, 1_615_557_933), "[12.03.21, 14:05:33] ");
    style = Style { brackets: false, order: DateOrder::Mdy, separator: "/", padded: false, seconds: false, ..style };
    style.halves = Some(("AM", "PM", false));
    assert_eq!(header(&style, 1_615_557_933), "3/12/21, 2:05\u{202f}PM - ");
    assert!(date(NOW_MS / 86_400_000) == (2026, 11, 22));
}
