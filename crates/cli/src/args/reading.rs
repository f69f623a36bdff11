//! Commands about what was read, and who is typing.

use clap::{Subcommand, ValueEnum};

/// What was read.
#[derive(Debug, Subcommand)]
pub(crate) enum Reading {
    /// Mark a conversation as read
    Read {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Only up to this message: its id, as printed
        #[arg(long, value_name = "MESSAGE")]
        up_to: Option<String>,
    },
    /// Mark a conversation unread from a message on; reading it again takes the mark away
    Unread {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The message
        message: String,
    },
    /// Who has received and read a message; or whether others are told what you read
    Receipts {
        /// Its id, or as much of it as tells it apart
        #[arg(required_unless_present = "tell")]
        message: Option<String>,
        /// Tell others what you have read, or do not; your own devices always agree
        #[arg(long, value_enum, conflicts_with = "message")]
        tell: Option<Tell>,
    },
    /// Say that you are typing, and show who else is; only while `watch` or `listen` runs with this home
    Typing {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
    },
}

/// Whether others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tell {
    /// They are
    Yes,
    /// They are not
    No,
}
