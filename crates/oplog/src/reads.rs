//! Reading ops and conversations: by id, by log, by prefix, the heads, what waits.
//!
//! Every method works on [`Reader`], so on the writer between batches and on any reading connection. Not here: ranges and
//! sums (`tree.rs`), the order of arrival and peers (`arrivals.rs`), members (`roster.rs`), proofs (`proof.rs`).

use crate::row::{self, select_op};
use crate::{LogError, Reader, State, ids, newest, pages};
use rusqlite::{Connection, OptionalExtension, params};
use tombolo_model::control::Kind;
use tombolo_model::digest::Sum;
use tombolo_model::hlc::DRIFT_MS_MAX;
use tombolo_model::{ConversationId, DeviceId, Hlc, LogId, Op, OpId};

/// A conversation as the log sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationRow {
    /// Its id.
    pub id: ConversationId,
    /// What kind it is; `None` until its genesis op is here (a newcomer's own join comes first).
    pub kind: Option<Kind>,
    /// Ops stored, in whatever state.
    pub ops: u64,
    /// Sum of their ids.
    pub sum: Sum,
    /// Arrival of the last one; 0 = none yet.
    pub last_arrival: u64,
    /// How many of them are pending or early, or own and ahead of what they name (a newcomer's join).
    pub waiting: u64,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The log.
    pub log: LogId,
    /// Greatest seq.
    pub seq: u64,
    /// Id of the op there.
    pub id: OpId,
    /// Its clock reading.
    pub hlc: Hlc,
    /// Where it stands. A device whose tail is early begins a new log that does not name it.
    pub state: State,
}

/// What the beginning of an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The whole id.
    pub id: OpId,
    /// The author.
    pub author: DeviceId,
    /// The log.
    pub log: LogId,
    /// The place in it.
    pub seq: u64,
    /// The clock.
    pub hlc: Hlc,
    /// When it came.
    pub arrival: u64,
    /// Who brought it; `None` = it was written here.
    pub by: Option<DeviceId>,
}

/// What is held of a log, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Height {
    /// The author.
    pub author: DeviceId,
    /// The log.
    pub log: LogId,
    /// Everything from 1 to here is held; 0 = not even the first.
    pub contiguous: u64,
    /// Greatest seq held.
    pub max: u64,
    /// Ops held.
    pub count: u64,
    /// Two ops claim one place, so heights say nothing about this log.
    pub branched: bool,
}

/// Ids that claim one place of a log: two or more, each signed by the author, or named as `prev` by an op that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Equivocation {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who wrote them.
    pub author: DeviceId,
    /// In which log.
    pub log: LogId,
    /// At which place.
    pub seq: u64,
    /// The ids, sorted. Not every one needs to be held.
    pub ids: Vec<OpId>,
}

