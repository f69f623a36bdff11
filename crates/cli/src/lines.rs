//! Reading what `import` takes: JSON Lines `{t, who, text}`.
//!
//! `t` is seconds since 1970, whole or with a fraction. Objects without a text (somebody came or went) are no messages:
//! they are skipped and counted. Everything else that is not as it should be names its line, before anything is imported.

use crate::door::Line;
use crate::failure::Failure;
use serde::Deserialize;
use std::io::BufRead;

#[derive(Deserialize)]
struct Given {
    t: Option<f64>,
    who: Option<String>,
    text: Option<String>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    /// Messages, in the order of the file.
    pub(crate) lines: Vec<Line>,
    /// Objects that are no messages.
    pub(crate) skipped: u64,
}

/// Greatest `t`, in **seconds**: the year 5138.
const T_MAX: f64 = 1e11;

/// Reads a whole file.
///
/// # Errors
/// [`Failure`] naming the first line that is not as it should be; of the file.
pub(crate) fn read(source: impl BufRead) -> Result<Read, Failure> {
    let mut found = Read::default();
    for (at, line) in source.lines().enumerate() {
        let wrong = |what: String| {
            let hint = "each line must be an object such as {\"t\": 1464777854, \"who\": \"Ana\", \"text\": \"Hello\"}";
            Failure::new("file", format!("line {}: {what}; nothing was imported", at + 1), hint)
        };
        let line = line.map_err(|error| wrong(format!("it cannot be read ({error})")))?;
        if line.trim().is_empty() {
            continue;
        }
        let given: Given = serde_json::from_str(&line).map_err(|error| wrong(format!("{error}")))?;
        let Some(text) = given.text else {
            found.skipped += 1;
            continue;
        };
        let t = given.t.ok_or_else(|| wrong("there is no time `t`".into()))?;
        let who = given.who.ok_or_else(|| wrong("there is no `who`".into()))?;
        if !(0.0..=T_MAX).contains(&t) {
            return Err(wrong(format!("`t` is {t}; seconds since 1970 are expected")));
        }
        found.lines.push(Line { time_ms: (t * 1_000.0).round() as u64, who, text });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rows::Exported;

    #[test]
    fn lines_are_read() {
        let text = "{\"t\":5,\"who\":\"a\",\"text\":\"x\"}\n\n{\"t\":6.25,\"who\":\"b\",\"text\":\"\",\"kind\":\"message\"}\n\
                    {\"t\":7,\"kind\":\"leave\",\"who\":\"a\"}\n";
        let found = read(text.as_bytes()).unwrap();
        let line = |time_ms, who: &str, text: &str| Line { time_ms, who: who.into(), text: text.into() };
        assert_eq!(found, Read { lines: vec![line(5_000, "a", "x"), line(6_250, "b", "")], skipped: 1 });
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, says) in [
            ("{\"t\":5,\"who\":\"a\",\"text\":\"x\"}\nnonsense", "line 2"),
            ("{\"who\":\"a\",\"text\":\"x\"}", "line 1: there is no time"),
            ("{\"t\":5,\"text\":\"x\"}", "no `who`"),
            ("{\"t\":-5,\"who\":\"a\",\"text\":\"x\"}", "seconds since 1970"),
            ("{\"t\":1e300,\"who\":\"a\",\"text\":\"x\"}", "seconds since 1970"),
            ("{\"t\":\"5\",\"who\":\"a\",\"text\":\"x\"}", "line 1"),
            ("[1]", "line 1"),
        ] {
            let words = read(text.as_bytes()).unwrap_err().words(false).unwrap();
            assert!(words.contains(says) && words.contains("nothing was imported"), "{words}");
        }
        assert!(read(&b"\xff\xff\n"[..]).is_err());
    }

    #[test]
    fn what_is_exported_is_imported_the_same() {
        for time_ms in [0, 1, 999, 1_000, 1_464_746_763_000, 1_464_746_763_123, 99_999_999_999_999] {
            let line = Line { time_ms, who: "Ana".into(), text: "a \"quoted\"\nline".into() };
            let text = serde_json::to_string(&Exported::from(&line)).unwrap();
            assert_eq!(read(text.as_bytes()).unwrap().lines, [line], "{text}");
        }
        let whole = Line { time_ms: 5_000, who: "a".into(), text: "x".into() };
        assert_eq!(serde_json::to_string(&Exported::from(&whole)).unwrap(), r#"{"t":5,"who":"a","text":"x"}"#);
    }
}
