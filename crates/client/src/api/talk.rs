//! What people do with messages, as structs: what is posted, what stands beside a message, versions, conflicts.

use tombolo_model::content::{File, MessageRef};
use tombolo_model::{AccountId, ConversationId, OpId};

/// A message to be written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Post {
    /// The text; may be empty where there are files.
    pub text: String,
    /// The message that it answers.
    pub answers: Option<OpId>,
    /// Messages that it quotes.
    pub quotes: Vec<OpId>,
    /// Accounts that it calls upon.
    pub mentions: Vec<AccountId>,
    /// Files beside the log.
    pub files: Vec<File>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What people write never appears in logs.
        f.debug_struct("Post").field("text_bytes", &self.text.len()).field("files", &self.files.len()).finish()
    }
}

/// A message as another one refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cited {
    /// Its op, and where it stands: enough to jump there, also where it must be fetched first.
    pub at: MessageRef,
    /// Who wrote it; empty when it is not here.
    pub name: String,
    /// The beginning of its text, one line; empty when it is not here or deleted.
    pub excerpt: String,
}

/// A reaction as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactionRow {
    /// Which.
    pub emoji: String,
    /// Who shows it, in the order in which they did.
    pub names: Vec<String>,
    /// Whether this account does.
    pub own: bool,
}

/// What stands beside a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The message that it answers.
    pub answers: Option<Cited>,
    /// Messages that it quotes.
    pub quotes: Vec<Cited>,
    /// Accounts that it calls upon.
    pub mentions: Vec<AccountId>,
    /// Whether this account is among them.
    pub mentions_me: bool,
    /// Its files.
    pub files: Vec<File>,
    /// Number of edits.
    pub edits: u64,
    /// When it was edited last, **milliseconds** since 1970; 0 = never.
    pub edited_ms: u64,
    /// Its text is merged from versions that did not know of each other.
    pub merged: bool,
    /// It was deleted for everyone; by whom.
    pub deleted: Option<String>,
    /// It was edited and deleted, each without knowing of the other.
    pub conflict: bool,
    /// Reactions.
    pub reactions: Vec<ReactionRow>,
    /// Number of messages that answer it.
    pub replies: u64,
    /// It is pinned.
    pub pinned: bool,
    /// Its author is blocked on this account's devices; the text is left out.
    pub blocked: bool,
    /// When it disappears, **milliseconds** since 1970; 0 = never.
    pub expires_ms: u64,
}

/// A version of a message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// The op that made it.
    pub id: OpId,
    /// Who wrote it.
    pub name: String,
    /// **Milliseconds** since 1970.
    pub time_ms: u64,
    /// The text; `None` when it was deleted.
    pub text: Option<String>,
    /// The versions that it replaces.
    pub bases: Vec<OpId>,
    /// Nothing replaces it: the text that is shown is made of all current versions.
    pub current: bool,
}

/// What two people said of one thing without knowing of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictRow {
    /// Its conversation.
    pub conversation: ConversationId,
    /// What it is about: `title`, `timer`, `edit`, `delete`, `log`, ...
    pub about: String,
    /// The message, where it is about one.
    pub message: Option<OpId>,
    /// What counts.
    pub winner: String,
    /// Who said it.
    pub winner_name: String,
    /// What lost; still readable here.
    pub loser: String,
    /// Who said that.
    pub loser_name: String,
    /// Nobody has decided since.
    pub open: bool,
}

/// A message that a search found.
#[derive(Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// To go on from: `SearchQuery::older_than`.
    pub row: i64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The title of that.
    pub title: String,
    /// The message.
    pub id: OpId,
    /// To jump to.
    pub cursor: String,
    /// **Milliseconds** since 1970.
    pub time_ms: u64,
    /// Who wrote it.
    pub name: String,
    /// A part of its text.
    pub excerpt: String,
    /// What was found, as ranges of **bytes** of the excerpt.
    pub found: Vec<(usize, usize)>,
}

impl std::fmt::Debug for SearchHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchHit").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A text that several hands may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRow {
    /// The name of a note; empty for a topic or a draft.
    pub name: String,
    /// The text.
    pub text: String,
    /// It was merged from versions that did not know of each other.
    pub merged: bool,
    /// When it was changed last, **milliseconds** since 1970; 0 = never.
    pub changed_ms: u64,
}

/// How this account keeps a conversation; all its devices agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Until when it is mute, **milliseconds** since 1970; 0 = it is not, `u64::MAX` = until somebody says otherwise.
    pub mute_until_ms: u64,
    /// It is archived.
    pub archived: bool,
    /// Its folder; empty = none.
    pub folder: String,
    /// It stands on top.
    pub favourite: bool,
}

/// A message of this device that is not everywhere yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message.
    pub message: super::Message,
    /// Relays and peers that keep the conversation, as far as they are known.
    pub replicas: u64,
    /// Why it did not go out, where a replica said so.
    pub failed: Option<String>,
}
