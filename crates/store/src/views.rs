//! The fold: how an op changes what people see.
//!
//! Responsible for: rows of messages, titles and names; equal imports counting once; late marks; the seen frontier.
//! Not here: reading the rows (`read.rs`), rebuilding them (`check.rs`), the tables (`schema.rs`).
//!
//! Rules that do not depend on the order of arrival: a message's row is a function of its op; title and name are those of
//! the greatest (hlc, id); of several imports with one source key the one with the smallest (hlc, id) is shown. Ops may be
//! given twice (a repaired op is): the rows stay the same.

use crate::Place;
use crate::read::{KIND_NEWER, KIND_SEALED, KIND_TEXT};
use rusqlite::{OptionalExtension, Transaction, params};
use std::fmt;
use tombolo_model::content::{Content, Imported};
use tombolo_model::{Class, ConversationId, DeviceId, Hlc, Op, OpId};
use tombolo_oplog::{Delivered, Fold, LogError, Reader};

/// Opens sealed bodies. The client gives one in; this crate holds no keys.
pub trait Opener: Send {
    /// What an op of class content says; `None` when it cannot be read (yet): no body, no key, or not as any version
    /// writes it.
    fn open(&self, op: &Op) -> Option<Content>;
}

/// Folds delivered ops into the tables of the views.
pub struct Views {
    opener: Box<dyn Opener>,
    own: DeviceId,
    now_ms: u64,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("own", &self.own).field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

/// How a message's late mark comes about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// By what has been seen.
    Judge {
        /// The local device has just written it: it has seen everything up to there.
        written: bool,
    },
    /// As it was.
    Keep { late: i64, came_ms: Option<i64> },
}

impl Views {
    /// Views of the device `own`.
    #[must_use]
    pub fn new(opener: Box<dyn Opener>, own: DeviceId) -> Self {
        Self { opener, own, now_ms: 0 }
    }

    /// Sets the wall clock (**milliseconds** since 1970) that late messages get as the time at which they came. To be
    /// called before ops are stored; 0 = not known.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The device whose views these are.
    #[must_use]
    pub fn own(&self) -> DeviceId {
        self.own
    }

    /// What an op says; `None` when it cannot be read.
    #[must_use]
    pub fn open(&self, op: &Op) -> Option<Content> {
        if op.header.class == Class::Content && op.body.is_some() { self.opener.open(op) } else { None }
    }

