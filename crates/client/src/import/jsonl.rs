//! JSON Lines `{t, who, text}`: what `tombolo export` prints and other programs can easily write.
//!
//! `t` is seconds since 1970, whole or with a fraction. Objects without a text (somebody came or went, or the message was
//! deleted) are no messages: they are skipped and counted. Everything else that is not as it should be names its line, before anything is imported.

use super::limit::MESSAGES_MAX;
use crate::{Error, Line};
use serde::Deserialize;

#[derive(Deserialize)]
struct Given {
    t: Option<f64>,
    who: Option<String>,
    text: Option<String>,
    /// By whom it was deleted.
    deleted: Option<serde::de::IgnoredAny>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    /// Messages, in the order of the file.
    pub(super) lines: Vec<Line>,
    /// Objects that are no messages.
    pub(super) skipped: u64,
}

/// Greatest `t`, in **seconds**: the year 5138.
const T_MAX: f64 = 1e11;

/// Reads a whole file.
///
/// # Errors
/// `file`, naming the first line that is not as it should be; `too-large`.
pub(super) fn read(text: &str) -> Result<Read, Error> {
    let mut found = Read::default();
    for (at, line) in text.lines().enumerate() {
        let wrong = |what: String| {
            let hint = "each line must be an object such as {\"t\": 1464777854, \"who\": \"Ana\", \"text\": \"Hello\"}";
            Error::new("file", format!("line {}: {what}; nothing was imported", at + 1), hint)
        };
        if line.trim().is_empty() {
            continue;
        }
        let given: Given = serde_json::from_str(line).map_err(|error| wrong(format!("{error}")))?;
        let Some(text) = given.text.filter(|_| given.deleted.is_none()) else {
            found.skipped += 1;
            continue;
        };
        let t = given.t.ok_or_else(|| wrong("there is no time `t`".into()))?;
        let who = given.who.ok_or_else(|| wrong("there is no `who`".into()))?;
        if !(0.0..=T_MAX).contains(&t) {
            return Err(wrong(format!("`t` is {t}; seconds since 1970 are expected")));
        }
        if found.lines.len() == MESSAGES_MAX {
            let words = format!("a file may have {MESSAGES_MAX} messages, this one has more; nothing was imported");
            return Err(Error::new("too-large", words, "divide it"));
        }
        found.lines.push(Line { time_ms: (t * 1_000.0).round() as u64, who, text });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "{\"t\":5,\"who\":\"a\",\"text\":\"x\"}\n\n{\"t\":6.25,\"who\":\"b\",\"text\":\"\",\"kind\":\"message\"}\n\
                    {\"t\":7,\"kind\":\"leave\",\"who\":\"a\"}\n{\"t\":8,\"who\":\"a\",\"text\":\"\",\"deleted\":\"a\"}\n";
        let found = read(text).unwrap();
        let line = |time_ms, who: &str, text: &str| Line { time_ms, who: who.into(), text: text.into() };
        assert_eq!(found, Read { lines: vec![line(5_000, "a", "x"), line(6_250, "b", "")], skipped: 2 });
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
            let error = read(text).unwrap_err();
            let words = error.message();
            assert!(words.contains(says) && words.contains("nothing was imported"), "{words}");
        }
    }
}
