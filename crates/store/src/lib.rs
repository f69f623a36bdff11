//! What people see, computed from the log: messages in display order, titles, names, what was seen, what came late.
//!
//! Responsible for: the tables of the views (same file, same transaction as the log), folding ops into them ([`Views`]),
//! reading them in windows ([`page`] and its neighbours), checking and rebuilding them, and turning windows into
//! timeline items with keyed diffs ([`timeline`]).
//! Not responsible for: ops and their order (`oplog`), opening bodies (an [`Opener`] is given in), talking to anybody.
//! Time is an argument.
//!
//! Every rule of the fold gives the same rows whatever the order in which ops came (tests shuffle them), with one
//! exception on purpose: whether a message was *late* depends on what had been seen when it came. Late marks and the
//! seen frontier are therefore kept by a rebuild.
//!
//! Read in this order: `schema.rs` (the tables), `place.rs` (display order), `views.rs` (the fold), `read.rs`, `reading.rs` (what
//! was read), `check.rs` (rebuild and compare), `timeline.rs`.

mod beside;
mod check;
mod facets;
mod gone;
#[cfg(test)]
mod laws;
mod look;
mod place;
mod read;
mod reading;
mod register;
mod schema;
pub mod search;
pub mod text;
pub mod timeline;
mod views;

pub use check::{Mismatch, compare, rebuild};
pub use facets::{Deleted, Facets, Reacted, Version};
pub use gone::{Usage, prune, usage};
pub use look::{Disputed, Look, SharedText, founder, message_at, note_names, shared_text};
pub use place::{InvalidPlace, Place, Section};
pub use read::{Late, Message, MessageKind, Names, Person, count, names, page, page_after, seen, title, unread};
pub use reading::{
    Me, OwnReading, is_told, mark, mark_unread, of_speakers, print, set_told, unread_mentions, unread_of,
};
pub use register::{Given, Register, Tagged, register, registers, tagged};
pub use schema::COMPONENT;
pub use views::{Opener, Views, mark_seen};
