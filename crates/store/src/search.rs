//! Full-text search over everything that this person can see, in every language, newest first.
//!
//! Responsible for: the index (SQLite's FTS5, in the same file as everything else), keeping it up with the log, asking it.
//! The index is brought up to date lazily, by order of arrival: storing a message costs nothing for it, whoever searches
//! pays for what came since. A message whose body goes leaves the index in the same transaction.
//! Not here: what people type (`words.rs`), who is hidden or blocked (`client`).
//!
//! Rows are numbered by time, so that "newest first" is the order of the index itself and a search stops when it has
//! enough. Scripts that are written without spaces are split into single characters, which are asked for as phrases. What
//! people type never reaches the query language of FTS5: every word is quoted.

mod words;

use crate::beside::{self, about};
use crate::look::Look;
use crate::read::{Message, MessageKind, page_after};
use crate::{Place, Section, Views};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeSet;
use tombolo_model::content::{Content, MessageRef, Reaction};
use tombolo_model::{AccountId, Class, ConversationId, Op, OpId};
use tombolo_oplog::{ArrivalQuery, Batch, LogError, Reader, State, Step};

pub(crate) const STEP: Step = Step {
    why: "Searching reads an index instead of every message.",
    sql: "
-- words: what is shown of a message, with U+200B where words end that nothing else ends. tags: c and the conversation's
-- number, l and the number of the author's log, f if it has files. rowid: time, made unique.
CREATE VIRTUAL TABLE search USING fts5(words, tags,
    tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* Co So'\", prefix = '2 3');
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
CREATE TABLE search_row (
    row INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, section INTEGER NOT NULL, at INTEGER NOT NULL,
    sub INTEGER NOT NULL, id BLOB NOT NULL, UNIQUE (conversation, section, at, sub, id)) STRICT;
-- One row: up to this arrival everything is in the index, but for what waits.
CREATE TABLE search_through (n INTEGER PRIMARY KEY, arrival INTEGER NOT NULL) STRICT;
INSERT INTO search_through (n, arrival) VALUES (1, 0);
-- Arrivals that are not delivered yet, or could not be read yet.
CREATE TABLE search_waiting (arrival INTEGER PRIMARY KEY) STRICT;
",
};

/// Ops that are indexed in one transaction.
const OPS_AT_ONCE: usize = 1_000;
/// **Bytes** read at once.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Ops that wait and are looked at again with each step.
const WAITING_AT_ONCE: i64 = 200;
/// Logs of one person that a search looks for.
const LOGS_MAX: i64 = 2_000;
/// Words of an excerpt.
const EXCERPT_WORDS: i64 = 24;
/// Before and behind a match in what FTS5 returns; such characters are left out of the index.
const OPEN: char = '\u{2}';
const CLOSE: char = '\u{3}';
/// Bits of a row's number that keep apart what has one time.
const TIE_BITS: u32 = 16;
const IMPORTED_TIE_BITS: u32 = 24;

/// What is searched for. Everything that is given must hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Words; each finds what begins with it, several must all be there, `"in quotes"` they follow each other.
    pub words: String,
    /// Only in this conversation.
    pub conversation: Option<ConversationId>,
    /// Only what this account wrote.
    pub author: Option<AccountId>,
    /// Only from this time on, **milliseconds** since 1970.
    pub after_ms: Option<u64>,
    /// Only before this time, **milliseconds** since 1970.
    pub before_ms: Option<u64>,
    /// Only messages with files.
    pub with_files: bool,
    /// At most so many.
    pub limit: usize,
    /// Only what comes after this hit of the same search.
    pub older_than: Option<i64>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What people look for is as private as what they write.
        f.debug_struct("Query")
            .field("words_bytes", &self.words.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A message that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Hit {
    /// To go on from: [`Query::older_than`].
    pub row: i64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Where it stands.
    pub place: Place,
    /// A part of its text with what was found.
    pub excerpt: String,
    /// What was found, as ranges of **bytes** of the excerpt, ascending.
    pub found: Vec<(usize, usize)>,
}

impl std::fmt::Debug for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hit").field("place", &self.place).field("excerpt_bytes", &self.excerpt.len()).finish()
    }
}

/// Why a search is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a search needs a word, a person, a date or `has file`")]
pub struct Empty;

