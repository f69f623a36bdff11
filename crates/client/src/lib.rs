//! The only door for app and command line: a handle to one profile, its store and its connections.
//!
//! [`Client`] is cheap to clone; behind it one thread owns the store ([`actor`]), sockets live on the caller's tokio
//! runtime. Everything returned as done is on the disk. Not here: how anything looks.
//!
//! Read in this order: [`api`] (what comes out), [`Client`], [`node`] (a device without threads; what the simulated
//! world runs), `actor`, `sync`, `watch`, `files`.

mod actor;
pub mod api;
mod backup;
mod client;
mod doctor;
mod entropy;
mod error;
mod files;
pub mod import;
pub mod key_store;
mod link;
pub mod node;
mod profile;
mod secrets;
mod sync;
mod tail_mark;
mod timeline;
mod token;
pub mod transport;
mod watch;

pub use api::{
    Beside, Cited, ConflictRow, ConversationRow, DigestRow, Event, Finding, FoundBy, InviteRow, Keeping, Line, Message,
    MessageState, OutboxRow, Packed, Post, Progress, Reach, ReactionRow, Receipt, SearchHit, SearchQuery, Sent,
    Standing, StorageRow, SyncReport, TextRow, VersionRow,
};
pub use backup::Backup;
pub use client::{Client, Config, Created};
pub use entropy::{Entropy, SystemEntropy};
pub use error::Error;
pub use files::{FileRow, FileSettings, FileState, suggestion};
pub use node::{Identity, Node};
pub use sync::SyncOptions;
pub use timeline::Timeline;
pub use token::WriteToken;
pub use tombolo_model::content::{File, Image, MessageRef, Slot, Value};
pub use tombolo_model::control::Kind;
pub use tombolo_model::{AccountId, ConversationId, DeviceId, OpId};
pub use tombolo_replica::Tools;
pub use tombolo_seal::backup::{BackupKey, InvalidBackupKey};
pub use tombolo_store::timeline::{Diff, Gap, Item, ItemKey, apply};
pub use watch::{Events, Listening};
