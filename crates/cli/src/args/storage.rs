//! Commands about what conversations take on this device.

use crate::span::{self, Span};
use clap::Subcommand;

/// What conversations take.
#[derive(Debug, Subcommand)]
pub(crate) enum Storage {
    /// Show what each conversation takes on this device
    Storage {
        /// Give free space back to the file system first; nothing else can run meanwhile
        #[arg(long)]
        pack: bool,
    },
    /// Let go of old messages on this device; others keep theirs
    Prune {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Messages older than this, such as 90d, 26w
        #[arg(long, value_name = "TIME", value_parser = span::parse, required_unless_present = "undo")]
        older_than: Option<Span>,
        /// Ask for them again: they come with the next sync from whoever still has them
        #[arg(long, conflicts_with = "older_than")]
        undo: bool,
    },
}
