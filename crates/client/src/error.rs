//! The one error of the facade: a stable code, what happened and whose fault it is, and what to do next.
//!
//! Inner errors keep their own types; they become this at the rim, once.

use std::fmt;
use tombolo_oplog::LogError;
use tombolo_proto::Fault;
use tombolo_replica::WriteError;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: &'static str,
    message: String,
    hint: String,
}

impl Error {
    /// Joins the three parts. `message` is a sentence without final stop; `hint` says what to do next, may be empty.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }

    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What happened and whose fault it is.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next; may be empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The owner thread is gone: it stopped after a failure of the store.
    pub(crate) fn stopped() -> Self {
        Self::new("stopped", "the store has stopped after an earlier failure", "start the program again")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl std::error::Error for Error {}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        let hint = match &error {
            LogError::DiskFull => "nothing was lost: free some space and repeat the command",
            LogError::ReadOnly => "make the home folder writable, or choose another with --home",
            LogError::Damaged(_) => "run `tombolo doctor`, then `tombolo doctor --repair` to fetch what is damaged",
            LogError::Newer { .. } => "update this program; the store was left as it is",
            LogError::Busy => "close the other program that uses this home, or wait a moment",
            _ => "",
        };
        Self::new(error.code(), error.to_string(), hint)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Log(error) => error.into(),
            WriteError::Seal(_) => Self::new("seal", error.to_string(), "run `tombolo doctor`"),
            WriteError::TooLarge(_) => Self::new("too-large", error.to_string(), ""),
            WriteError::Refused(_) => Self::new("refused", error.to_string(), "run `tombolo doctor`"),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let hint = match &fault {
            Fault::NoCommonVersion { .. } => "update the older side",
            Fault::Unauthenticated => "check the address",
            Fault::WrongReplica { .. } => {
                "if the relay was replaced on purpose, run `tombolo sync --relay URL --trust`"
            }
            Fault::Silent(_) | Fault::OpeningTimeout => "what was exchanged is safe; try again",
            _ => "",
        };
        Self::new(fault.code(), fault.to_string(), hint)
    }
}

impl From<tombolo_model::Malformed> for Error {
    fn from(error: tombolo_model::Malformed) -> Self {
        Self::new("too-large", error.to_string(), "shorten it")
    }
}

impl From<tombolo_oplog::rusqlite::Error> for Error {
    fn from(error: tombolo_oplog::rusqlite::Error) -> Self {
        LogError::from(error).into()
    }
}
