//! Looking at messages with everything beside them: for pages, threads, histories and conflicts.
//!
//! Responsible for: joining rows of messages with what stands beside them and with who is who. Not here: what that adds
//! up to (`facets.rs`), where messages stand (`read.rs`).

use crate::beside::{self, Row, about};
use crate::facets::{self, Facets, People, Root, Version};
use crate::read::{Message, MessageKind, Names, names};
use crate::register::tagged;
use crate::{Place, page_after};
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, Edit, MessageRef, Reaction, TagSet, Target};
use tombolo_model::{AccountId, ConversationId, Hlc, OpId};
use tombolo_oplog::{LogError, Reader};

/// A conversation as it is looked at: who is who, read once for many messages.
#[derive(Debug)]
pub struct Look<'a> {
    reader: &'a Reader,
    conversation: ConversationId,
    n: i64,
    names: Names,
    founder: Option<AccountId>,
    pins: BTreeMap<MessageRef, Vec<OpId>>,
}

/// A message that was edited and deleted, each without knowing of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disputed {
    /// Which.
    pub message: Message,
    /// How it stands.
    pub facets: Facets,
}

impl<'a> Look<'a> {
    /// `None` when the conversation is not here.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn at(reader: &'a Reader, conversation: &ConversationId) -> Result<Option<Self>, LogError> {
        let Some(n) = beside::number(reader.connection()?, conversation)? else { return Ok(None) };
        let pins = tagged(reader, conversation, &TagSet::Pins)?;
        Ok(Some(Self {
            reader,
            conversation: *conversation,
            n,
            names: names(reader, conversation)?,
            founder: founder(reader, conversation)?,
            pins: pins.into_iter().map(|pin| (pin.message, pin.tags)).collect(),
        }))
    }

    /// The conversation.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// Who is who.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The account that founded the conversation: it may delete what others wrote.
    #[must_use]
    pub fn founder(&self) -> Option<AccountId> {
        self.founder
    }

    /// Whether a message is pinned: the tags that say so, empty if it is not.
    #[must_use]
    pub fn pinned(&self, at: &MessageRef) -> &[OpId] {
        self.pins.get(at).map_or(&[], Vec::as_slice)
    }

    fn with<T>(&self, message: &Message, look: impl FnOnce(&Root<'_>, &[Row], People<'_>) -> T) -> Result<T, LogError> {
        let rows = beside::of(self.reader.connection()?, self.n, &about::message(&Reaction::names(&message.id())))?;
        let root = Root {
            at: message.reference(),
            author: message.author,
            text: (message.kind == MessageKind::Text).then_some(message.text.as_str()),
        };
        let account = |device: &_| self.names.account(device);
        Ok(look(&root, &rows, People { account: &account, founder: self.founder }))
    }

    /// What a message looks like.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn facets(&self, message: &Message) -> Result<Facets, LogError> {
        let mut facets = self.with(message, facets::facets)?;
        if let Some(files) = self.imported_files(message)? {
            facets.message.files = Some(files);
        }
        Ok(facets)
    }

    /// Adds to messages what stands beside them.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn complete(&self, messages: &mut [Message]) -> Result<(), LogError> {
        for message in messages {
            message.facets = Some(Box::new(self.facets(message)?));
        }
        Ok(())
    }

    fn imported_files(&self, message: &Message) -> Result<Option<Vec<tombolo_model::content::File>>, LogError> {
        if message.place.section != crate::Section::Imported {
            return Ok(None);
        }
        let about = about::message(&Reaction::names(&message.id()));
        let rows = beside::of(self.reader.connection()?, self.n, &about)?;
        Ok(rows.into_iter().find_map(|row| match row.content {
            Content::Imported(imported) if row.id == message.id() => imported.files,
            _ => None,
        }))
    }

    /// The versions of its text, oldest first.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn versions(&self, message: &Message) -> Result<Vec<Version>, LogError> {
        self.with(message, facets::versions)
    }

    /// What an account's devices add up to for a reaction: it is shown above 0.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn reaction(&self, message: &Message, emoji: &str, account: &AccountId) -> Result<i64, LogError> {
        self.with(message, |root, rows, people| facets::sum_of(rows, &root.at, emoji, account, people))
    }

    /// The ops whose bodies hold what a message says: its own, its edits and its restores.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn bodies(&self, message: &Message) -> Result<Vec<OpId>, LogError> {
        self.with(message, |root, rows, _| {
            let said = rows.iter().filter(|row| matches!(row.content, Content::Edit(_) | Content::Restore(_)));
            std::iter::once(root.at.id).chain(said.map(|row| row.id)).collect()
        })
    }

    /// How many messages answer one.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn answers(&self, id: &OpId) -> Result<u64, LogError> {
        beside::count(self.reader.connection()?, self.n, &about::answers(id))
    }

    /// The thread below a message: its answers and theirs, in display order, without itself; at most `limit`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn thread(&self, id: &OpId, limit: usize) -> Result<Vec<Message>, LogError> {
        let mut known = BTreeSet::from([*id]);
        let mut next = vec![*id];
        let mut found = Vec::new();
        while let Some(id) = next.pop() {
            for answer in beside::ids(self.reader.connection()?, self.n, &about::answers(&id))? {
                if found.len() < limit && known.insert(answer.id) {
                    found.extend(self.message(&answer)?);
                    next.push(answer.id);
                }
            }
        }
        found.sort_by_key(|message| message.place);
        Ok(found)
    }

    /// Messages that call upon an account, oldest first.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn mentions(&self, account: &AccountId) -> Result<Vec<MessageRef>, LogError> {
        let mut about = vec![about::MENTION];
        about.extend_from_slice(&account.0[..16]);
        beside::ids(self.reader.connection()?, self.n, &about)
    }

    /// Messages that have had files, oldest first.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn with_files(&self) -> Result<Vec<MessageRef>, LogError> {
        beside::ids(self.reader.connection()?, self.n, &[about::FILES])
    }

    /// A message where a reference says that it is; `None` when it is not here.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn message(&self, at: &MessageRef) -> Result<Option<Message>, LogError> {
        message_at(self.reader, &self.conversation, at)
    }

    /// Messages with several current versions of their text, by place. Cost: everything that stands beside messages.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn edited_at_once(&self) -> Result<Vec<Message>, LogError> {
        let rows = beside::beginning(self.reader.connection()?, self.n, &[about::MESSAGE])?;
        let edited: BTreeSet<MessageRef> = rows
            .iter()
            .filter_map(|(_, row)| match &row.content {
                Content::Edit(Edit { target: Target::Message(message), .. }) => Some(*message),
                _ => None,
            })
            .collect();
        let mut found = Vec::new();
        for at in edited {
            let Some(message) = self.message(&at)? else { continue };
            let facets = self.facets(&message)?;
            if facets.deleted.is_none() && facets.current.len() > 1 {
                found.push(message);
            }
        }
        Ok(found)
    }

    /// Messages that are edited and deleted at once. Cost: everything that stands beside messages.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn disputed(&self) -> Result<Vec<Disputed>, LogError> {
        let rows = beside::beginning(self.reader.connection()?, self.n, &[about::MESSAGE])?;
        let deleted: BTreeSet<MessageRef> = rows
            .iter()
            .filter_map(|(_, row)| match &row.content {
                Content::Delete(delete) => Some(delete.message),
                _ => None,
            })
            .collect();
        let mut disputed = Vec::new();
        for at in deleted {
            let Some(message) = self.message(&at)? else { continue };
            let facets = self.facets(&message)?;
            if facets.conflict {
                disputed.push(Disputed { message, facets });
            }
        }
        Ok(disputed)
    }
}