pub(crate) fn conversation_number(conn: &Connection, id: &ConversationId) -> Result<Option<i64>, LogError> {
    let mut statement = conn.prepare_cached("SELECT n FROM conversation WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
}

pub(crate) fn kind_from_sql(kind: Option<i64>) -> Result<Option<Kind>, LogError> {
    match kind {
        None => Ok(None),
        Some(0) => Ok(Some(Kind::Group)),
        Some(1) => Ok(Some(Kind::Direct)),
        Some(2) => Ok(Some(Kind::Own)),
        Some(_) => Err(LogError::damaged("kind of a conversation")),
    }
}

/// Arrival of an op, by conversation and id, among what is written.
pub(crate) fn find(conn: &Connection, n: i64, id: &OpId) -> Result<Option<u64>, LogError> {
    ids::find(conn, n, last_arrival(conn, n)?, id)
}

/// Last arrival of a conversation.
fn last_arrival(conn: &Connection, n: i64) -> Result<u64, LogError> {
    let mut statement = conn.prepare_cached("SELECT last_arrival FROM conversation WHERE n = ?1")?;
    Ok(statement.query_row([n], |row| row.get::<_, i64>(0))? as u64)
}

/// State of a stored op.
pub(crate) fn state_of(conn: &Connection, arrival: u64) -> Result<State, LogError> {
    let mut statement = conn.prepare_cached("SELECT state FROM undelivered WHERE arrival = ?1")?;
    let state = statement.query_row([arrival as i64], |row| row.get(0)).optional()?;
    state.map_or(Ok(State::Delivered), State::from_sql)
}

/// One op by its row.
pub(crate) fn load(conn: &Connection, arrival: u64) -> Result<Option<Op>, LogError> {
    let mut statement = conn.prepare_cached(select_op!("WHERE o.arrival = ?1"))?;
    let mut rows = statement.query([arrival as i64])?;
    rows.next()?.map(|row| row::read(row).map(|(_, op)| op)).transpose()
}

/// One op by its row, which a table names.
pub(crate) fn load_named(conn: &Connection, arrival: u64) -> Result<Op, LogError> {
    load(conn, arrival)?.ok_or_else(|| LogError::damaged("an index names an op that is not stored"))
}

macro_rules! select_conversation {
    ($tail:literal) => {
        concat!("SELECT id, kind, ops, sum, last_arrival, waiting FROM conversation ", $tail)
    };
}

fn conversation_row(row: &rusqlite::Row<'_>) -> Result<ConversationRow, LogError> {
    let ops = row::number(row, 2)?;
    Ok(ConversationRow {
        id: ConversationId(row::array(row, 0)?),
        kind: kind_from_sql(row.get(1)?)?,
        ops,
        sum: Sum::from_bytes(ops, &row::array(row, 3)?),
        last_arrival: row::number(row, 4)?,
        waiting: row::number(row, 5)?,
    })
}

impl Reader {
    /// Number of a conversation's rows; an unknown conversation is `None`.
    pub(crate) fn number(&self, id: &ConversationId) -> Result<Option<i64>, LogError> {
        conversation_number(self.db()?, id)
    }

    /// All conversations, by id.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn conversations(&self) -> Result<Vec<ConversationRow>, LogError> {
        let mut statement = self.db()?.prepare_cached(select_conversation!("ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(conversation_row(row)?);
        }
        Ok(found)
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn conversation(&self, id: &ConversationId) -> Result<Option<ConversationRow>, LogError> {
        let mut statement = self.db()?.prepare_cached(select_conversation!("WHERE id = ?1"))?;
        let mut rows = statement.query([id.as_bytes()])?;
        rows.next()?.map(conversation_row).transpose()
    }

    /// An op with whatever is held of it.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn op(&self, conversation: &ConversationId, id: &OpId) -> Result<Option<Op>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        match find(self.db()?, n, id)? {
            Some(arrival) => load(self.db()?, arrival),
            None => Ok(None),
        }
    }

    /// Whether an op is stored, in whatever state.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn has(&self, conversation: &ConversationId, id: &OpId) -> Result<bool, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(false) };
        Ok(find(self.db()?, n, id)?.is_some())
    }

    /// What stands for an op whose id begins so (see [`OpId::prefix`]), if it is the only one of the conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn named(&self, conversation: &ConversationId, prefix: u64) -> Result<Option<Named>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let conn = self.db()?;
        let found = ids::with_prefix(conn, n, last_arrival(conn, n)?, prefix, &newest::all(conn)?)?;
        let [(id, arrival)] = found[..] else { return Ok(None) };
        let mut statement = conn.prepare_cached(
            "SELECT l.author, l.log, o.seq, o.hlc, p.device FROM op o JOIN log l ON l.n = o.log \
             LEFT JOIN peer p ON p.n = o.source WHERE o.arrival = ?1",
        )?;
        let mut rows = statement.query([arrival as i64])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Named {
            id,
            author: DeviceId(row::array(row, 0)?),
            log: LogId(row::array(row, 1)?),
            seq: row::number(row, 2)?,
            hlc: Hlc(row::number(row, 3)?),
            arrival,
            by: row::blob_or_none(row, 4)?.map(row::fixed).transpose()?.map(DeviceId),
        }))
    }

    /// Where an op stands, and its arrival; `None` when it is not stored.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn state(&self, conversation: &ConversationId, id: &OpId) -> Result<Option<(State, u64)>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let Some(arrival) = find(self.db()?, n, id)? else { return Ok(None) };
        Ok(Some((state_of(self.db()?, arrival)?, arrival)))
    }

    /// Ops of one log from `from_seq` to `to_seq`, both included, ascending, every branch; at most `limit`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn run(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
        from_seq: u64,
        to_seq: u64,
        limit: usize,
    ) -> Result<Vec<Op>, LogError> {
        let Some(log) = self.log_number(conversation, author, log)? else { return Ok(Vec::new()) };
        let conn = self.db()?;
        let mut ops = Vec::new();
        if limit > 0 {
            pages::walk(conn, log, from_seq, to_seq, |entry| {
                ops.push(load_named(conn, entry.arrival)?);
                Ok(ops.len() < limit)
            })?;
        }
        Ok(ops)
    }

    /// The ops whose ids begin with one of `prefixes` (see [`OpId::prefix`]), in the order of `prefixes`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn by_prefix(&self, conversation: &ConversationId, prefixes: &[u64]) -> Result<Vec<Op>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let conn = self.db()?;
        let unlisted = newest::all(conn)?;
        let last = last_arrival(conn, n)?;
        let mut found = Vec::new();
        for prefix in prefixes {
            for (_, arrival) in ids::with_prefix(conn, n, last, *prefix, &unlisted)? {
                found.push(load_named(conn, arrival)?);
            }
        }
        Ok(found)
    }

    /// What is held of each log, in numbers, by author and log.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn heights(&self, conversation: &ConversationId) -> Result<Vec<Height>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT author, log, contiguous, max_seq, count, branched FROM log WHERE conversation = ?1 \
             ORDER BY author, log",
        )?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Height {
                author: DeviceId(row::array(row, 0)?),
                log: LogId(row::array(row, 1)?),
                contiguous: row::number(row, 2)?,
                max: row::number(row, 3)?,
                count: row::number(row, 4)?,
                branched: row.get(5)?,
            });
        }
        Ok(found)
    }

    /// Delivered ops that no delivered op names, by id: the parents of the next op.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn heads(&self, conversation: &ConversationId) -> Result<Vec<(OpId, Hlc)>, LogError> {
        let mut statement = self.db()?.prepare_cached("SELECT heads FROM conversation WHERE id = ?1")?;
        let mut rows = statement.query([conversation.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(Vec::new()) };
        Ok(row::decode_heads(row::blob(row, 0)?)?.into_iter().collect())
    }

    /// The end of the log of `device` that is open for writing. `None` = the next op begins a new log.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn tail(&self, conversation: &ConversationId, device: &DeviceId) -> Result<Option<Tail>, LogError> {
        Ok(self.own_tails(conversation, device, true)?.pop())
    }

    /// The ends of all other logs of `device`, where they are delivered: what the first op of a new log names beside the
    /// heads.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn old_tips(&self, conversation: &ConversationId, device: &DeviceId) -> Result<Vec<Tail>, LogError> {
        let mut tails = self.own_tails(conversation, device, false)?;
        tails.retain(|tail| tail.state == State::Delivered);
        Ok(tails)
    }

    fn own_tails(&self, conversation: &ConversationId, device: &DeviceId, open: bool) -> Result<Vec<Tail>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT l.log, l.max_seq, l.tip, l.tip_hlc, l.tip_arrival FROM log l LEFT JOIN own_log w ON w.conversation = l.conversation \
             AND w.device = l.author AND w.log = l.log AND w.open = 1 \
             WHERE l.conversation = ?1 AND l.author = ?2 AND (w.open IS NOT NULL) = ?3 ORDER BY l.log",
        )?;
        let mut rows = statement.query(params![n, device.as_bytes(), open])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Tail {
                log: LogId(row::array(row, 0)?),
                seq: row::number(row, 1)?,
                id: OpId(row::array(row, 2)?),
                hlc: Hlc(row::number(row, 3)?),
                state: state_of(self.db()?, row::number(row, 4)?)?,
            });
        }
        Ok(found)
    }

    /// Ops that wait for something missing, by clock and id.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn pending(&self, conversation: &ConversationId) -> Result<Vec<OpId>, LogError> {
        self.in_state(conversation, State::Pending)
    }

    /// Ops in a state other than delivered, by clock and id. (Of what is delivered there is no list; see
    /// [`Reader::state`].)
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn in_state(&self, conversation: &ConversationId, state: State) -> Result<Vec<OpId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT o.id FROM undelivered u CROSS JOIN op o ON o.arrival = u.arrival \
             WHERE u.conversation = ?1 AND u.state = ?2 ORDER BY o.hlc, o.id",
        )?;
        let mut rows = statement.query(params![n, state as i64])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(OpId(row::array(row, 0)?));
        }
        Ok(found)
    }

    /// Ids that stored ops wait for and that are not stored themselves; at most `limit`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn missing(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<OpId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let conn = self.db()?;
        let mut statement = conn.prepare_cached("SELECT DISTINCT id FROM missing WHERE conversation = ?1")?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let id = OpId(row::array(row, 0)?);
            if find(conn, n, &id)?.is_none() {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// When the next early op is not early any more, in **milliseconds** since 1970.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn early_next_ms(&self) -> Result<Option<u64>, LogError> {
        let mut statement = self.db()?.prepare_cached("SELECT min(hlc) FROM undelivered WHERE state = 2")?;
        let hlc: Option<i64> = statement.query_row([], |row| row.get(0))?;
        Ok(hlc.map(|hlc| Hlc(hlc as u64).ms().saturating_sub(DRIFT_MS_MAX)))
    }

    /// All places that two or more ids claim, in one conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn equivocations(&self, conversation: &ConversationId) -> Result<Vec<Equivocation>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT l.author, l.log, e.seq, e.id FROM equivocation e JOIN log l ON l.n = e.log \
             WHERE l.conversation = ?1 ORDER BY l.author, l.log, e.seq, e.id",
        )?;
        let mut rows = statement.query([n])?;
        let mut found: Vec<Equivocation> = Vec::new();
        while let Some(row) = rows.next()? {
            let (author, log) = (DeviceId(row::array(row, 0)?), LogId(row::array(row, 1)?));
            let (seq, id) = (row::number(row, 2)?, OpId(row::array(row, 3)?));
            match found.last_mut() {
                Some(last) if (last.author, last.log, last.seq) == (author, log, seq) => last.ids.push(id),
                _ => found.push(Equivocation { conversation: *conversation, author, log, seq, ids: vec![id] }),
            }
        }
        Ok(found)
    }

    /// A small named value, as [`crate::Batch::put_meta`] stored it.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, LogError> {
        let mut statement = self.db()?.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    pub(crate) fn log_number(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
    ) -> Result<Option<i64>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let mut statement =
            self.db()?.prepare_cached("SELECT n FROM log WHERE conversation = ?1 AND author = ?2 AND log = ?3")?;
        Ok(statement.query_row(params![n, author.as_bytes(), log.as_bytes()], |row| row.get(0)).optional()?)
    }
}