/// Finds messages, newest first. The index may be behind: see [`index`].
///
/// # Errors
/// [`LogError`] of SQLite; nothing to search for is `Ok(Err(Empty))`.
pub fn search(reader: &Reader, query: &Query) -> Result<Result<Vec<Hit>, Empty>, LogError> {
    let conn = reader.connection()?;
    let Some(asked) = asked(conn, query)? else { return Ok(Err(Empty)) };
    let first = query.after_ms.map_or(i64::MIN, row_of_time);
    let mut end = query.before_ms.map_or(i64::MAX, row_of_time);
    if let Some(row) = query.older_than {
        end = end.min(row);
    }
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut hits = Vec::new();
    if asked.is_empty() {
        // By time alone.
        let mut statement = conn.prepare_cached(
            "SELECT s.rowid, c.id, r.section, r.at, r.sub, r.id, substr(s.words, 1, 200) FROM search_row r \
             CROSS JOIN search s ON s.rowid = r.row CROSS JOIN conversation c ON c.n = r.conversation \
             WHERE r.row >= ?1 AND r.row < ?2 ORDER BY r.row DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![first, end, limit])?;
        while let Some(row) = rows.next()? {
            hits.push(hit(row)?);
        }
        return Ok(Ok(hits));
    }
    let mut statement = conn.prepare_cached(
        "SELECT f.row, c.id, r.section, r.at, r.sub, r.id, f.excerpt FROM (SELECT rowid AS row, \
         snippet(search, 0, char(2), char(3), char(8230), ?5) AS excerpt FROM search \
         WHERE search MATCH ?4 AND rowid >= ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT ?3) f \
         CROSS JOIN search_row r ON r.row = f.row CROSS JOIN conversation c ON c.n = r.conversation \
         ORDER BY f.row DESC",
    )?;
    let mut rows = statement.query(params![first, end, limit, asked, EXCERPT_WORDS])?;
    while let Some(row) = rows.next()? {
        hits.push(hit(row)?);
    }
    Ok(Ok(hits))
}

fn hit(row: &rusqlite::Row<'_>) -> Result<Hit, LogError> {
    let section = if row.get::<_, i64>(2)? == 0 { Section::Imported } else { Section::Native };
    let place =
        Place { section, at: row.get::<_, i64>(3)? as u64, sub: row.get::<_, i64>(4)? as u64, id: OpId(row.get(5)?) };
    let marked: String = row.get(6)?;
    let (mut excerpt, mut found, mut begin) = (String::with_capacity(marked.len()), Vec::new(), 0);
    for letter in marked.chars() {
        match letter {
            OPEN => begin = excerpt.len(),
            CLOSE => found.push((begin, excerpt.len())),
            words::BORDER => {}
            letter => excerpt.push(letter),
        }
    }
    Ok(Hit { row: row.get(0)?, conversation: ConversationId(row.get(1)?), place, excerpt, found })
}

/// The query in the language of FTS5; `None` when nothing is asked, empty when only times are.
fn asked(conn: &Connection, query: &Query) -> Result<Option<String>, LogError> {
    let words = words::asked(&query.words);
    if words.is_none() && !query.words.trim().is_empty() {
        // Words without a letter are in no message.
        return Ok(Some("tags : \"none\"".to_owned()));
    }
    let mut parts: Vec<String> = words.into_iter().map(|words| format!("words : ({words})")).collect();
    let mut by_author = false;
    if let Some(conversation) = &query.conversation {
        parts.push(format!("tags : \"c{}\"", beside::number(conn, conversation)?.unwrap_or(0)));
    }
    if let Some(author) = &query.author {
        by_author = true;
        let mut statement = conn.prepare_cached(
            "SELECT DISTINCT l.n FROM member m CROSS JOIN log l ON l.conversation = m.conversation \
             AND l.author = m.device WHERE m.account = ?1 ORDER BY l.n DESC LIMIT ?2",
        )?;
        let logs = statement.query_map(params![author.as_bytes(), LOGS_MAX], |row| row.get::<_, i64>(0))?;
        let logs = logs.map(|log| Ok(format!("\"l{}\"", log?))).collect::<Result<Vec<_>, LogError>>()?;
        parts.push(if logs.is_empty() {
            "tags : \"none\"".to_owned()
        } else {
            format!("tags : ({})", logs.join(" OR "))
        });
    }
    if query.with_files {
        parts.push("tags : \"f\"".to_owned());
    }
    let times = query.after_ms.is_some() || query.before_ms.is_some();
    if parts.is_empty() {
        return Ok(times.then(String::new));
    }
    let conversation_alone = query.conversation.is_some() && parts.len() == 1;
    if conversation_alone && !times && !by_author {
        return Ok(None);
    }
    Ok(Some(parts.join(" AND ")))
}

/// The first row of a time (**milliseconds** since 1970).
fn row_of_time(ms: u64) -> i64 {
    i64::try_from(ms.min((i64::MAX >> TIE_BITS) as u64) << TIE_BITS).unwrap_or(i64::MAX)
}

/// Brings the index up with the log by one step, inside the batch. Says how many ops are still to come; call it until that
/// is 0.
///
/// # Errors
/// [`LogError`] of SQLite: the batch is to be given up.
pub fn index(views: &Views, batch: &mut Batch<'_>) -> Result<u64, LogError> {
    let reader = batch.reads()?;
    let tx = batch.transaction()?;
    let through: i64 = tx.query_row("SELECT arrival FROM search_through", [], |row| row.get(0))?;
    let rows = reader.conversations()?;
    let last = rows.iter().map(|row| row.last_arrival).max().unwrap_or(0);
    let all: Vec<(ConversationId, u64)> = rows.iter().map(|row| (row.id, 0)).collect();
    let mut step = Indexing { reader, tx, views, touched: BTreeSet::new() };
    let waiting: Vec<i64> = {
        let mut statement = tx.prepare_cached("SELECT arrival FROM search_waiting ORDER BY arrival LIMIT ?1")?;
        let rows = statement.query_map([WAITING_AT_ONCE], |row| row.get(0))?;
        rows.collect::<Result<_, _>>()?
    };
    for arrival in waiting {
        tx.prepare_cached("DELETE FROM search_waiting WHERE arrival = ?1")?.execute([arrival])?;
        // Below 0 stands what can be read now: it comes first.
        let arrival = arrival.abs();
        let one = ArrivalQuery {
            after: (arrival as u64).saturating_sub(1),
            through: arrival as u64,
            conversations: &all,
            not_from: None,
            limit_ops: 1,
            limit_bytes: BYTES_AT_ONCE,
        };
        for (arrival, op) in reader.arrivals(&one)? {
            step.take(arrival, &op)?;
        }
    }
    let ops = reader.arrivals(&ArrivalQuery {
        after: through as u64,
        through: u64::MAX,
        conversations: &all,
        not_from: None,
        limit_ops: OPS_AT_ONCE,
        limit_bytes: BYTES_AT_ONCE,
    })?;
    for (arrival, op) in &ops {
        step.take(*arrival, op)?;
    }
    step.again()?;
    let reached = ops.last().map_or(last.max(through as u64), |(arrival, _)| *arrival);
    if reached as i64 != through {
        tx.execute("UPDATE search_through SET arrival = ?1", [reached as i64])?;
    }
    let ready: i64 = tx.query_row("SELECT count(*) FROM search_waiting WHERE arrival < 0", [], |row| row.get(0))?;
    Ok(last.saturating_sub(reached) + ready as u64)
}

/// Whether the index is behind the log.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn is_behind(reader: &Reader) -> Result<bool, LogError> {
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT arrival < (SELECT coalesce(max(last_arrival), 0) FROM conversation) \
         OR EXISTS (SELECT 1 FROM search_waiting WHERE arrival < 0) FROM search_through",
    )?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// An op can be read now that could not when it came: the next step looks at it, whatever waits.