    /// Where an op stands in display order, so that an id can be used as a cursor. `None` when it is not held.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn place_of(
        &self,
        reader: &Reader,
        conversation: &ConversationId,
        id: &OpId,
    ) -> Result<Option<Place>, LogError> {
        Ok(reader.op(conversation, id)?.map(|op| match self.open(&op) {
            Some(Content::Imported(imported)) => Place::imported(imported.time_ms, op.header.hlc, op.id),
            _ => Place::native(op.header.hlc, op.id),
        }))
    }

    /// Reads again whatever was sealed when it came, e.g. because its key was not here yet. Returns how many messages
    /// could be read now. Cost: all messages of the conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite: the batch is to be given up.
    pub fn reopen(
        &mut self,
        reader: &Reader,
        tx: &Transaction<'_>,
        conversation: &ConversationId,
    ) -> Result<usize, LogError> {
        let sealed: Vec<(u64, Vec<u8>)> = {
            let mut statement = tx.prepare_cached(
                "SELECT arrival, id FROM message WHERE kind = 1 AND section = 1 \
                 AND conversation = (SELECT n FROM conversation WHERE id = ?1)",
            )?;
            let rows = statement
                .query_map([conversation.as_bytes()], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut opened = 0;
        for (arrival, id) in sealed {
            let id = OpId::try_from(id.as_slice()).map_err(|_| LogError::Damaged("id of a message".into()))?;
            let Some(op) = reader.op(conversation, &id)? else { continue };
            if self.open(&op).is_some() {
                self.fold_again(tx, &op, arrival)?;
                opened += 1;
            }
        }
        Ok(opened)
    }

    /// Folds one delivered op.
    pub(crate) fn fold(&self, tx: &Transaction<'_>, op: &Op, arrival: u64, mark: Mark) -> Result<(), rusqlite::Error> {
        if op.header.class != Class::Content {
            return Ok(());
        }
        match self.open(op) {
            Some(Content::Text(text)) => {
                self.put_message(tx, op, arrival, KIND_TEXT, &text, mark)?;
                if let Mark::Judge { written: true } = mark {
                    raise_seen_to(tx, arrival)?;
                }
                Ok(())
            }
            Some(Content::Unknown(_)) => self.put_message(tx, op, arrival, KIND_NEWER, "", mark),
            Some(Content::Imported(imported)) => put_imported(tx, op, arrival, &imported),
            Some(Content::Title(title)) => put_title(tx, op, arrival, &title),
            Some(Content::Name(name)) => put_name(tx, op, arrival, &name),
            None => self.put_message(tx, op, arrival, KIND_SEALED, "", mark),
        }
    }

    /// Folds an op whose row says "sealed", keeping its late mark.
    fn fold_again(&self, tx: &Transaction<'_>, op: &Op, arrival: u64) -> Result<(), rusqlite::Error> {
        let mut statement = tx.prepare_cached(
            "DELETE FROM message WHERE conversation = (SELECT conversation FROM op WHERE arrival = ?1) \
             AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3 RETURNING late, came_ms",
        )?;
        let kept = statement
            .query_row(params![arrival as i64, op.header.hlc.0 as i64, op.id.as_bytes()], |row| {
                Ok(Mark::Keep { late: row.get(0)?, came_ms: row.get(1)? })
            })
            .optional()?;
        self.fold(tx, op, arrival, kept.unwrap_or(Mark::Judge { written: false }))
    }

    /// One statement per message: numbers come from the op's own row, which was written just before.
    fn put_message(
        &self,
        tx: &Transaction<'_>,
        op: &Op,
        arrival: u64,
        kind: i64,
        text: &str,
        mark: Mark,
    ) -> Result<(), rusqlite::Error> {
        let (judged, late, came_ms) = match mark {
            // What this device wrote itself is never late for it.
            Mark::Judge { .. } => (op.header.author != self.own, 0, None),
            Mark::Keep { late, came_ms } => (false, late, came_ms),
        };
        let mut statement = tx.prepare_cached(
            "INSERT INTO message (conversation, section, at, sub, id, arrival, log, kind, late, came_ms, text) \
             SELECT o.conversation, 1, o.hlc, 0, o.id, o.arrival, o.log, ?2, \
             CASE WHEN s.at IS NULL THEN ?5 ELSE 1 END, CASE WHEN s.at IS NULL THEN ?6 ELSE ?7 END, ?3 \
             FROM op o LEFT JOIN seen s ON ?4 AND s.conversation = o.conversation AND (o.hlc, o.id) < (s.at, s.id) \
             WHERE o.arrival = ?1 \
             ON CONFLICT (conversation, section, at, sub, id) DO UPDATE SET \
             arrival = excluded.arrival, log = excluded.log, kind = excluded.kind, text = excluded.text",
        )?;
        statement.execute(params![arrival as i64, kind, text, judged, late, came_ms, self.now_ms as i64])?;
        Ok(())
    }
}

impl Fold for Views {
    fn deliver(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        self.fold(tx, delivered.op, delivered.arrival, Mark::Judge { written: delivered.own })
    }

    fn body(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        self.fold_again(tx, delivered.op, delivered.arrival)
    }
}

/// Notes that this person has been shown the places from `from` to `to`, both included: the seen frontier rises to `to`
/// (it never falls), and late messages between them are no longer unread. Says whether anything changed.
///
/// # Errors
/// Of SQLite: the batch is to be given up.
pub fn mark_seen(
    tx: &Transaction<'_>,
    conversation: &ConversationId,
    from: &Place,
    to: &Place,
) -> Result<bool, rusqlite::Error> {
    use crate::Section::Native;
    if to.section != Native {
        return Ok(false);
    }
    let (from_at, from_id) = if from.section == Native { (from.at, from.id) } else { (0, OpId::ZERO) };
    let mut raise = tx.prepare_cached(
        "INSERT INTO seen (conversation, at, id) SELECT n, ?2, ?3 FROM conversation WHERE id = ?1 \
         ON CONFLICT (conversation) DO UPDATE SET at = excluded.at, id = excluded.id \
         WHERE (excluded.at, excluded.id) > (seen.at, seen.id)",
    )?;
    let raised = raise.execute(params![conversation.as_bytes(), to.at as i64, to.id.as_bytes()])?;
    let mut shown = tx.prepare_cached(
        "UPDATE message SET late = 2 WHERE late = 1 AND conversation = (SELECT n FROM conversation WHERE id = ?1) \
         AND section = 1 AND at BETWEEN ?2 AND ?4 AND (at, id) >= (?2, ?3) AND (at, id) <= (?4, ?5)",
    )?;
    let shown = shown.execute(params![
        conversation.as_bytes(),
        from_at as i64,
        from_id.as_bytes(),
        to.at as i64,
        to.id.as_bytes()
    ])?;
    Ok(raised + shown > 0)
}

/// What this device has just written, it has seen, with everything below.
fn raise_seen_to(tx: &Transaction<'_>, arrival: u64) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO seen (conversation, at, id) SELECT conversation, hlc, id FROM op WHERE arrival = ?1 \
         ON CONFLICT (conversation) DO UPDATE SET at = excluded.at, id = excluded.id \
         WHERE (excluded.at, excluded.id) > (seen.at, seen.id)",
    )?;
    statement.execute([arrival as i64])?;
    Ok(())
}

