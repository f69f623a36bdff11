//! Reading the views: windows of messages, title, names, what is unread.
//!
//! Works on any [`Reader`], so beside the writer and on other threads; every function sees one committed state, and
//! several of them do inside `Reader::snapshot`. Windows are asked for by place, never by number, so nothing is skipped or
//! repeated when messages arrive between two pages. Not here: the fold (`views.rs`).

use crate::reading::{Me, unread_of};
use crate::{Facets, Place, Section};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeMap;
use tombolo_model::content::{MessageRef, Slot, Value};
use tombolo_model::{AccountId, ConversationId, DeviceId, Hlc, OpId};
use tombolo_oplog::{LogError, Reader};

pub(crate) const KIND_TEXT: i64 = 0;
pub(crate) const KIND_SEALED: i64 = 1;
pub(crate) const KIND_NEWER: i64 = 2;
pub(crate) const KIND_DELETED: i64 = 3;

/// What stands in a message's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Its text.
    Text,
    /// It cannot be read: its key or its body is not here. The text is empty.
    Sealed,
    /// A newer version wrote it, and this one does not know how to show it. The text is empty.
    Newer,
    /// It was deleted for everyone: a stand-in. The text is empty.
    Deleted,
}

/// A message that came in above what this person had already seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// When it came, **milliseconds** since 1970; 0 = not known.
    pub came_ms: u64,
    /// It has not been shown since it came.
    pub unseen: bool,
}

/// One message as it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it stands; its text form is the cursor for further pages.
    pub place: Place,
    /// Its arrival on this device: what others acknowledge is compared with it.
    pub arrival: u64,
    /// The device that wrote (or imported) it.
    pub author: DeviceId,
    /// What the row holds.
    pub kind: MessageKind,
    /// The text.
    pub text: String,
    /// Claimed author, for imported messages.
    pub who: Option<String>,
    /// Set when it came late.
    pub late: Option<Late>,
    /// What stands beside it; `None` until somebody looks ([`crate::Look::complete`]).
    pub facets: Option<Box<Facets>>,
}

impl Message {
    /// Whether it was withdrawn before it left its author's device: nothing is shown in its place.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.facets.as_ref().and_then(|facets| facets.deleted).is_some_and(|deleted| deleted.withdrawn)
    }

    /// The op.
    #[must_use]
    pub fn id(&self) -> OpId {
        self.place.id
    }

    /// How other ops name it.
    #[must_use]
    pub fn reference(&self) -> MessageRef {
        MessageRef { hlc: self.hlc(), id: self.id() }
    }

    /// The clock reading of the op.
    #[must_use]
    pub fn hlc(&self) -> Hlc {
        self.place.hlc()
    }

    /// **Milliseconds** since 1970: written, or for imported ones claimed to be written.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.place.time_ms()
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What people write never appears in logs.
        f.debug_struct("Message")
            .field("id", &self.place.id)
            .field("section", &self.place.section)
            .field("hlc", &self.hlc())
            .field("kind", &self.kind)
            .field("late", &self.late)
            .field("text_bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

macro_rules! select_message {
    ($tail:literal) => {
        concat!(
            "SELECT m.section, m.at, m.sub, m.id, m.arrival, l.author, m.kind, m.late, m.came_ms, m.who, m.text \
             FROM message m CROSS JOIN log l ON l.n = m.log \
             WHERE m.conversation = (SELECT n FROM conversation WHERE id = ?1) AND ",
            $tail
        )
    };
}

fn message(row: &Row<'_>) -> Result<Message, LogError> {
    let damaged = || LogError::Damaged("a row of a message".into());
    let section = match row.get::<_, i64>(0)? {
        0 => Section::Imported,
        1 => Section::Native,
        _ => return Err(damaged()),
    };
    let id = OpId::try_from(row.get_ref(3)?.as_blob().map_err(|_| damaged())?).map_err(|_| damaged())?;
    let author = DeviceId::try_from(row.get_ref(5)?.as_blob().map_err(|_| damaged())?).map_err(|_| damaged())?;
    Ok(Message {
        place: Place { section, at: row.get::<_, i64>(1)? as u64, sub: row.get::<_, i64>(2)? as u64, id },
        arrival: row.get::<_, i64>(4)? as u64,
        author,
        kind: match row.get::<_, i64>(6)? {
            KIND_TEXT => MessageKind::Text,
            KIND_SEALED => MessageKind::Sealed,
            KIND_NEWER => MessageKind::Newer,
            KIND_DELETED => MessageKind::Deleted,
            _ => return Err(damaged()),
        },
        late: match row.get::<_, i64>(7)? {
            0 => None,
            late => Some(Late { came_ms: row.get::<_, Option<i64>>(8)?.unwrap_or(0) as u64, unseen: late == 1 }),
        },
        who: row.get(9)?,
        text: row.get(10)?,
        facets: None,
    })
}

/// The newest messages before a place (`None` = before the end), at most `limit`, oldest first.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn page(
    reader: &Reader,
    conversation: &ConversationId,
    before: Option<&Place>,
    limit: usize,
) -> Result<Vec<Message>, LogError> {
    let mut statement = reader.connection()?.prepare_cached(select_message!(
        "(m.section, m.at, m.sub, m.id) < (?2, ?3, ?4, ?5) \
         ORDER BY m.section DESC, m.at DESC, m.sub DESC, m.id DESC LIMIT ?6"
    ))?;
    let (section, at, sub, id) = match before {
        Some(place) => (place.section as i64, place.at as i64, place.sub as i64, place.id),
        None => (Section::Native as i64 + 1, 0, 0, OpId::ZERO),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![conversation.as_bytes(), section, at, sub, id.as_bytes(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(message(row)?);
    }
    found.reverse();
    Ok(found)
}

/// The oldest messages after a place (`None` = from the beginning), at most `limit`, oldest first.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn page_after(
    reader: &Reader,
    conversation: &ConversationId,
    after: Option<&Place>,
    limit: usize,
) -> Result<Vec<Message>, LogError> {
    let mut statement = reader.connection()?.prepare_cached(select_message!(
        "(m.section, m.at, m.sub, m.id) > (?2, ?3, ?4, ?5) \
         ORDER BY m.section, m.at, m.sub, m.id LIMIT ?6"
    ))?;
    let (section, at, sub, id) = match after {
        Some(place) => (place.section as i64, place.at as i64, place.sub as i64, place.id),
        None => (-1, 0, 0, OpId::ZERO),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![conversation.as_bytes(), section, at, sub, id.as_bytes(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(message(row)?);
    }
    Ok(found)
}

/// Number of messages, imported ones included. Cost: all rows of the conversation.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn count(reader: &Reader, conversation: &ConversationId) -> Result<u64, LogError> {
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT count(*) FROM message WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)",
    )?;
    Ok(statement.query_row([conversation.as_bytes()], |row| row.get::<_, i64>(0))? as u64)
}

