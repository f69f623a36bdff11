//! How a command fails: with a code, what happened, and what to do.

use crate::text::one_line;
use serde::Serialize;

/// Why a command did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something did not work.
    Failed {
        /// Stable, for scripts.
        code: String,
        /// What happened and whose fault it is.
        message: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// The command was not called as it may be.
    Usage(String),
    /// It was done and said all there was to say; what it found calls for exit code 1.
    Found,
    /// Nobody reads the output any more: `tombolo export C | head` has ended well.
    Closed,
}

#[derive(Serialize)]
struct Row<'a> {
    error: &'a str,
    message: &'a str,
    hint: &'a str,
}

impl Failure {
    pub(crate) fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { code: code.to_owned(), message: message.into(), hint: hint.into() }
    }

    /// 1 failed, 2 wrong usage.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } | Self::Found => 1,
            Self::Usage(_) => 2,
            Self::Closed => 0,
        }
    }

    /// What standard error says; `None` = nothing.
    pub(crate) fn words(&self, json: bool) -> Option<String> {
        let (code, message, hint) = match self {
            Self::Failed { code, message, hint } => (code.as_str(), message.as_str(), hint.as_str()),
            Self::Usage(message) => ("usage", message.as_str(), "`tombolo --help` says how"),
            Self::Found => return None,
            Self::Closed => return None,
        };
        if json {
            // Texts always have a JSON form.
            return serde_json::to_string(&Row { error: code, message, hint }).ok();
        }
        let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {}", one_line(hint)) };
        Some(format!("error: {}{hint}", one_line(message)))
    }
}

impl From<tombolo_client::Error> for Failure {
    fn from(error: tombolo_client::Error) -> Self {
        Self::new(error.code(), error.message(), error.hint())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::new("output", format!("the output cannot be written: {error}"), "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_speak_both_ways() {
        let failure = Failure::new("home", "there is no profile", "create one");
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(failure.words(false).as_deref(), Some("error: there is no profile\nhint: create one"));
        assert_eq!(
            failure.words(true).as_deref(),
            Some(r#"{"error":"home","message":"there is no profile","hint":"create one"}"#)
        );
        assert_eq!(Failure::new("x", "no", "").words(false).as_deref(), Some("error: no"));
        assert_eq!(Failure::Usage("what?".into()).exit_code(), 2);
        assert_eq!((Failure::Found.exit_code(), Failure::Found.words(false)), (1, None));
        assert_eq!((Failure::Closed.exit_code(), Failure::Closed.words(true)), (0, None));
    }

    #[test]
    fn what_a_peer_said_cannot_move_the_cursor() {
        let words = Failure::new("x", "it said \u{1b}[2J", "").words(false);
        assert_eq!(words.as_deref(), Some("error: it said <U+001B>[2J"));
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(closed), Failure::Closed);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Failure::from(full).exit_code(), 1);
    }
}
