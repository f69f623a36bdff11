//! What exactly is held of a conversation, and the proof over it.
//!
//! A log without gaps and branches is one interval, known from its row alone; only gapped and branched logs are walked.
//! Proofs are remembered per connection until the conversation changes, and what is held of each log with them: a live
//! conversation of hundreds of logs is proven after every op, and that op changes one of them. Not here: comparing proofs
//! (`proto`).

use crate::reads::ConversationRow;
use crate::row;
use crate::{LogError, Reader, pages, tree};
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::digest::{Held, Proof, Sum};
use tombolo_model::{ConversationId, DeviceId, LogId, OpId};

/// Proofs remembered per connection. More conversations than that are proved anew.
const PROOFS_MAX: usize = 4_096;
/// Intervals remembered per connection, over all conversations (about 150 bytes each with what is around them).
const INTERVALS_MAX: usize = 16_384;
/// Arrivals since the last proof that are looked through for the logs that changed. After more, all are read again.
const ARRIVALS_MAX: u64 = 1_024;

macro_rules! select_log {
    () => {
        "SELECT n, author, log, max_seq, contiguous, branched, tip FROM log "
    };
}
/// What a connection remembers.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    by_conversation: BTreeMap<ConversationId, Remembered>,
    /// Intervals in all lists together.
    intervals: usize,
}

/// A proof and the set that it is about.
#[derive(Debug)]
struct Remembered {
    /// Sum and number of the ids, and the last arrival: they name the set, since sets only grow but for repairs.
    sum: Sum,
    last_arrival: u64,
    proof: Proof,
    /// `PRAGMA data_version` when it was read.
    data_version: i64,
    /// What is held of each log, sorted; `None` = not kept.
    held: Option<Vec<Held>>,
}

fn count(held: &[Held]) -> usize {
    held.iter().map(|log| log.intervals.len()).sum()
}

impl Proofs {
    /// Forgets everything: rows were repaired or taken back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn take_held(&mut self, conversation: &ConversationId) -> Option<(Sum, u64, i64, Vec<Held>)> {
        let known = self.by_conversation.get_mut(conversation)?;
        let held = known.held.take()?;
        self.intervals -= count(&held);
        Some((known.sum, known.last_arrival, known.data_version, held))
    }

    fn put(&mut self, row: &ConversationRow, proof: Proof, data_version: i64, held: Vec<Held>) {
        if self.by_conversation.len() >= PROOFS_MAX {
            self.clear();
        }
        let more = count(&held);
        if self.intervals + more > INTERVALS_MAX {
            self.by_conversation.values_mut().for_each(|known| known.held = None);
            self.intervals = 0;
        }
        let held = (more <= INTERVALS_MAX).then_some(held);
        self.intervals += held.as_deref().map_or(0, count);
        let (sum, last_arrival) = (row.sum, row.last_arrival);
        let before = self.by_conversation.insert(row.id, Remembered { sum, last_arrival, proof, data_version, held });
        self.intervals -= before.and_then(|before| before.held).as_deref().map_or(0, count);
    }
}

impl Reader {
    /// What is held of every log, sorted by author and log. Of a branched log each op is an interval of its own.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn held(&self, conversation: &ConversationId) -> Result<Vec<Held>, LogError> {
        match self.number(conversation)? {
            Some(n) => held(self.db()?, n),
            None => Ok(Vec::new()),
        }
    }

    /// The proof over [`Reader::held`]. An unknown conversation has the proof of nothing.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn proof(&self, conversation: &ConversationId) -> Result<Proof, LogError> {
        let Some(row) = self.conversation(conversation)? else { return Ok(Proof::of(std::iter::empty())) };
        let known = |known: &Remembered| {
            ((known.sum, known.last_arrival) == (row.sum, row.last_arrival)).then_some(known.proof)
        };
        if let Some(proof) = self.proofs.borrow().by_conversation.get(conversation).and_then(known) {
            return Ok(proof);
        }
        let Some(n) = self.number(conversation)? else { return Ok(Proof::of(std::iter::empty())) };
        let conn = self.db()?;
        let data_version = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let before = self.proofs.borrow_mut().take_held(conversation);
        let updated = match before {
            // Another process may have repaired rows of logs that got no op.
            Some((sum, after, version, held)) if version == data_version => update(conn, n, &row, (sum, after), held)?,
            _ => None,
        };
        let held = match updated {
            Some(held) => held,
            None => held(conn, n)?,
        };
        let proof = Proof::of(held.iter());
        self.proofs.borrow_mut().put(&row, proof, data_version, held);
        Ok(proof)
    }
}

/// Brings a list up to date when nothing has happened since but that ops came; `None` when that is not sure.
fn update(
    conn: &Connection,
    n: i64,
    row: &ConversationRow,
    (mut sum, after): (Sum, u64),
    mut list: Vec<Held>,
) -> Result<Option<Vec<Held>>, LogError> {
    if row.last_arrival.checked_sub(after).is_none_or(|more| more > ARRIVALS_MAX) {
        return Ok(None);
    }
    let mut statement =
        conn.prepare_cached("SELECT log, id FROM op WHERE arrival > ?1 AND arrival <= ?2 AND conversation = ?3")?;
    let mut rows = statement.query([after as i64, row.last_arrival as i64, n])?;
    let mut logs = BTreeSet::new();
    while let Some(row) = rows.next()? {
        logs.insert(row.get::<_, i64>(0)?);
        sum.add(&OpId(row::array(row, 1)?));
    }
    // The number and the sum of ids say whether these are all.
    if sum != row.sum {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(concat!(select_log!(), "WHERE n = ?1"))?;
    for log in logs {
        let mut rows = statement.query([log])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let now = held_of(conn, row)?;
        match list.binary_search_by_key(&(now.author, now.log), |held| (held.author, held.log)) {
            Ok(at) => list[at] = now,
            Err(at) => list.insert(at, now),
        }
    }
    Ok(Some(list))
}

fn held(conn: &Connection, n: i64) -> Result<Vec<Held>, LogError> {
    let mut statement = conn.prepare_cached(concat!(select_log!(), "WHERE conversation = ?1 ORDER BY author, log"))?;
    let mut rows = statement.query([n])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(held_of(conn, row)?);
    }
    Ok(found)
}

fn held_of(conn: &Connection, row: &Row<'_>) -> Result<Held, LogError> {
    let (max, contiguous, branched): (u64, u64, bool) = (row::number(row, 3)?, row::number(row, 4)?, row.get(5)?);
    let intervals = if branched || contiguous != max {
        intervals(conn, row.get(0)?, branched)?
    } else {
        vec![(1, max, OpId(row::array(row, 6)?))]
    };
    Ok(Held { author: DeviceId(row::array(row, 1)?), log: LogId(row::array(row, 2)?), intervals })
}

fn intervals(conn: &Connection, log: i64, branched: bool) -> Result<Vec<(u64, u64, OpId)>, LogError> {
    let mut found: Vec<(u64, u64, OpId)> = Vec::new();
    let id = |arrival| tree::id_of(conn, arrival);
    if branched {
        for entry in pages::all(conn, log)? {
            found.push((entry.seq, entry.seq, id(entry.arrival)?));
        }
        found.sort_unstable();
        return Ok(found);
    }
    // Without branches a seq has one op, and only the ids of ends are wanted.
    let entries = pages::all(conn, log)?;
    for run in entries.chunk_by(|a, b| a.seq + 1 == b.seq) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            found.push((first.seq, last.seq, id(last.arrival)?));
        }
    }
    Ok(found)
}
