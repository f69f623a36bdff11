//! What ops say about messages and about the conversation: one row per op and thing that it concerns, as it came.
//!
//! Responsible for: the table `beside`, which ops give which rows, writing and removing them. The rows are the ops' own
//! words and nothing is computed when they come, so they are the same whatever the order of arrival, and an op may come
//! before what it is about. What they add up to is computed when it is looked at.
//! Not here: what a message looks like (`facets.rs`), registers and sets (`register.rs`), messages themselves (`views.rs`).

use rusqlite::{Connection, Transaction, params};
use tombolo_model::content::{Content, Edit, MessageRef, Reaction, Slot, Tag, TagSet, Target};
use tombolo_model::{AccountId, ConversationId, DeviceId, Hlc, Op, OpId};
use tombolo_oplog::{LogError, Step};

pub(crate) const STEP: Step = Step {
    why: "Edits, deletions, reactions, registers, sets and all that a message has beside its text.",
    sql: "
-- about: what the op is about, see beside.rs; log: number of its author's log; content: what it says, as in its body.
-- Rows of one thing are neighbours. An op has a row for each thing that it concerns.
CREATE TABLE beside (
    conversation INTEGER NOT NULL, about BLOB NOT NULL, id BLOB NOT NULL, hlc INTEGER NOT NULL, log INTEGER NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (conversation, about, id)) STRICT, WITHOUT ROWID;
",
};

/// What rows are about: a letter and a name.
pub(crate) mod about {
    use super::{AccountId, ConversationId, Hlc, OpId, Reaction, Slot};

    /// A message, by the 16 bytes that a reaction has of it.
    pub(crate) const MESSAGE: u8 = b'm';
    /// Answers to a message, by clock reading.
    pub(crate) const ANSWERS: u8 = b'a';
    /// An account that is called upon, by clock reading.
    pub(crate) const MENTION: u8 = b'@';
    /// Messages with files, by clock reading.
    pub(crate) const FILES: u8 = b'f';
    /// Pins, by message.
    pub(crate) const PINS: u8 = b'p';
    /// Hidden messages, by conversation and message.
    pub(crate) const HIDDEN: u8 = b'h';
    /// A register.
    pub(crate) const SLOT: u8 = b's';
    /// The topic.
    pub(crate) const TOPIC: u8 = b't';
    /// A note, by name.
    pub(crate) const NOTE: u8 = b'n';
    /// A draft, by conversation.
    pub(crate) const DRAFT: u8 = b'd';

    fn joined(letter: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut name = vec![letter];
        for part in parts {
            name.extend_from_slice(part);
        }
        name
    }

    pub(crate) fn message(named: &[u8; 16]) -> Vec<u8> {
        joined(MESSAGE, &[named])
    }

    pub(crate) fn answers(id: &OpId) -> Vec<u8> {
        joined(ANSWERS, &[&Reaction::names(id)])
    }

    pub(crate) fn mention(account: &AccountId, hlc: Hlc) -> Vec<u8> {
        joined(MENTION, &[&account.0[..16], &hlc.0.to_be_bytes()])
    }

    pub(crate) fn files(hlc: Hlc) -> Vec<u8> {
        joined(FILES, &[&hlc.0.to_be_bytes()])
    }

    pub(crate) fn pins(id: &OpId) -> Vec<u8> {
        joined(PINS, &[&id.0])
    }

    pub(crate) fn hidden(conversation: &ConversationId, id: &OpId) -> Vec<u8> {
        joined(HIDDEN, &[&conversation.0, &id.0])
    }

    pub(crate) fn slot(slot: &Slot) -> Vec<u8> {
        let mut name = vec![SLOT];
        // Writing to a vector cannot fail.
        let _ = minicbor::encode(slot, &mut name);
        name
    }

    pub(crate) fn note(name: &str) -> Vec<u8> {
        joined(NOTE, &[name.as_bytes()])
    }

    pub(crate) fn draft(conversation: &ConversationId) -> Vec<u8> {
        joined(DRAFT, &[&conversation.0])
    }
}

/// One op as it stands beside something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The op.
    pub(crate) id: OpId,
    /// Its clock reading.
    pub(crate) hlc: Hlc,
    /// Who wrote it.
    pub(crate) device: DeviceId,
    /// What it says.
    pub(crate) content: Content,
}

impl Row {
    /// Where it stands among others: the last one wins.
    pub(crate) fn order(&self) -> (Hlc, OpId) {
        (self.hlc, self.id)
    }
}

