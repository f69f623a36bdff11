//! Commands about messages and about how conversations are kept.

use crate::span::{self, Span};
use clap::Subcommand;

/// What people do with messages and conversations.
#[derive(Debug, Subcommand)]
pub(crate) enum Talk {
    /// Show one message, with everything beside it
    Show {
        /// Its id, or as much of it as tells it apart (`tombolo messages --ids`)
        message: String,
        /// With so many before and behind it
        #[arg(long, value_name = "N", default_value_t = 0)]
        around: u32,
    },
    /// Change the text of a message; the versions before stay in its history
    Edit {
        /// The message
        message: String,
        /// The new text
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// The versions of a message's text
    History {
        /// The message
        message: String,
    },
    /// Delete a message for everyone
    Delete {
        /// The message
        message: String,
        /// Only on your own devices; nobody else is told
        #[arg(long)]
        for_me: bool,
    },
    /// Take a deletion back (for everyone: within 30 seconds, on this device)
    Undo {
        /// The message
        message: String,
    },
    /// React to a message
    React {
        /// The message
        message: String,
        /// One sign
        emoji: String,
        /// Take it back
        #[arg(long)]
        remove: bool,
    },
    /// A message and the answers below it
    Thread {
        /// The message
        message: String,
    },
    /// Messages that call upon you
    Mentions {
        /// Only in this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
    },
    /// Pin a message for everybody
    Pin {
        /// The message
        message: String,
        /// Take the pin away
        #[arg(long)]
        remove: bool,
    },
    /// Pinned messages
    Pins {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
    },
    /// What two people said of one thing without knowing of each other
    Conflicts {
        /// Only in this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
    },
    /// Give a conversation another title
    Rename {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The title
        title: String,
    },
    /// Show or change what a conversation is about
    Topic {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The new topic; an empty one removes it
        text: Option<String>,
    },
    /// Notes that everybody in a conversation may change
    Notes {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Only this note
        name: Option<String>,
        /// What it says from now on; empty removes it
        text: Option<String>,
    },
    /// Show or change what you are writing for a conversation, the same on all your devices
    Draft {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The new draft; empty = none
        text: Option<String>,
    },
    /// Let new messages disappear everywhere after a time
    Timer {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Such as 90m, 12h, 7d, 4w, or `off`
        #[arg(value_name = "TIME")]
        after: Option<String>,
    },
    /// Make a conversation mute
    Mute {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// For how long, such as 8h [default: until you end it]
        #[arg(long, value_name = "TIME", value_parser = span::parse)]
        span: Option<Span>,
        /// End it
        #[arg(long, conflicts_with = "span")]
        off: bool,
    },
    /// Put a conversation into the archive
    Archive {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Take it out
        #[arg(long)]
        off: bool,
    },
    /// Let a conversation stand on top
    Favourite {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Let it stand where it belongs
        #[arg(long)]
        off: bool,
    },
    /// Put a conversation into a folder
    Folder {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The folder; without one it is taken out
        folder: Option<String>,
    },
    /// Block somebody on all your devices: what they write is neither shown nor counted
    Block {
        /// Their account, or the name that they have in a conversation of yours; without one: who is blocked
        who: Option<String>,
        /// End it
        #[arg(long, requires = "who")]
        off: bool,
    },
    /// What no other replica holds yet, and why
    Outbox {
        /// Only in this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
    },
    /// Withdraw a message that has not left this device
    Cancel {
        /// The message
        message: String,
    },
}
