//! Rebuilding the views from the log, and comparing what a rebuild would give with what is there.
//!
//! Both walk all ops once, in the order of arrival (the fold's rules do not depend on it), and need memory only for what
//! is not delivered, for late marks, and for titles and names. Not here: the log's own checks (`tombolo_oplog`).

use crate::read::{KIND_NEWER, KIND_SEALED, KIND_TEXT};
use crate::views::{Mark, Numbers, Views};
use crate::{Place, beside, gone};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::Content;
use tombolo_model::{Class, ConversationId, DeviceId, Hlc, Op, OpId};
use tombolo_oplog::{ArrivalQuery, Batch, LogError, Reader, State};

/// Ops read at once.
const OPS_AT_ONCE: usize = 2_048;
/// **Bytes** read at once.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Differences that are named; a damaged table may have millions.
const NAMED_MAX: usize = 100;

/// A row that is not as a rebuild would make it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// A message is missing or shows something else than its op says.
    Message(ConversationId, OpId),
    /// Messages are shown that no op says, this many.
    Surplus(ConversationId, u64),
    /// What an op says beside a message is missing or another.
    Beside(ConversationId, OpId),
    /// Beside messages stands what no op says, this many rows.
    BesideSurplus(ConversationId, u64),
    /// The title is another one.
    Title(ConversationId),
    /// A device's name is another one.
    Name(ConversationId, DeviceId),
}

/// Drops all views and folds the log once more, inside the batch. Late marks and the seen frontier stay as they are.
/// `progress` is called with (done, total) in ops.
///
/// # Errors
/// [`LogError`] of SQLite: the batch is to be given up, and the views stay as they were.
pub fn rebuild(views: &mut Views, batch: &mut Batch<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), LogError> {
    let reader = batch.reads()?;
    let tx = batch.transaction()?;
    let late = late_marks(tx)?;
    views.spoken.clear();
    tx.execute_batch(
        "DELETE FROM message; DELETE FROM title; DELETE FROM name; DELETE FROM beside; DELETE FROM candidate;",
    )?;
    crate::search::clear(tx)?;
    walk(reader, progress, &mut |arrival, op| {
        let mark = late.get(&(op.conversation(), op.id)).copied().unwrap_or(Mark::Keep { late: 0, came_ms: None });
        views.fold(tx, op, Numbers::read(tx, arrival)?, mark)?;
        Ok(views.write(tx)?)
    })
}

/// Compares every row with what its op says and names what differs (at most a hundred rows). Empty = rebuilt equals
/// live. To be run on one state: inside `Reader::snapshot` or before anything else writes.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn compare(views: &Views, reader: &Reader, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Mismatch>, LogError> {
    let conn = reader.connection()?;
    let mut expected = Expected::default();
    walk(reader, progress, &mut |arrival, op| expected.look_at(conn, views, arrival, op))?;
    expected.finish(reader, conn)
}

type LateMarks = BTreeMap<(ConversationId, OpId), Mark>;

fn late_marks(conn: &Connection) -> Result<LateMarks, LogError> {
    let mut statement = conn.prepare(
        "SELECT c.id, m.id, m.late, m.came_ms FROM message m JOIN conversation c ON c.n = m.conversation \
         WHERE m.late <> 0",
    )?;
    let mut rows = statement.query([])?;
    let mut late = LateMarks::new();
    while let Some(row) = rows.next()? {
        let key = (ConversationId(row.get(0)?), OpId(row.get(1)?));
        late.insert(key, Mark::Keep { late: row.get(2)?, came_ms: row.get(3)? });
    }
    Ok(late)
}