/// What an edit is about.
pub(crate) fn about_text(target: &Target) -> Vec<u8> {
    match target {
        Target::Message(MessageRef { id, .. }) => about::message(&Reaction::names(id)),
        Target::Topic => vec![about::TOPIC],
        Target::Note(name) => about::note(name),
        Target::Draft(conversation) => about::draft(conversation),
    }
}

/// The rows of an op: what each is about, and whether it repeats what the op says. None for plain messages.
fn rows(op: &Op, content: &Content) -> Vec<(Vec<u8>, bool)> {
    match content {
        Content::Message(message) => {
            let mut rows = vec![(about::message(&Reaction::names(&op.id)), true)];
            rows.extend(message.answers.iter().map(|answered| (about::answers(&answered.id), false)));
            rows.extend(message.mentions().iter().map(|account| (about::mention(account, op.header.hlc), false)));
            if !message.files().is_empty() {
                rows.push((about::files(op.header.hlc), false));
            }
            rows.sort();
            rows.dedup();
            rows
        }
        Content::Edit(Edit { target, .. }) => vec![(about_text(target), true)],
        Content::Delete(delete) => vec![(about::message(&Reaction::names(&delete.message.id)), true)],
        Content::Restore(restore) => {
            let mut rows = vec![(about::message(&Reaction::names(&restore.message.id)), true)];
            if !restore.content.files().is_empty() {
                rows.push((about::files(restore.message.hlc), false));
            }
            rows
        }
        Content::Reaction(reaction) => vec![(about::message(&reaction.message), true)],
        Content::Set(set) => vec![(about::slot(&set.slot), true)],
        Content::Tag(Tag { set: TagSet::Pins, message, .. }) => vec![(about::pins(&message.id), true)],
        Content::Tag(Tag { set: TagSet::Hidden(conversation), message, .. }) => {
            vec![(about::hidden(conversation, &message.id), true)]
        }
        Content::Imported(imported) if imported.files.as_ref().is_some_and(|files| !files.is_empty()) => {
            vec![(about::message(&Reaction::names(&op.id)), true), (about::files(op.header.hlc), false)]
        }
        Content::Text(_) | Content::Title(_) | Content::Name(_) | Content::Imported(_) | Content::Unknown(_) => {
            Vec::new()
        }
    }
}

/// What a row repeats: the text of a message stands in its own row already.
fn repeated(content: &Content) -> Vec<u8> {
    let less = match content {
        Content::Message(message) => {
            let mut message = message.clone();
            message.text = String::new();
            Content::Message(message)
        }
        Content::Imported(imported) => {
            let mut imported = imported.clone();
            imported.text = String::new();
            Content::Imported(imported)
        }
        content => content.clone(),
    };
    // What was read within the limits can be written within them.
    less.to_padded().unwrap_or_default()
}

/// The rows of an op with their bytes.
fn written(op: &Op, content: &Content) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = rows(op, content);
    if rows.is_empty() {
        return Vec::new();
    }
    let bytes = repeated(content);
    rows.into_iter().map(|(about, repeats)| (about, if repeats { bytes.clone() } else { Vec::new() })).collect()
}

/// Writes the rows of an op; those that are there already stay as they are.
pub(crate) fn put(tx: &Transaction<'_>, n: i64, log: i64, op: &Op, content: &Content) -> Result<(), rusqlite::Error> {
    for (about, bytes) in written(op, content) {
        let mut statement = tx.prepare_cached(
            "INSERT OR REPLACE INTO beside (conversation, about, id, hlc, log, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute(params![n, about, op.id.as_bytes(), op.header.hlc.0 as i64, log, bytes])?;
    }
    Ok(())
}

/// Removes the rows of an op whose body goes.
pub(crate) fn remove(tx: &Transaction<'_>, n: i64, op: &Op, content: &Content) -> Result<(), rusqlite::Error> {
    for (about, _) in rows(op, content) {
        let mut statement =
            tx.prepare_cached("DELETE FROM beside WHERE conversation = ?1 AND about = ?2 AND id = ?3")?;
        statement.execute(params![n, about, op.id.as_bytes()])?;
    }
    Ok(())
}

/// How many rows an op has, and whether all of them are as they should be.
pub(crate) fn compare(conn: &Connection, arrival: u64, op: &Op, content: &Content) -> Result<(u64, bool), LogError> {
    let rows = written(op, content);
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM op o JOIN beside b ON b.conversation = o.conversation AND b.about = ?2 AND b.id = o.id \
         WHERE o.arrival = ?1 AND b.hlc = o.hlc AND b.log = o.log AND b.content = ?3",
    )?;
    let mut right = true;
    for (about, bytes) in &rows {
        right &= statement.exists(params![arrival as i64, about, bytes])?;
    }
    Ok((rows.len() as u64, right))
}

