//! What the facade hands out: plain structs with public fields, made for screens and scripts, not for storage.

mod storage;
mod talk;

pub use tombolo_store::search::Query as SearchQuery;

pub use storage::{Packed, StorageRow};
pub use talk::{Beside, Cited, ConflictRow, Keeping, OutboxRow, Post, ReactionRow, SearchHit, TextRow, VersionRow};

use crate::token::WriteToken;
use tombolo_model::control::Kind;
use tombolo_model::{AccountId, ConversationId, DeviceId, OpId};

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRow {
    /// Its id.
    pub id: ConversationId,
    /// Its title; of a conversation between two people the other's name; empty when not known yet.
    pub title: String,
    /// What kind it is.
    pub kind: Kind,
    /// Whether this device takes part, or has asked to.
    pub standing: Standing,
    /// Messages of others that were not seen.
    pub unread: u64,
    /// Those among them that call upon this person.
    pub mentions: u64,
    /// Ops held.
    pub ops: u64,
    /// Addresses of the relays that it names.
    pub relays: Vec<String>,
    /// How this account keeps it.
    pub keeping: Keeping,
}

/// Whether this device takes part in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Member: the history has been received.
    Member,
    /// The invitation was accepted; a member's device or a relay that has the conversation completes it.
    Asked,
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The op.
    pub id: OpId,
    /// The device that wrote it.
    pub author: DeviceId,
    /// The name of its account in this conversation; of an imported message the claimed one.
    pub name: String,
    /// The text; a stand-in for what cannot be opened.
    pub text: String,
    /// The raw clock reading.
    pub hlc: u64,
    /// **Milliseconds** since 1970: when it was written, or claims to have been.
    pub time_ms: u64,
    /// Where it stands.
    pub state: MessageState,
    /// Of a message of this device: how many people have it, and have read it.
    pub reach: Reach,
    /// Whether it was slotted in before something already seen.
    pub late: bool,
    /// For a late message: when it came, **milliseconds** since 1970; 0 = not known.
    pub came_ms: u64,
    /// Whether this account wrote it.
    pub own: bool,
    /// To page from: `messages` before or after it.
    pub cursor: String,
    /// Answers, reactions, edits and whatever else stands beside it.
    pub beside: Beside,
}

/// How far a message has come, in people, as their devices tell it; nothing is told in conversations of more than 50.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many others take part.
    pub others: u64,
    /// How many of them have it on a device.
    pub delivered: u64,
    /// How many have read it, of those who tell.
    pub read: u64,
}

/// Who has received and read a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The account.
    pub account: AccountId,
    /// Its name in the conversation.
    pub name: String,
    /// Whether it is this account.
    pub own: bool,
    /// One of its devices has it.
    pub delivered: bool,
    /// It was read, and that is told.
    pub read: bool,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Own, on this device only.
    Local,
    /// Own; this many relays and peers hold it on their disks.
    Held(u64),
    /// Own; on a device of each of this many others, who are all.
    Delivered(u64),
    /// Own; this many others have read it.
    Read(u64),
    /// Somebody else's.
    Received,
    /// Brought in from elsewhere.
    Imported,
    /// It cannot be opened with the keys of this device.
    Sealed,
}

impl MessageState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Held(_) => "held",
            Self::Delivered(_) => "delivered",
            Self::Read(_) => "read",
            Self::Received => "received",
            Self::Imported => "imported",
            Self::Sealed => "sealed",
        }
    }
}

/// What a send returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The op.
    pub id: OpId,
    /// To ask other replicas for it.
    pub token: WriteToken,
}

/// An invitation in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRow {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its key: names it for revoking.
    pub key: [u8; 32],
    /// How many accounts may use it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// **Milliseconds** since 1970; 0 = never.
    pub expires_ms: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A line of an import or export.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// **Milliseconds** since 1970.
    pub time_ms: u64,
    /// Who.
    pub who: String,
    /// What.
    pub text: String,
}

/// Root digest of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// 32 bytes that commit to exactly which ops are held.
    pub digest: [u8; 32],
    /// Ops held.
    pub ops: u64,
}

/// How many ops each tool found, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundBy {
    /// Arrived after the cursor.
    pub cursor: u64,
    /// Named by heights.
    pub heights: u64,
    /// Decoded from a sketch.
    pub sketch: u64,
    /// Found by splitting ranges.
    pub ranges: u64,
}

/// What a sync did: sums over all replicas that were reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// New ops that came.
    pub ops_in: u64,
    /// Ops that went out and are on the other side's disk.
    pub ops_out: u64,
    /// **Bytes** read from sockets.
    pub bytes_in: u64,
    /// **Bytes** written to sockets.
    pub bytes_out: u64,
    /// Requests that were answered, after authentication.
    pub round_trips: u64,
    /// Whether every replica that was reached holds the same set, and none was out of reach.
    pub proven: bool,
    /// How ops were found.
    pub found_by: FoundBy,
    /// What was not as it should be, in words: conversations not taken, replicas out of reach, differences that stayed.
    pub notes: Vec<String>,
    /// Conversations whose joining waits for somebody.
    pub asked: Vec<ConversationId>,
    /// Files whose bytes came whole; theirs are among `bytes_in`.
    pub files_in: u64,
    /// Files whose bytes are whole on a relay now; theirs are among `bytes_out`.
    pub files_out: u64,
}

/// How far a sync is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// With whom; or the name of the file that is on its way, as it may be shown.
    pub with: String,
    /// Ops that came and went so far; of a file, **bytes**.
    pub ops: u64,
    /// About how many there will be; 0 = not known.
    pub expected: u64,
}

/// Something that happened while connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A replica is connected.
    Connected {
        /// Its address or key.
        with: String,
    },
    /// A connection ended.
    Disconnected {
        /// Its address or key.
        with: String,
        /// Why, in words.
        reason: String,
    },
    /// A message was stored: own or somebody's.
    Message {
        /// Its conversation.
        conversation: ConversationId,
        /// The message.
        message: Box<Message>,
    },
    /// A message looks different: it was edited, deleted, pinned, or somebody reacted.
    Changed {
        /// Its conversation.
        conversation: ConversationId,
        /// The message as it is now.
        message: Box<Message>,
    },
    /// Both hold the same set.
    Proven {
        /// With whom.
        with: String,
        /// Ops in the shared conversations.
        ops: u64,
    },
    /// Something fleeting: somebody is there or typing.
    Presence {
        /// Its conversation.
        conversation: ConversationId,
        /// From which device.
        device: DeviceId,
        /// What: `typing` or `here`.
        what: String,
    },
    /// A device joined.
    Joined {
        /// The conversation.
        conversation: ConversationId,
        /// The device.
        device: DeviceId,
    },
    /// Something a person should know.
    Notice {
        /// Stable code.
        code: &'static str,
        /// In words.
        words: String,
    },
}

/// One finding of the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}
