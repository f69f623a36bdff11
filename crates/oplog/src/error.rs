//! What can go wrong in the log, told so that a person knows whose fault it is and what to do.
//!
//! Not here: why a single op was refused (`append.rs`, [`crate::Reason`]); a refused op is an answer, not an error.

use rusqlite::ErrorCode;
use tombolo_model::ConversationId;

/// Why the log could not do what was asked. After any of these inside a batch nothing of the batch is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// No room is left.
    #[error("the disk is full: nothing of this step was saved; free some space and try again")]
    DiskFull,
    /// The file or its folder may not be written.
    #[error("the store cannot be written (read-only file, folder or disk): allow writing or choose another home")]
    ReadOnly,
    /// The file cannot be opened at all.
    #[error("the store cannot be opened ({0}): check that its folder exists and that you may read and write it")]
    CannotOpen(String),
    /// The file's content is not what was written.
    #[error("the store is damaged ({0}): run doctor to see what is affected and to repair it from peers")]
    Damaged(String),
    /// The file is something else.
    #[error("this file is not a store of this program; it was left as it is: choose another path")]
    NotAStore,
    /// A later version of the program wrote the file; it was left untouched.
    #[error(
        "the store was written by a newer version (part `{component}` is at {found}, this version knows {known}); \
         it was left untouched: update the program"
    )]
    Newer {
        /// Which part of the file.
        component: String,
        /// Version found in the file.
        found: i64,
        /// Greatest version that this program knows; 0 = it does not know the part at all.
        known: i64,
    },
    /// Another process or connection is writing.
    #[error("another process is writing to the store: close it, or try again")]
    Busy,
    /// The disk answered with an error.
    #[error("the disk failed ({0}): nothing of this step was saved; check the disk, then open the store again")]
    Io(String),
    /// An earlier error left open what is on the disk.
    #[error("an earlier write failed and what is on the disk is uncertain: open the store again")]
    Poisoned,
    /// A step of this batch failed, so the batch cannot be kept.
    #[error("an earlier step of this batch failed: nothing of it was saved; begin a new batch")]
    Abandoned,
    /// SQLite did not accept a setting without which durability is not promised.
    #[error("this SQLite does not honour `{setting}` (it says `{found}`): the store was not opened")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What SQLite answered.
        found: String,
    },
    /// The caller named a conversation that is not here.
    #[error("conversation {0} is not in this store")]
    UnknownConversation(ConversationId),
    /// Anything else that SQLite says: a fault of this program.
    #[error("the store's database refused a step ({0}): this is a fault of the program, please report it")]
    Sql(rusqlite::Error),
}

impl LogError {
    /// A stable name for scripts and for the user interface.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk-full",
            Self::ReadOnly => "read-only",
            Self::CannotOpen(_) => "cannot-open",
            Self::Damaged(_) => "damaged",
            Self::NotAStore => "not-a-store",
            Self::Newer { .. } => "newer",
            Self::Busy => "busy",
            Self::Io(_) => "io",
            Self::Poisoned => "poisoned",
            Self::Abandoned => "abandoned",
            Self::Setting { .. } => "setting",
            Self::UnknownConversation(_) => "unknown-conversation",
            Self::Sql(_) => "sql",
        }
    }

    /// A row that is not as this program writes rows.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                let text = || message.clone().unwrap_or_else(|| failure.to_string());
                match failure.code {
                    ErrorCode::DiskFull => Self::DiskFull,
                    ErrorCode::ReadOnly => Self::ReadOnly,
                    ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::CannotOpen(text()),
                    ErrorCode::DatabaseCorrupt => Self::Damaged(text()),
                    ErrorCode::NotADatabase => Self::NotAStore,
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
                    ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed => Self::Io(text()),
                    _ => Self::Sql(error),
                }
            }
            // A column of another type or length than this program writes.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Damaged(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}
