//! What `--json` prints: one object a line. Names and types of fields are a promise to scripts; new fields may come,
//! none changes.
//!
//! | command | object |
//! |---|---|
//! | `init` | `account`, `device`: 64 hex digits |
//! | `new`, `accept` | `conversation`: 32 hex digits |
//! | `invite` | `link`, `conversation` |
//! | `invites` | `conversation`, `key`, `uses`, `used`, `expires` (ISO time, or null), `revoked` |
//! | `list` | `conversation`, `title`, `unread`, `ops`, `kind` (`group`, `direct`, `own`), `mute`, `archived`, `folder`, `favourite` |
//! | `members` | `account`, `name` |
//! | `send` | `id`, `token`, a message |
//! | `messages` | `id`, `author` (device), `name`, `text`, `hlc` (number), `time` (ISO, UTC), `state` (`local`, `held`, `received`, `imported`, `sealed`), `late`, `own`, `answers`, `quotes`, `mentions`, `mentions_me`, `files`, `edits`, `edited`, `merged`, `deleted`, `conflict`, `reactions` (`emoji`, `names`, `own`), `replies`, `pinned`, `blocked`, `expires` |
//! | `show`, `edit`, `undo`, `react`, `pin`, `pins`, `thread`, `mentions` | as `messages` |
//! | `outbox` | as `messages`, and `conversation`, `replicas`, `failed` |
//! | `history`, `conflicts`, `topic`, `notes`, `draft`, `timer`, `block` | see `commands/talk.rs` |
//! | `sync` | `ops_in`, `ops_out`, `bytes_in`, `bytes_out`, `round_trips`, `proven`, `found_by` (`cursor`, `heights`, `sketch`, `ranges`), `files_in`, `files_out` |
//! | `files`, `fetch` | `message`, `n`, `conversation`, `name`, `media`, `bytes`, `width`, `height`, `thumbnail_bytes`, `blob`, `author`, `own`, `time`, `state` (`local`, `here`, `coming`, `wanted`, `elsewhere`, `failed`), `come_bytes`, `why`, `relays`, a file |
//! | `files` with a limit | `largest_bytes`, `automatic_bytes`, `automatic_total_bytes` |
//! | `save` | `saved`: where it is |
//! | `watch` | `event`, and what belongs to it: see [`Happening`] |
//! | `listen` | `listening`: HOST:PORT |
//! | `digest` | `conversation`, `digest` (64 hex digits), `ops` |
//! | `import` | `imported`, `skipped`, `known`, `system`, `too_long`, `attached`, `not_attached`, `omitted`, `source`, `names` |
//! | `import` without a file | `name`, `account`, a name that was mapped |
//! | `export` | `t` (seconds since 1970), `who`, and all fields of `messages`, a message (also without `--json`) |
//! | `export --html` | `file`, `messages` |
//! | `backup` | `file`, `bytes`, `conversations`, `key` |
//! | `restore` | `account`, `device`, as `init` |
//! | `doctor` | `check`, `ok`, `detail` |
//!
//! Not here: what people read (`show.rs`).

use crate::calendar::iso;
use crate::door::{self, ConversationRow, DigestRow, Event, InviteRow, Sent, SyncReport};
use serde::Serialize;
use serde_json::Number;
use std::fmt::Write as _;

#[derive(Serialize)]
pub(crate) struct ProfileRow {
    pub(crate) account: String,
    pub(crate) device: String,
}

#[derive(Serialize)]
pub(crate) struct Conversation {
    pub(crate) conversation: String,
}

#[derive(Serialize)]
pub(crate) struct Link {
    pub(crate) link: String,
    pub(crate) conversation: String,
}

#[derive(Serialize)]
pub(crate) struct Invite {
    pub(crate) conversation: String,
    pub(crate) key: String,
    pub(crate) uses: u32,
    pub(crate) used: u32,
    pub(crate) expires: Option<String>,
    pub(crate) revoked: bool,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    pub(crate) conversation: String,
    pub(crate) title: String,
    pub(crate) unread: u64,
    pub(crate) mentions: u64,
    pub(crate) ops: u64,
    pub(crate) kind: &'static str,
    pub(crate) mute: Option<String>,
    pub(crate) archived: bool,
    pub(crate) folder: String,
    pub(crate) favourite: bool,
}

#[derive(Serialize)]
pub(crate) struct MemberRow {
    pub(crate) account: String,
    pub(crate) name: String,
}

#[derive(Serialize)]
pub(crate) struct SentRow {
    pub(crate) id: String,
    pub(crate) token: String,
}