/// Messages that others wrote and this person has not seen: those above the seen frontier, and late ones below it that
/// have not been shown. Imported ones never count. `own` = the local device. Cost: the messages above the frontier.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn unread(reader: &Reader, conversation: &ConversationId, own: &DeviceId) -> Result<u64, LogError> {
    unread_of(reader, conversation, &Me { device: *own, account: None })
}

/// How far this person has seen; `None` = nothing yet.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn seen(reader: &Reader, conversation: &ConversationId) -> Result<Option<Place>, LogError> {
    let mut statement = reader
        .connection()?
        .prepare_cached("SELECT at, id FROM seen WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)")?;
    let found: Option<(i64, Vec<u8>)> =
        statement.query_row([conversation.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((at, id)) = found else { return Ok(None) };
    let id = OpId::try_from(id.as_slice()).map_err(|_| LogError::Damaged("the seen frontier".into()))?;
    Ok(Some(Place::native(Hlc(at as u64), id)))
}

/// The conversation's title, if it was given one: the last one set, as a register or as older versions did.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn title(reader: &Reader, conversation: &ConversationId) -> Result<Option<String>, LogError> {
    let mut statement = reader
        .connection()?
        .prepare_cached("SELECT title FROM title WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)")?;
    // The register counts once it was set: the other one is only ever written when a conversation is founded, perhaps with
    // a clock that was ahead.
    match crate::register(reader, conversation, &Slot::Title)?.value() {
        Value::Text(title) => Ok(Some(title)),
        _ => Ok(statement.query_row([conversation.as_bytes()], |row| row.get(0)).optional()?),
    }
}

/// Who stands behind a device in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Its account; `None` when no certificate is known.
    pub account: Option<AccountId>,
    /// The account's name here, as it was set last on any of its devices.
    pub name: Option<String>,
}

/// Who is who in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By device.
    pub people: BTreeMap<DeviceId, Person>,
}

impl Names {
    /// The account behind a device.
    #[must_use]
    pub fn account(&self, device: &DeviceId) -> Option<AccountId> {
        self.people.get(device).and_then(|person| person.account)
    }

    /// The name to show for an account.
    #[must_use]
    pub fn of_account(&self, account: &AccountId) -> Option<&str> {
        let person = self.people.values().find(|person| person.account == Some(*account) && person.name.is_some());
        person.and_then(|person| person.name.as_deref())
    }

    /// The name to show for a device.
    #[must_use]
    pub fn name(&self, device: &DeviceId) -> Option<&str> {
        self.people.get(device).and_then(|person| person.name.as_deref())
    }
}

/// Accounts and names of everybody who takes part, by device. Cost: the members of the conversation.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn names(reader: &Reader, conversation: &ConversationId) -> Result<Names, LogError> {
    let mut names = Names::default();
    for member in reader.members(conversation)? {
        // Should two accounts claim one device, the smaller key counts, on every replica.
        let person = names.people.entry(member.device).or_default();
        person.account = Some(person.account.map_or(member.account, |account| account.min(member.account)));
    }
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT device, name, hlc, id FROM name WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)",
    )?;
    let mut rows = statement.query([conversation.as_bytes()])?;
    let mut last: BTreeMap<AccountId, ((i64, Vec<u8>), String)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let device: Vec<u8> = row.get(0)?;
        let device = DeviceId::try_from(device.as_slice()).map_err(|_| LogError::Damaged("a row of a name".into()))?;
        let (name, order): (String, (i64, Vec<u8>)) = (row.get(1)?, (row.get(2)?, row.get(3)?));
        match names.people.entry(device).or_default() {
            Person { account: Some(account), .. } => {
                let current = last.entry(*account).or_insert_with(|| (order.clone(), name.clone()));
                if order > current.0 {
                    *current = (order, name);
                }
            }
            person => person.name = Some(name),
        }
    }
    for person in names.people.values_mut() {
        if let Some((_, name)) = person.account.and_then(|account| last.get(&account)) {
            person.name = Some(name.clone());
        }
    }
    Ok(names)
}