/// A message of section 1 where a reference says that it is; `None` when it is not here.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn message_at(
    reader: &Reader,
    conversation: &ConversationId,
    at: &MessageRef,
) -> Result<Option<Message>, LogError> {
    let place = Place::native(at.hlc, at.id);
    let found = page_after(reader, conversation, Some(&place.just_before()), 1)?;
    Ok(found.into_iter().find(|message| message.id() == at.id))
}

/// The account that founded a conversation; `None` until its first op is here.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn founder(reader: &Reader, conversation: &ConversationId) -> Result<Option<AccountId>, LogError> {
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT m.account FROM conversation c CROSS JOIN member m ON m.conversation = c.n \
         CROSS JOIN op o ON o.arrival = m.since CROSS JOIN log l ON l.n = o.log \
         WHERE c.id = ?1 AND o.seq = 1 AND l.author = m.device AND substr(o.id, 1, 16) = c.id LIMIT 1",
    )?;
    let found: Option<[u8; 32]> = statement.query_row(params![conversation.as_bytes()], |row| row.get(0)).optional()?;
    match found {
        Some(account) => Ok(Some(AccountId(account))),
        // A device may have become a member by another op that came first: then the first op itself says it.
        None => reader.founder(conversation),
    }
}

/// A text that several hands change, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedText {
    /// The text.
    pub text: String,
    /// The versions that it is made of: what the next edit replaces.
    pub heads: Vec<OpId>,
    /// When it was changed last; `None` = never.
    pub changed: Option<Hlc>,
}

/// A topic, note or draft. A message's text is among its [`Facets`].
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn shared_text(reader: &Reader, conversation: &ConversationId, target: &Target) -> Result<SharedText, LogError> {
    let conn = reader.connection()?;
    let Some(n) = beside::number(conn, conversation)? else { return Ok(SharedText::default()) };
    let rows = beside::of(conn, n, &beside::about_text(target))?;
    Ok(facets::shared(&rows, target))
}

/// Names of all notes that a conversation ever had, sorted.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn note_names(reader: &Reader, conversation: &ConversationId) -> Result<Vec<String>, LogError> {
    let conn = reader.connection()?;
    let Some(n) = beside::number(conn, conversation)? else { return Ok(Vec::new()) };
    let mut names = BTreeSet::new();
    for (_, row) in beside::beginning(conn, n, &[about::NOTE])? {
        if let Content::Edit(Edit { target: Target::Note(name), .. }) = row.content {
            names.insert(name);
        }
    }
    Ok(names.into_iter().collect())
}
