//! The log: ops in one SQLite file, for devices and relays alike.
//!
//! Responsible for: storing ops durably and answering everything that synchronising asks of them: sums of ranges,
//! proofs, heights, runs of logs, the order of arrival, who takes part, what waits for what. Views over the ops live in
//! the same file and are fed in the same transaction through [`Fold`].
//! Not responsible for: signatures and certificates (`identity` checks them before ops come here), reading bodies
//! (`seal`, `store`), wires (`proto`). Time and randomness are arguments.
//!
//! How it works, in four sentences. A [`Batch`] appends ops; everything in it becomes durable together. What is stored
//! is a *set* that does not depend on the order of arrival (quotas aside); whether an op is delivered, pending, early or
//! void is a state of the fold beside it. The digest tree over (clock, id) is kept up in the same transaction and never
//! rebuilt. After a failed commit nothing is trusted until the file is opened again.
//!
//! Read in this order: `schema.rs` (the tables), `append.rs` (the way of an op in), `deliver.rs` (causal delivery),
//! `gone.rs` and `wipe.rs` (bodies that go), `tree.rs` (sums), `pages.rs`, `ids.rs` and `newest.rs` (finding ops), `reads.rs`,
//! `arrivals.rs`, `roster.rs`, `registers.rs` (beside the log), `check.rs` (what doctor looks at).

mod append;
mod arrivals;
mod batch;
mod bodies;
mod cache;
mod check;
mod control;
mod deliver;
mod error;
mod extensions;
mod gone;
mod ids;
mod migrate;
mod newest;
mod open;
mod pages;
mod place;
mod proof;
mod reads;
mod registers;
mod repair;
mod roster;
mod row;
mod schema;
mod scrub;
mod through;
mod tree;
mod voucher;
mod wipe;

pub use append::{Appended, Incoming, Reason, Refusal, Stored};
pub use arrivals::{ArrivalQuery, Cursor, Peer, Proven, StoredSketch};
pub use batch::Batch;
pub use check::{Finding, Progress};
pub use deliver::{Delivered, Fold, NoFold, Opened, ReadBody};
pub use error::LogError;
pub use extensions::Extended;
pub use gone::{Gone, Lost, Pruned, arrival_of, erasers, gone_at, op_at};
pub use migrate::{Component, Step, migrate};
pub use open::{Log, Open, Reader};
pub use reads::{ConversationRow, Equivocation, Height, Named, Tail};
pub use registers::{Change, Taken};
pub use repair::Damaged;
pub use roster::{Invite, Member};
pub use row::State;
pub use rusqlite;
pub use tree::LEAF_MAX;