/// Calls `each` with every delivered op that may change a view.
fn walk(
    reader: &Reader,
    progress: &mut dyn FnMut(u64, u64),
    each: &mut dyn FnMut(u64, &Op) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let conversations = reader.conversations()?;
    let total: u64 = conversations.iter().map(|row| row.ops).sum();
    let mut undelivered = BTreeSet::new();
    for row in conversations.iter().filter(|row| row.ops > 0) {
        for state in [State::Pending, State::Early, State::Void] {
            undelivered.extend(reader.in_state(&row.id, state)?.into_iter().map(|id| (row.id, id)));
        }
    }
    let conversations: Vec<(ConversationId, u64)> = conversations.iter().map(|row| (row.id, 0)).collect();
    let (mut after, mut done) = (0, 0);
    loop {
        progress(done, total);
        let ops = reader.arrivals(&ArrivalQuery {
            after,
            through: u64::MAX,
            conversations: &conversations,
            not_from: None,
            limit_ops: OPS_AT_ONCE,
            limit_bytes: BYTES_AT_ONCE,
        })?;
        let Some((last, _)) = ops.last() else { return Ok(()) };
        after = *last;
        done += ops.len() as u64;
        for (arrival, op) in &ops {
            if op.header.class == Class::Content && !undelivered.contains(&(op.conversation(), op.id)) {
                each(*arrival, op)?;
            }
        }
    }
}

/// What a rebuild would give, as far as it is not compared row by row.
#[derive(Default)]
struct Expected {
    mismatches: BTreeSet<Mismatch>,
    /// Rows that were found as they should be, or missed and named.
    rows: BTreeMap<ConversationId, u64>,
    /// Rows that ops have beside messages.
    beside: BTreeMap<ConversationId, u64>,
    titles: BTreeMap<ConversationId, (Hlc, OpId, String)>,
    names: BTreeMap<(ConversationId, DeviceId), (Hlc, OpId, String)>,
}

impl Expected {
    fn name(&mut self, mismatch: Mismatch) {
        if self.mismatches.len() < NAMED_MAX {
            self.mismatches.insert(mismatch);
        }
    }

    fn count(&mut self, conversation: ConversationId) {
        *self.rows.entry(conversation).or_default() += 1;
    }