fn put_title(tx: &Transaction<'_>, op: &Op, arrival: u64, title: &str) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO title (conversation, title, hlc, id) SELECT conversation, ?2, ?3, ?4 FROM op WHERE arrival = ?1 \
         ON CONFLICT (conversation) DO UPDATE SET title = excluded.title, hlc = excluded.hlc, id = excluded.id \
         WHERE (excluded.hlc, excluded.id) > (title.hlc, title.id)",
    )?;
    statement.execute(params![arrival as i64, title, op.header.hlc.0 as i64, op.id.as_bytes()])?;
    Ok(())
}

fn put_name(tx: &Transaction<'_>, op: &Op, arrival: u64, name: &str) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO name (conversation, device, name, hlc, id) \
         SELECT conversation, ?5, ?2, ?3, ?4 FROM op WHERE arrival = ?1 \
         ON CONFLICT (conversation, device) DO UPDATE SET name = excluded.name, hlc = excluded.hlc, id = excluded.id \
         WHERE (excluded.hlc, excluded.id) > (name.hlc, name.id)",
    )?;
    let (hlc, author) = (op.header.hlc.0 as i64, op.header.author.as_bytes());
    statement.execute(params![arrival as i64, name, hlc, op.id.as_bytes(), author])?;
    Ok(())
}

fn put_imported(tx: &Transaction<'_>, op: &Op, arrival: u64, imported: &Imported) -> Result<(), rusqlite::Error> {
    if insert_imported(tx, op, arrival, imported)? {
        return Ok(());
    }
    // The key is taken. The op that was written first by (hlc, id) is shown; this one, if it is the same, moves its row
    // to the arrival that it has now.
    let mut statement = tx.prepare_cached(
        "DELETE FROM message WHERE source_key = ?2 AND conversation = (SELECT conversation FROM op WHERE arrival = ?1) \
         AND (sub, id) >= (?3, ?4)",
    )?;
    let hlc = Place::imported(imported.time_ms, op.header.hlc, op.id).sub as i64;
    if statement.execute(params![arrival as i64, imported.source_key, hlc, op.id.as_bytes()])? > 0 {
        insert_imported(tx, op, arrival, imported)?;
    }
    Ok(())
}

/// Says whether the key was free.
fn insert_imported(tx: &Transaction<'_>, op: &Op, arrival: u64, imported: &Imported) -> Result<bool, rusqlite::Error> {
    let place = Place::imported(imported.time_ms, Hlc(op.header.hlc.0), op.id);
    let mut statement = tx.prepare_cached(
        "INSERT INTO message \
         (conversation, section, at, sub, id, arrival, log, kind, late, source_key, who, text) \
         SELECT o.conversation, 0, ?2, ?3, o.id, o.arrival, o.log, 0, 0, ?4, ?5, ?6 FROM op o WHERE o.arrival = ?1 \
         ON CONFLICT DO NOTHING",
    )?;
    let inserted = statement.execute(params![
        arrival as i64,
        place.at as i64,
        place.sub as i64,
        imported.source_key,
        imported.who,
        imported.text
    ])?;
    Ok(inserted > 0)
}