#[derive(Serialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) author: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) hlc: u64,
    pub(crate) time: String,
    pub(crate) state: &'static str,
    pub(crate) others: u64,
    pub(crate) delivered: u64,
    pub(crate) read: u64,
    pub(crate) late: bool,
    pub(crate) own: bool,
    pub(crate) answers: Option<String>,
    pub(crate) quotes: Vec<String>,
    pub(crate) mentions: Vec<String>,
    pub(crate) mentions_me: bool,
    pub(crate) files: Vec<FileRow>,
    pub(crate) edits: u64,
    pub(crate) edited: Option<String>,
    pub(crate) merged: bool,
    pub(crate) deleted: Option<String>,
    pub(crate) conflict: bool,
    pub(crate) reactions: Vec<ReactionRow>,
    pub(crate) replies: u64,
    pub(crate) pinned: bool,
    pub(crate) blocked: bool,
    pub(crate) expires: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct FileRow {
    pub(crate) name: String,
    pub(crate) media: String,
    pub(crate) bytes: u64,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct ReactionRow {
    pub(crate) emoji: String,
    pub(crate) names: Vec<String>,
    pub(crate) own: bool,
}

#[derive(Serialize)]
pub(crate) struct FoundBy {
    pub(crate) cursor: u64,
    pub(crate) heights: u64,
    pub(crate) sketch: u64,
    pub(crate) ranges: u64,
}

#[derive(Serialize)]
pub(crate) struct Synced {
    pub(crate) ops_in: u64,
    pub(crate) ops_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) round_trips: u64,
    pub(crate) proven: bool,
    pub(crate) found_by: FoundBy,
    pub(crate) files_in: u64,
    pub(crate) files_out: u64,
}

/// A line of `watch`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Happening {
    /// A relay or device is connected.
    Connected { with: String },
    /// A connection ended; it is tried again.
    Disconnected { with: String, reason: String },
    /// A message was stored: all fields of `messages`, and `conversation`.
    Message {
        conversation: String,
        #[serde(flatten)]
        message: Message,
    },
    /// A message looks different now: as above.
    Changed {
        conversation: String,
        #[serde(flatten)]
        message: Message,
    },
    /// Both sides hold the same ops, this many.
    Proven { with: String, ops: u64 },
    /// Somebody is `here` or `typing`.
    Presence { conversation: String, device: String, what: String },
    /// A device takes part from now on.
    Joined { conversation: String, device: String },
    /// Something that a person should know.
    Notice { code: &'static str, words: String },
}

#[derive(Serialize)]
pub(crate) struct ListeningRow {
    pub(crate) listening: String,
}

#[derive(Serialize)]
pub(crate) struct Digest {
    pub(crate) conversation: String,
    pub(crate) digest: String,
    pub(crate) ops: u64,
}

#[derive(Serialize)]
pub(crate) struct Imported {
    pub(crate) imported: u64,
    /// All that was not: the next three.
    pub(crate) skipped: u64,
    pub(crate) known: u64,
    pub(crate) system: u64,
    pub(crate) too_long: u64,
    pub(crate) attached: u64,
    pub(crate) not_attached: u64,
    pub(crate) omitted: u64,
    pub(crate) source: &'static str,
    pub(crate) names: Vec<String>,
}

impl Imported {
    pub(crate) fn of(done: &door::Imports, source: door::Format, names: Vec<String>) -> Self {
        Self {
            imported: done.imported,
            skipped: done.known + done.system + done.too_long,
            known: done.known,
            system: done.system,
            too_long: done.too_long,
            attached: done.attached,
            not_attached: done.not_attached,
            omitted: done.omitted,
            source: source.source(),
            names,
        }
    }
}

#[derive(Clone, Serialize)]
pub(crate) struct Mapped {
    pub(crate) name: String,
    pub(crate) account: String,
}

#[derive(Serialize)]
pub(crate) struct Exported {
    pub(crate) t: Number,
    pub(crate) who: String,
    #[serde(flatten)]
    pub(crate) message: Message,
}

#[derive(Serialize)]
pub(crate) struct Written {
    pub(crate) file: String,
    pub(crate) messages: u64,
}

#[derive(Serialize)]
pub(crate) struct Backup {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) conversations: u64,
    pub(crate) key: String,
}

#[derive(Serialize)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl From<&ConversationRow> for Listed {
    fn from(row: &ConversationRow) -> Self {
        let mute = match row.keeping.mute_until_ms {
            0 => None,
            u64::MAX => Some("always".to_owned()),
            until_ms => Some(iso(until_ms)),
        };
        Self {
            conversation: row.id.to_string(),
            title: row.title.clone(),
            unread: row.unread,
            mentions: row.mentions,
            ops: row.ops,
            kind: match row.kind {
                door::Kind::Group => "group",
                door::Kind::Direct => "direct",
                door::Kind::Own => "own",
            },
            mute,
            archived: row.keeping.archived,
            folder: row.keeping.folder.clone(),
            favourite: row.keeping.favourite,
        }
    }
}