    fn look_at(&mut self, conn: &Connection, views: &Views, arrival: u64, op: &Op) -> Result<(), LogError> {
        let conversation = op.conversation();
        let version = |text| (op.header.hlc, op.id, text);
        let content = views.open(op);
        if let Some(content) = &content {
            let (count, right) = beside::compare(conn, arrival, op, content)?;
            *self.beside.entry(conversation).or_default() += count;
            if !right {
                self.name(Mismatch::Beside(conversation, op.id));
            }
        }
        let (kind, text) = match content {
            Some(Content::Title(title)) => {
                keep_greatest(&mut self.titles, conversation, version(title));
                return Ok(());
            }
            Some(Content::Name(name)) => {
                keep_greatest(&mut self.names, (conversation, op.header.author), version(name));
                return Ok(());
            }
            Some(Content::Imported(imported)) => {
                let place = Place::imported(imported.time_ms, imported.rank, op.header.hlc, op.id);
                let mut statement = conn.prepare_cached(
                    "SELECT m.sub, m.id, m.at = ?3 AND m.who = ?4 AND m.text = ?5 AND m.kind = 0 AND m.late = 0 \
                     AND m.section = 0 AND m.arrival = o.arrival AND m.log = o.log \
                     FROM op o JOIN message m ON m.conversation = o.conversation AND m.source_key = ?2 \
                     WHERE o.arrival = ?1",
                )?;
                let (who, text) = (&imported.who, &imported.text);
                let found: Option<(i64, Vec<u8>, bool)> = statement
                    .query_row(params![arrival as i64, imported.source_key, place.at as i64, who, text], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()?;
                let own = (place.sub as i64, op.id.as_bytes());
                match found {
                    // An earlier op of the same key is shown.
                    Some((sub, id, _)) if (sub, id.as_slice()) < own => {}
                    Some((sub, id, true)) if (sub, id.as_slice()) == own => self.count(conversation),
                    _ => self.name(Mismatch::Message(conversation, op.id)),
                }
                return Ok(());
            }
            Some(
                Content::Edit(_)
                | Content::Delete(_)
                | Content::Restore(_)
                | Content::Reaction(_)
                | Content::Set(_)
                | Content::Tag(_),
            ) => return Ok(()),
            Some(Content::Message(message)) => (KIND_TEXT, message.text),
            Some(Content::Text(text)) => (KIND_TEXT, text),
            Some(Content::Unknown(_)) => (KIND_NEWER, String::new()),
            None if op.body.is_none() => match gone::expected(conn, arrival, op)? {
                Some(kind) => (kind, String::new()),
                None => return Ok(()),
            },
            None => (KIND_SEALED, String::new()),
        };
        let mut statement = conn.prepare_cached(
            "SELECT 1 FROM op o JOIN message m ON m.conversation = o.conversation AND m.section = 1 AND m.at = o.hlc \
             AND m.sub = 0 AND m.id = o.id WHERE o.arrival = ?1 AND m.arrival = o.arrival AND m.log = o.log \
             AND m.kind = ?2 AND m.text = ?3 AND m.who IS NULL AND m.source_key IS NULL",
        )?;
        if statement.exists(params![arrival as i64, kind, text])? {
            self.count(conversation);
        } else {
            self.name(Mismatch::Message(conversation, op.id));
        }
        Ok(())
    }

    fn finish(mut self, reader: &Reader, conn: &Connection) -> Result<Vec<Mismatch>, LogError> {
        let mut statement = conn.prepare(
            "SELECT c.id, count(*) FROM message m LEFT JOIN conversation c ON c.n = m.conversation \
             GROUP BY m.conversation",
        )?;
        let mut rows = statement.query([])?;
        let wrong: BTreeSet<ConversationId> = self
            .mismatches
            .iter()
            .filter_map(|mismatch| match mismatch {
                Mismatch::Message(conversation, _) => Some(*conversation),
                _ => None,
            })
            .collect();
        while let Some(row) = rows.next()? {
            let conversation = ConversationId(row.get::<_, Option<[u8; 16]>>(0)?.unwrap_or_default());
            let shown = row.get::<_, i64>(1)? as u64;
            let expected = self.rows.get(&conversation).copied().unwrap_or(0);
            // Where single rows are wrong already, their number says nothing more.
            if shown > expected && !wrong.contains(&conversation) {
                self.name(Mismatch::Surplus(conversation, shown - expected));
            }
        }
        let mut statement = conn.prepare(
            "SELECT c.id, count(*) FROM beside b LEFT JOIN conversation c ON c.n = b.conversation \
             GROUP BY b.conversation",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let conversation = ConversationId(row.get::<_, Option<[u8; 16]>>(0)?.unwrap_or_default());
            let expected = self.beside.get(&conversation).copied().unwrap_or(0);
            let found = row.get::<_, i64>(1)? as u64;
            if found > expected {
                self.name(Mismatch::BesideSurplus(conversation, found - expected));
            }
        }
        for row in reader.conversations()? {
            let expected = self.titles.remove(&row.id).map(|(hlc, id, title)| (title, hlc, id));
            let live: Option<(String, i64, [u8; 32])> = conn
                .prepare_cached(
                    "SELECT title, hlc, id FROM title WHERE conversation = (SELECT n FROM conversation WHERE id = ?1)",
                )?
                .query_row([row.id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            if live.map(|(title, hlc, id)| (title, Hlc(hlc as u64), OpId(id))) != expected {
                self.name(Mismatch::Title(row.id));
            }
        }
        let mut statement = conn.prepare(
            "SELECT c.id, s.device, s.name, s.hlc, s.id FROM name s JOIN conversation c ON c.n = s.conversation",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = (ConversationId(row.get(0)?), DeviceId(row.get(1)?));
            let live = (Hlc(row.get::<_, i64>(3)? as u64), OpId(row.get(4)?), row.get::<_, String>(2)?);
            if self.names.remove(&key) != Some(live) {
                self.name(Mismatch::Name(key.0, key.1));
            }
        }
        for (conversation, device) in std::mem::take(&mut self.names).into_keys() {
            self.name(Mismatch::Name(conversation, device));
        }
        Ok(self.mismatches.into_iter().collect())
    }
}

fn keep_greatest<K: Ord>(versions: &mut BTreeMap<K, (Hlc, OpId, String)>, key: K, version: (Hlc, OpId, String)) {
    let current = versions.entry(key).or_insert_with(|| version.clone());
    if (version.0, version.1) > (current.0, current.1) {
        *current = version;
    }
}
