//! What is left of messages whose bodies went, and letting go of old ones.
//!
//! An erased message leaves a stand-in where an op that erases it and may says that it was a message; an expired or pruned
//! one leaves nothing. Of an erased op nothing else tells what it was: edits and reactions leave no stand-in. Where the
//! title, a name or an imported line goes, the next best of those that are here takes its place.
//! Not here: rights and bodies (`tombolo_oplog`), rows of messages that are here (`views.rs`).

use crate::beside::{self, about};
use crate::read::{KIND_DELETED, KIND_SEALED};
use crate::views::{Mark, Numbers, Views, place_of_import};
use crate::{Place, search};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tombolo_model::content::{Content, Imported, MessageRef, Reaction};
use tombolo_model::{Class, ConversationId, Hlc, Op, OpId};
use tombolo_oplog::{Batch, Gone, LogError, Lost, Reader, State, Step, arrival_of, erasers, gone_at, op_at};

pub(crate) const STEP: Step = Step {
    why: "When what is shown goes, the next best must be found: titles, names, and imported lines that count once.",
    sql: "
-- about: 't' title, 'n' and a device, 'i' and a source key. Of titles and names every op, of equal imported lines those
-- that are not shown.
CREATE TABLE candidate (
    conversation INTEGER NOT NULL, about BLOB NOT NULL, hlc INTEGER NOT NULL, id BLOB NOT NULL, arrival INTEGER NOT NULL,
    PRIMARY KEY (conversation, about, hlc, id)) STRICT, WITHOUT ROWID;
",
};

/// Errors of the log inside a fold, which knows those of SQLite alone.
fn sql(error: LogError) -> rusqlite::Error {
    match error {
        LogError::Sql(error) => error,
        other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
    }
}

/// What candidates are for.
pub(crate) enum For<'a> {
    Title,
    /// The name of the op's author.
    Name,
    /// The message with this source key.
    Line(&'a [u8; 16]),
}

impl For<'_> {
    fn about(&self, op: &Op) -> Vec<u8> {
        match self {
            Self::Title => vec![b't'],
            Self::Name => [&b"n"[..], &op.header.author.0].concat(),
            Self::Line(key) => [&b"i"[..], &key[..]].concat(),
        }
    }
}

/// Remembers an op that may be shown should another one go.
pub(crate) fn list(tx: &Transaction<'_>, op: &Op, numbers: Numbers, is: &For<'_>) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT OR REPLACE INTO candidate (conversation, about, hlc, id, arrival) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let (hlc, id) = (op.header.hlc.0 as i64, op.id.as_bytes());
    statement.execute(params![numbers.conversation(), is.about(op), hlc, id, numbers.arrival() as i64])?;
    Ok(())
}

/// The same for the message of a key that gives way to another one: by its place and arrival.
pub(crate) fn list_line(
    tx: &Transaction<'_>,
    n: i64,
    key: &[u8; 16],
    (sub, id, arrival): (i64, Vec<u8>, i64),
) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT OR REPLACE INTO candidate (conversation, about, hlc, id, arrival) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    statement.execute(params![n, [&b"i"[..], &key[..]].concat(), sub, id, arrival])?;
    Ok(())
}

fn unlist(tx: &Transaction<'_>, op: &Op, n: i64, is: &For<'_>) -> Result<(), rusqlite::Error> {
    let mut statement =
        tx.prepare_cached("DELETE FROM candidate WHERE conversation = ?1 AND about = ?2 AND hlc = ?3 AND id = ?4")?;
    statement.execute(params![n, is.about(op), op.header.hlc.0 as i64, op.id.as_bytes()])?;
    Ok(())
}

/// The kind of row that an op without a body gets; `None` = none.
pub(crate) fn kind_without_body(
    tx: &Transaction<'_>,
    op: &Op,
    numbers: Numbers,
) -> Result<Option<i64>, rusqlite::Error> {
    kind(tx, numbers.conversation(), numbers.arrival(), op).map_err(sql)
}

/// The kind of row that it must have.
pub(crate) fn expected(conn: &Connection, arrival: u64, op: &Op) -> Result<Option<i64>, LogError> {
    let mut statement = conn.prepare_cached("SELECT conversation FROM op WHERE arrival = ?1")?;
    let n = statement.query_row([arrival as i64], |row| row.get(0))?;
    kind(conn, n, arrival, op)
}

fn kind(conn: &Connection, n: i64, arrival: u64, op: &Op) -> Result<Option<i64>, LogError> {
    match gone_at(conn, arrival)? {
        None => Ok(Some(KIND_SEALED)),
        Some(Gone::Erased) => Ok(is_deleted(conn, n, op)?.then_some(KIND_DELETED)),
        Some(Gone::Expired | Gone::Pruned) => Ok(None),
    }
}