/// Whether an op changes how a message looks that stands elsewhere: where that is.
pub(crate) fn touches(content: &Content) -> Option<MessageRef> {
    match content {
        Content::Edit(Edit { target: Target::Message(message), .. }) => Some(*message),
        Content::Delete(delete) => Some(delete.message),
        Content::Restore(restore) => Some(restore.message),
        _ => None,
    }
}

fn read(row: &rusqlite::Row<'_>) -> Result<Option<Row>, LogError> {
    let damaged = |_| LogError::Damaged("a row beside a message".into());
    let bytes = |column| row.get_ref(column).map_err(|_| ()).and_then(|value| value.as_blob().map_err(|_| ()));
    let content = bytes(3).map_err(damaged)?;
    if content.is_empty() {
        return Ok(None);
    }
    Ok(Some(Row {
        id: OpId::try_from(bytes(0).map_err(damaged)?).map_err(|_| damaged(()))?,
        hlc: Hlc(row.get::<_, i64>(1)? as u64),
        device: DeviceId::try_from(bytes(2).map_err(damaged)?).map_err(|_| damaged(()))?,
        content: Content::from_padded(content).map_err(|_| damaged(()))?,
    }))
}

/// Everything about one thing, by (clock reading, id).
pub(crate) fn of(conn: &Connection, n: i64, about: &[u8]) -> Result<Vec<Row>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT b.id, b.hlc, l.author, b.content FROM beside b CROSS JOIN log l ON l.n = b.log \
         WHERE b.conversation = ?1 AND b.about = ?2",
    )?;
    let mut rows = statement.query(params![n, about])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(read(row)?);
    }
    found.sort_by_key(Row::order);
    Ok(found)
}

/// Everything about things whose names begin so, by name, then by (clock reading, id). Cost: what is found.
pub(crate) fn beginning(conn: &Connection, n: i64, about: &[u8]) -> Result<Vec<(Vec<u8>, Row)>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT b.id, b.hlc, l.author, b.content, b.about FROM beside b CROSS JOIN log l ON l.n = b.log \
         WHERE b.conversation = ?1 AND b.about >= ?2 \
         AND b.about < ?3",
    )?;
    let mut rows = statement.query(params![n, about, end(about)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(read) = read(row)? {
            found.push((row.get(4)?, read));
        }
    }
    found.sort_by(|(a, x), (b, y)| (a, x.order()).cmp(&(b, y.order())));
    Ok(found)
}

/// Ops that stand beside things whose names begin so, oldest first, without what they say.
pub(crate) fn ids(conn: &Connection, n: i64, about: &[u8]) -> Result<Vec<MessageRef>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, hlc FROM beside WHERE conversation = ?1 AND about >= ?2 AND about < ?3 ORDER BY hlc, id",
    )?;
    let mut rows = statement.query(params![n, about, end(about)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(MessageRef { id: OpId(row.get(0)?), hlc: Hlc(row.get::<_, i64>(1)? as u64) });
    }
    Ok(found)
}

/// How many ops stand beside one thing.
pub(crate) fn count(conn: &Connection, n: i64, about: &[u8]) -> Result<u64, LogError> {
    let mut statement = conn.prepare_cached("SELECT count(*) FROM beside WHERE conversation = ?1 AND about = ?2")?;
    Ok(statement.query_row(params![n, about], |row| row.get::<_, i64>(0))? as u64)
}

/// The name right after all that begin so.
fn end(about: &[u8]) -> Vec<u8> {
    let mut end = about.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Names begin with a letter, so this is not reached by any of them.
    vec![u8::MAX; 2]
}

/// The number that rows name a conversation by.
pub(crate) fn number(conn: &Connection, conversation: &ConversationId) -> Result<Option<i64>, LogError> {
    use rusqlite::OptionalExtension as _;
    let mut statement = conn.prepare_cached("SELECT n FROM conversation WHERE id = ?1")?;
    Ok(statement.query_row([conversation.as_bytes()], |row| row.get(0)).optional()?)
}
