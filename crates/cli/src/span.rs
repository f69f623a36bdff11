//! Lengths of time as people write and read them: `7d` in, `3 h` out.

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// **Milliseconds.**
    pub(crate) ms: u64,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The longest span that can be asked for: a hundred years.
const SPAN_MAX: u64 = 36_525 * DAY;

/// Reads `90s`, `15m`, `12h`, `7d` or `2w`.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn parse(text: &str) -> Result<Span, String> {
    let expected = || "a number and a unit are needed, such as 90s, 15m, 12h, 7d or 2w".to_owned();
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "s" => SECOND,
        "m" | "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => WEEK,
        _ => return Err(expected()),
    };
    let ms = number.checked_mul(unit).filter(|ms| *ms <= SPAN_MAX).ok_or("that is longer than a hundred years")?;
    if ms == 0 { Err("it must be longer than nothing".to_owned()) } else { Ok(Span { ms }) }
}

/// Reads how far a clock is ahead of UTC, `+02:00`, `-0330`, `+2` or `Z`: **seconds**.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn offset(text: &str) -> Result<i32, String> {
    let expected = || "an offset such as +02:00 or -03:30 is needed, or Z".to_owned();
    let text = text.trim();
    if matches!(text, "Z" | "z" | "0") {
        return Ok(0);
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return Err(expected()),
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(parts), _) => parts,
        (None, 4) if digits.is_ascii() => digits.split_at(2),
        (None, 1 | 2) => (digits, "0"),
        _ => return Err(expected()),
    };
    let number = |text: &str, max: i32| {
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| digits && *number <= max).ok_or_else(expected)
    };
    Ok(sign * (number(hours, 14)? * 3_600 + number(minutes, 59)? * 60))
}

/// The greatest unit that fits, rounded down: `45 s`, `5 min`, `3 h`, `2 days`.
pub(crate) fn words(ms: u64) -> String {
    match ms {
        ms if ms >= 2 * DAY => format!("{} days", ms / DAY),
        ms if ms >= DAY => "1 day".to_owned(),
        ms if ms >= HOUR => format!("{} h", ms / HOUR),
        ms if ms >= MINUTE => format!("{} min", ms / MINUTE),
        ms => format!("{} s", ms / SECOND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(parse("90s"), Ok(Span { ms: 90_000 }));
        assert_eq!(parse("15m"), Ok(Span { ms: 900_000 }));
        assert_eq!(parse("12h"), Ok(Span { ms: 43_200_000 }));
        assert_eq!(parse(" 7d "), Ok(Span { ms: 604_800_000 }));
        assert_eq!(parse("2w"), Ok(Span { ms: 1_209_600_000 }));
        assert_eq!(parse("36525d").map(|span| span.ms), Ok(SPAN_MAX));
        for wrong in ["", "7", "d", "7 d", "7x", "-1d", "1.5h", "0d", "36526d", "99999999999999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_read() {
        for (text, offset_s) in
            [("+02:00", 7_200), ("-0330", -12_600), ("+2", 7_200), ("+05:45", 20_700), ("Z", 0), ("-00:30", -1_800)]
        {
            assert_eq!(offset(text), Ok(offset_s), "{text}");
        }
        for wrong in ["", "2", "+", "+15:00", "+2:60", "+2:0x", "noon", "+02:00:00", "+-2:00", "+123"] {
            assert!(offset(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_are_written_in_their_greatest_unit() {
        for (ms, text) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (HOUR - 1, "59 min"),
            (3 * HOUR + 5, "3 h"),
            (DAY, "1 day"),
            (2 * DAY - 1, "1 day"),
            (2 * DAY, "2 days"),
            (400 * DAY, "400 days"),
        ] {
            assert_eq!(words(ms), text);
        }
    }
}