/// Whether one of the ops that erase this one says that it deletes it as a message. One that names it with another clock
/// reading erases it all the same, and does not count as its deletion: see `facets.rs`.
fn is_deleted(conn: &Connection, n: i64, op: &Op) -> Result<bool, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT content FROM beside WHERE conversation = ?1 AND about = ?2 AND id = ?3")?;
    let name = about::message(&Reaction::names(&op.id));
    for eraser in erasers(conn, n, &op.conversation(), &op.id)? {
        let said: Option<Vec<u8>> =
            statement.query_row(params![n, name, eraser.as_bytes()], |row| row.get(0)).optional()?;
        if let Some(Ok(Content::Delete(delete))) = said.map(|said| Content::from_padded(&said))
            && delete.message == (MessageRef { hlc: op.header.hlc, id: op.id })
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Views {
    /// Removes what was made of an op whose body goes, and puts what is left of it.
    pub(crate) fn let_go(&mut self, tx: &Transaction<'_>, op: &Op, numbers: Numbers) -> Result<(), rusqlite::Error> {
        self.write(tx)?;
        let n = numbers.conversation();
        let content = self.open(op);
        let stood = match &content {
            Some(Content::Imported(imported)) => place_of_import(op, imported),
            _ => Place::native(op.header.hlc, op.id),
        };
        search::forget(tx, n, &stood)?;
        if let Some(content) = &content {
            beside::remove(tx, n, op, content)?;
        }
        match &content {
            Some(Content::Title(_)) => self.next_best(tx, op, n, &For::Title)?,
            Some(Content::Name(_)) => self.next_best(tx, op, n, &For::Name)?,
            Some(Content::Imported(Imported { source_key, .. })) => {
                self.next_best(tx, op, n, &For::Line(source_key))?;
            }
            // With what it says goes what stood in for the message that it deleted.
            Some(Content::Delete(delete)) => self.stand_in(tx, n, &delete.message.id)?,
            _ => {}
        }
        let place = params![n, op.header.hlc.0 as i64, op.id.as_bytes()];
        match kind_without_body(tx, op, numbers)? {
            Some(KIND_DELETED) => {
                let mut statement = tx.prepare_cached(
                    "UPDATE message SET kind = 3, text = '' WHERE conversation = ?1 AND section = 1 AND at = ?2 \
                     AND sub = 0 AND id = ?3",
                )?;
                if statement.execute(place)? == 0 {
                    self.put_stand_in(tx, op, numbers)?;
                }
            }
            _ => {
                let mut statement = tx.prepare_cached(
                    "DELETE FROM message WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3",
                )?;
                statement.execute(place)?;
            }
        }
        self.write(tx)
    }

    fn put_stand_in(&mut self, tx: &Transaction<'_>, op: &Op, numbers: Numbers) -> Result<(), rusqlite::Error> {
        self.put_message(tx, op, numbers, (KIND_DELETED, String::new()), Mark::Judge { written: false })
    }

    /// A deletion has come or gone: looks again whether a stand-in is shown for the message that it names.
    pub(crate) fn stand_in(&mut self, tx: &Transaction<'_>, n: i64, id: &OpId) -> Result<(), rusqlite::Error> {
        let Some(arrival) = arrival_of(tx, n, id).map_err(sql)? else { return Ok(()) };
        if gone_at(tx, arrival)? != Some(Gone::Erased) {
            return Ok(());
        }
        let Some((op, State::Delivered)) = op_at(tx, arrival).map_err(sql)? else { return Ok(()) };
        if op.header.class != Class::Content {
            return Ok(());
        }
        if is_deleted(tx, n, &op).map_err(sql)? {
            return self.put_stand_in(tx, &op, Numbers::read(tx, arrival)?);
        }
        self.write(tx)?;
        let mut statement = tx.prepare_cached(
            "DELETE FROM message WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3 AND kind = 3",
        )?;
        statement.execute(params![n, op.header.hlc.0 as i64, op.id.as_bytes()])?;
        Ok(())
    }

    /// Takes an op out of what is shown of a title, a name or an imported line, and shows the next best.
    fn next_best(&mut self, tx: &Transaction<'_>, op: &Op, n: i64, is: &For<'_>) -> Result<(), rusqlite::Error> {
        unlist(tx, op, n, is)?;
        let id = op.id.as_bytes();
        let removed = match is {
            For::Title => {
                tx.prepare_cached("DELETE FROM title WHERE conversation = ?1 AND id = ?2")?.execute(params![n, id])?
            }
            For::Name => tx
                .prepare_cached("DELETE FROM name WHERE conversation = ?1 AND id = ?2 AND device = ?3")?
                .execute(params![n, id, op.header.author.as_bytes()])?,
            For::Line(key) => tx
                .prepare_cached("DELETE FROM message WHERE conversation = ?1 AND source_key = ?2 AND id = ?3")?
                .execute(params![n, key, id])?,
        };
        if removed == 0 {
            return Ok(());
        }
        // Of lines the first counts, of titles and names the last.
        let order = if matches!(is, For::Line(_)) { "hlc, id" } else { "hlc DESC, id DESC" };
        let next: Option<i64> = tx
            .prepare_cached(&format!(
                "SELECT arrival FROM candidate WHERE conversation = ?1 AND about = ?2 ORDER BY {order} LIMIT 1"
            ))?
            .query_row(params![n, is.about(op)], |row| row.get(0))
            .optional()?;
        let Some(arrival) = next else { return Ok(()) };
        let Some((next, _)) = op_at(tx, arrival as u64).map_err(sql)? else { return Ok(()) };
        if let For::Line(_) = is {
            unlist(tx, &next, n, is)?;
        }
        let mark = Mark::Keep { late: 0, came_ms: None };
        self.fold(tx, &next, Numbers::read(tx, arrival as u64)?, mark)
    }
}

/// Lets go of messages that are shown as older than `before_ms` (**milliseconds** since 1970), with what stands beside
/// them: at most about `limit` messages. Returns whose bodies went; nothing = all of them have gone.
///
/// # Errors
/// [`LogError`]: the batch is to be given up.
pub fn prune(
    views: &mut Views,
    batch: &mut Batch<'_>,
    conversation: &ConversationId,
    before_ms: u64,
    limit: usize,
) -> Result<Vec<Lost>, LogError> {
    let mut arrivals = Vec::new();
    let mut messages = 0;
    {
        let reader = batch.reads()?;
        let conn = reader.connection()?;
        let Some(n) = beside::number(conn, conversation)? else { return Ok(Vec::new()) };
        let mut statement = conn.prepare_cached(
            "SELECT arrival, id FROM message WHERE conversation = ?1 AND section = ?2 AND at < ?3 \
             ORDER BY at, sub, id LIMIT ?4",
        )?;
        let mut beside_it = conn.prepare_cached("SELECT id FROM beside WHERE conversation = ?1 AND about = ?2")?;
        let before = Hlc::new(before_ms, 0).0.min(i64::MAX as u64) as i64;
        for section in [0, 1] {
            let room = limit.saturating_sub(messages) as i64;
            let mut rows = statement.query(params![n, section, before, room])?;
            while let Some(row) = rows.next()? {
                messages += 1;
                arrivals.push(row.get::<_, i64>(0)? as u64);
                let name = about::message(&Reaction::names(&OpId(row.get(1)?)));
                let mut others = beside_it.query(params![n, name])?;
                while let Some(other) = others.next()? {
                    arrivals.extend(arrival_of(conn, n, &OpId(other.get(0)?))?);
                }
            }
        }
    }
    arrivals.sort_unstable();
    arrivals.dedup();
    batch.prune(conversation, &arrivals, messages as u64, before_ms, views)
}

/// What a conversation takes on this device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages that are shown.
    pub messages: u64,
    /// The oldest and the newest of them, **milliseconds** since 1970; 0 without any.
    pub oldest_ms: u64,
    /// See above.
    pub newest_ms: u64,
    /// Ops, with or without bodies.
    pub ops: u64,
    /// **Bytes** of the bodies that are held.
    pub body_bytes: u64,
    /// **Bytes** of the texts that are shown.
    pub text_bytes: u64,
}

/// What a conversation takes on this device. Cost: all its ops and messages.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn usage(reader: &Reader, conversation: &ConversationId) -> Result<Usage, LogError> {
    let Some(row) = reader.conversation(conversation)? else { return Ok(Usage::default()) };
    let (body_bytes, _) = reader.held_bytes(conversation)?;
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT count(*), coalesce(min(at), 0), coalesce(max(at), 0), \
         coalesce(sum(length(CAST(text AS BLOB))), 0) FROM message \
         WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)",
    )?;
    Ok(statement.query_row([conversation.as_bytes()], |found| {
        let time_ms = |column| Ok::<_, rusqlite::Error>(Hlc(found.get::<_, i64>(column)? as u64).ms());
        Ok(Usage {
            messages: found.get::<_, i64>(0)? as u64,
            oldest_ms: time_ms(1)?,
            newest_ms: time_ms(2)?,
            ops: row.ops,
            body_bytes,
            text_bytes: found.get::<_, i64>(3)? as u64,
        })
    })?)
}
