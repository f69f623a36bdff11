//! From the client's structs to those of the interface: names stay, ids become text, numbers fit JavaScript.

use crate::api;
use tombolo_client as client;
use tombolo_client::{Kind, MessageState, Standing};

/// Longest excerpt in the list of conversations, in characters.
const EXCERPT_MAX: usize = 120;

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whole numbers that JavaScript keeps apart.
fn safe_ms(ms: u64) -> u64 {
    ms.min((1 << 53) - 1)
}

fn cited(cited: client::Cited) -> api::Cited {
    api::Cited { id: cited.at.id.to_string(), name: cited.name, excerpt: cited.excerpt }
}

pub(crate) fn message(message: client::Message) -> api::Message {
    let (state, count) = match message.state {
        MessageState::Local => (api::State::Local, 0),
        MessageState::Held(count) => (api::State::Held, count),
        MessageState::Delivered(count) => (api::State::Delivered, count),
        MessageState::Read(count) => (api::State::Read, count),
        MessageState::Received => (api::State::Received, 0),
        MessageState::Imported => (api::State::Imported, 0),
        MessageState::Sealed => (api::State::Sealed, 0),
    };
    let beside = message.beside;
    let image = |image: client::Image| api::Image {
        width: image.width,
        height: image.height,
        thumbnail: data_encoding::BASE64.encode(&image.thumbnail),
    };
    let file = |file: client::File| api::File {
        name: file.name,
        media: file.media,
        bytes: safe_ms(file.bytes),
        image: file.image.map(image),
    };
    let reaction = |row: client::ReactionRow| api::Reaction { emoji: row.emoji, names: row.names, own: row.own };
    api::Message {
        id: message.id.to_string(),
        author: message.author.to_string(),
        name: message.name,
        own: message.own,
        text: message.text,
        time_ms: safe_ms(message.time_ms),
        state,
        count: small(count),
        others: small(message.reach.others),
        delivered: small(message.reach.delivered),
        read: small(message.reach.read),
        late: message.late,
        came_ms: safe_ms(message.came_ms),
        cursor: message.cursor,
        answers: beside.answers.map(cited),
        quotes: beside.quotes.into_iter().map(cited).collect(),
        mentions_me: beside.mentions_me,
        files: beside.files.into_iter().map(file).collect(),
        edits: small(beside.edits),
        merged: beside.merged,
        deleted: beside.deleted,
        conflict: beside.conflict,
        reactions: beside.reactions.into_iter().map(reaction).collect(),
        replies: small(beside.replies),
        pinned: beside.pinned,
        blocked: beside.blocked,
        expires_ms: safe_ms(beside.expires_ms),
    }
}

pub(crate) fn messages(found: Vec<client::Message>) -> Vec<api::Message> {
    found.into_iter().map(message).collect()
}

fn excerpt(message: client::Message) -> api::Excerpt {
    let text = message.text.split_whitespace().collect::<Vec<_>>().join(" ");
    api::Excerpt {
        name: message.name,
        own: message.own,
        text: text.chars().take(EXCERPT_MAX).collect(),
        time_ms: safe_ms(message.time_ms),
    }
}

pub(crate) fn conversation(
    row: client::ConversationRow,
    last: Option<client::Message>,
    waiting: usize,
    now_ms: u64,
) -> api::Conversation {
    api::Conversation {
        id: row.id.to_string(),
        title: row.title,
        kind: match row.kind {
            Kind::Direct => api::Kind::Direct,
            Kind::Group => api::Kind::Group,
            Kind::Own => api::Kind::Own,
        },
        member: row.standing == Standing::Member,
        unread: small(row.unread),
        mentions: small(row.mentions),
        last: last.map(excerpt),
        muted: row.keeping.mute_until_ms > now_ms,
        archived: row.keeping.archived,
        favourite: row.keeping.favourite,
        folder: row.keeping.folder,
        waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
    }
}

pub(crate) fn gap(gap: &client::Gap) -> api::Gap {
    api::Gap { missing: small(gap.missing), before_ms: safe_ms(gap.before.ms()) }
}

pub(crate) fn hit(hit: &client::SearchHit) -> api::Hit {
    let mut parts = Vec::new();
    let mut at = 0;
    // Ranges come in order; whatever does not fit the text is left out.
    for (from, to) in &hit.found {
        if let (Some(before), Some(found)) = (hit.excerpt.get(at..*from), hit.excerpt.get(*from..*to)) {
            parts.push(before.to_owned());
            parts.push(found.to_owned());
            at = *to;
        }
    }
    parts.push(hit.excerpt.get(at..).unwrap_or_default().to_owned());
    api::Hit {
        conversation: hit.conversation.to_string(),
        title: hit.title.clone(),
        message: hit.id.to_string(),
        name: hit.name.clone(),
        time_ms: safe_ms(hit.time_ms),
        parts,
    }
}

pub(crate) fn version(row: client::VersionRow) -> api::Version {
    api::Version { name: row.name, time_ms: safe_ms(row.time_ms), text: row.text, current: row.current }
}

pub(crate) fn conflict(row: client::ConflictRow) -> api::Conflict {
    api::Conflict {
        about: row.about,
        message: row.message.map(|id| id.to_string()),
        winner: row.winner,
        winner_name: row.winner_name,
        loser: row.loser,
        loser_name: row.loser_name,
        open: row.open,
    }
}

pub(crate) fn problem(error: &client::Error) -> api::Problem {
    api::Problem { code: error.code().into(), message: error.message().into(), hint: error.hint().into() }
}