pub(crate) fn came_later(conn: &Connection, arrival: i64) -> Result<(), rusqlite::Error> {
    conn.prepare_cached("INSERT OR IGNORE INTO search_waiting (arrival) VALUES (?1)")?.execute([-arrival])?;
    Ok(())
}

/// Everything is to be indexed anew.
pub(crate) fn clear(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute_batch(
        "DELETE FROM search; DELETE FROM search_row; DELETE FROM search_waiting; UPDATE search_through SET arrival = 0;",
    )
}

/// Takes a message out of the index: its text is gone.
pub(crate) fn forget(conn: &Connection, n: i64, place: &Place) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM search_row WHERE conversation = ?1 AND section = ?2 AND at = ?3 AND sub = ?4 AND id = ?5 \
         RETURNING row",
    )?;
    let place = params![n, place.section as i64, place.at as i64, place.sub as i64, place.id.as_bytes()];
    let row: Option<i64> = statement.query_row(place, |row| row.get(0)).optional()?;
    if let Some(row) = row {
        conn.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([row])?;
    }
    Ok(())
}

/// One step of bringing the index up to date.
struct Indexing<'a> {
    reader: &'a Reader,
    tx: &'a Transaction<'a>,
    views: &'a Views,
    /// Messages that look different because of ops of this step.
    touched: BTreeSet<(ConversationId, MessageRef)>,
}