impl From<&door::File> for FileRow {
    fn from(file: &door::File) -> Self {
        let image = file.image.as_ref();
        Self {
            name: file.name.clone(),
            media: file.media.clone(),
            bytes: file.bytes,
            width: image.map(|image| image.width),
            height: image.map(|image| image.height),
        }
    }
}

impl From<&door::Reaction> for ReactionRow {
    fn from(row: &door::Reaction) -> Self {
        Self { emoji: row.emoji.clone(), names: row.names.clone(), own: row.own }
    }
}

impl From<&InviteRow> for Invite {
    fn from(row: &InviteRow) -> Self {
        Self {
            conversation: row.conversation.to_string(),
            key: hex(&row.key),
            uses: row.uses,
            used: row.used,
            expires: (row.expires_ms > 0).then(|| iso(row.expires_ms)),
            revoked: row.revoked,
        }
    }
}

impl From<&Sent> for SentRow {
    fn from(sent: &Sent) -> Self {
        Self { id: sent.id.to_string(), token: sent.token.to_string() }
    }
}

impl From<&door::Message> for Message {
    fn from(message: &door::Message) -> Self {
        Self {
            id: message.id.to_string(),
            author: message.author.to_string(),
            name: message.name.clone(),
            text: message.text.clone(),
            hlc: message.hlc,
            time: iso(message.time_ms),
            state: message.state.word(),
            others: message.reach.others,
            delivered: message.reach.delivered,
            read: message.reach.read,
            late: message.late,
            own: message.own,
            answers: message.beside.answers.as_ref().map(|answered| answered.at.id.to_string()),
            quotes: message.beside.quotes.iter().map(|quoted| quoted.at.id.to_string()).collect(),
            mentions: message.beside.mentions.iter().map(ToString::to_string).collect(),
            mentions_me: message.beside.mentions_me,
            files: message.beside.files.iter().map(FileRow::from).collect(),
            edits: message.beside.edits,
            edited: (message.beside.edited_ms > 0).then(|| iso(message.beside.edited_ms)),
            merged: message.beside.merged,
            deleted: message.beside.deleted.clone(),
            conflict: message.beside.conflict,
            reactions: message.beside.reactions.iter().map(ReactionRow::from).collect(),
            replies: message.beside.replies,
            pinned: message.beside.pinned,
            blocked: message.beside.blocked,
            expires: (message.beside.expires_ms > 0).then(|| iso(message.beside.expires_ms)),
        }
    }
}

impl From<&SyncReport> for Synced {
    fn from(report: &SyncReport) -> Self {
        let found = &report.found_by;
        Self {
            ops_in: report.ops_in,
            ops_out: report.ops_out,
            bytes_in: report.bytes_in,
            bytes_out: report.bytes_out,
            round_trips: report.round_trips,
            proven: report.proven,
            found_by: FoundBy {
                cursor: found.cursor,
                heights: found.heights,
                sketch: found.sketch,
                ranges: found.ranges,
            },
            files_in: report.files_in,
            files_out: report.files_out,
        }
    }
}

impl From<&Event> for Happening {
    fn from(event: &Event) -> Self {
        match event {
            Event::Connected { with } => Self::Connected { with: with.clone() },
            Event::Disconnected { with, reason } => Self::Disconnected { with: with.clone(), reason: reason.clone() },
            Event::Changed { conversation, message } => {
                Self::Changed { conversation: conversation.to_string(), message: Message::from(message.as_ref()) }
            }
            Event::Message { conversation, message } => {
                Self::Message { conversation: conversation.to_string(), message: message.as_ref().into() }
            }
            Event::Proven { with, ops } => Self::Proven { with: with.clone(), ops: *ops },
            Event::Presence { conversation, device, what } => Self::Presence {
                conversation: conversation.to_string(),
                device: device.to_string(),
                what: what.clone(),
            },
            Event::Joined { conversation, device } => {
                Self::Joined { conversation: conversation.to_string(), device: device.to_string() }
            }
            Event::Notice { code, words } => Self::Notice { code, words: words.clone() },
        }
    }
}

impl From<&DigestRow> for Digest {
    fn from(row: &DigestRow) -> Self {
        Self { conversation: row.conversation.to_string(), digest: hex(&row.digest), ops: row.ops }
    }
}

impl From<&door::Message> for Exported {
    fn from(message: &door::Message) -> Self {
        let whole = || Number::from(message.time_ms / 1_000);
        let t = if message.time_ms.is_multiple_of(1_000) {
            whole()
        } else {
            Number::from_f64(message.time_ms as f64 / 1_000.0).unwrap_or_else(whole)
        };
        Self { t, who: message.name.clone(), message: message.into() }
    }
}

impl From<&door::Finding> for Finding {
    fn from(finding: &door::Finding) -> Self {
        Self { check: finding.check.clone(), ok: finding.ok, detail: finding.detail.clone() }
    }
}