impl Indexing<'_> {
    fn take(&mut self, arrival: u64, op: &Op) -> Result<(), LogError> {
        if op.header.class != Class::Content || op.body.is_none() {
            return Ok(());
        }
        let conversation = op.conversation();
        let state = self.reader.state(&conversation, &op.id)?.map(|(state, _)| state);
        let content = self.views.open(op);
        if content.is_none() || matches!(state, Some(State::Pending | State::Early)) {
            let mut statement = self.tx.prepare_cached("INSERT OR IGNORE INTO search_waiting (arrival) VALUES (?1)")?;
            statement.execute([arrival as i64])?;
            return Ok(());
        }
        let place = match &content {
            Some(Content::Text(_) | Content::Message(_)) => Place::native(op.header.hlc, op.id),
            Some(Content::Imported(_)) => match self.views.place_of(self.reader, &conversation, &op.id)? {
                Some(place) => place,
                None => return Ok(()),
            },
            Some(content) => {
                let touched = beside::touches(content).map(|at| (conversation, at));
                self.touched.extend(touched);
                return Ok(());
            }
            None => return Ok(()),
        };
        let found = page_after(self.reader, &conversation, Some(&place.just_before()), 1)?;
        match found.into_iter().find(|message| message.place == place) {
            Some(message) => self.put(&conversation, message),
            // Another op of the same source is shown.
            None => Ok(()),
        }
    }

    /// Messages that were touched, as they look now.
    fn again(&mut self) -> Result<(), LogError> {
        for (conversation, at) in std::mem::take(&mut self.touched) {
            if let Some(message) = crate::message_at(self.reader, &conversation, &at)? {
                self.put(&conversation, message)?;
            }
        }
        Ok(())
    }

    fn put(&self, conversation: &ConversationId, mut message: Message) -> Result<(), LogError> {
        let Some(n) = beside::number(self.tx, conversation)? else { return Ok(()) };
        forget(self.tx, n, &message.place)?;
        // One that was deleted may have been taken back: its text stands beside it then.
        if !matches!(message.kind, MessageKind::Text | MessageKind::Deleted) {
            return Ok(());
        }
        let mut has_files = false;
        if beside::count(self.tx, n, &about::message(&Reaction::names(&message.id())))? > 0
            && let Some(look) = Look::at(self.reader, conversation)?
        {
            let facets = look.facets(&message)?;
            if facets.deleted.is_some() {
                return Ok(());
            }
            message.text = facets.text.unwrap_or_default();
            has_files = !facets.message.files().is_empty();
            for file in facets.message.files() {
                message.text.push('\n');
                message.text.push_str(&file.name);
            }
        }
        let log: i64 = self
            .tx
            .prepare_cached("SELECT log FROM op WHERE arrival = ?1")?
            .query_row([message.arrival as i64], |row| row.get(0))?;
        let tags = format!("c{n} l{log}{}", if has_files { " f" } else { "" });
        let row = self.free_row(&message.place)?;
        let mut statement = self.tx.prepare_cached(
            "INSERT INTO search_row (row, conversation, section, at, sub, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let Place { section, at, sub, id } = message.place;
        statement.execute(params![row, n, section as i64, at as i64, sub as i64, id.as_bytes()])?;
        let mut statement = self.tx.prepare_cached("INSERT INTO search (rowid, words, tags) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![row, words::split(&message.text), tags])?;
        Ok(())
    }

    /// A number for a message: by its time, with bits of its id where others have the same.
    fn free_row(&self, place: &Place) -> Result<i64, LogError> {
        let mut row = place.at as i64;
        if place.section == Section::Imported {
            let mask = (1 << IMPORTED_TIE_BITS) - 1;
            row = (row & !mask) | (place.id.prefix() as i64 & mask);
        }
        let mut taken = self.tx.prepare_cached("SELECT 1 FROM search_row WHERE row = ?1")?;
        while taken.exists([row])? {
            row = row.saturating_add(1);
        }
        Ok(row)
    }
}
