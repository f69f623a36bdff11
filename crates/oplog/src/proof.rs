//! What exactly is held of a conversation, and the proof over it.
//!
//! A log without gaps and branches is one interval, known from its row alone; only gapped and branched logs are walked.
//! Proofs are remembered per connection until the conversation changes. Not here: comparing proofs (`proto`).

use crate::row;
use crate::{LogError, Reader, pages, tree};
use rusqlite::Connection;
use tombolo_model::digest::{Held, Proof};
use tombolo_model::{ConversationId, DeviceId, LogId, OpId};

/// Proofs remembered per connection. More conversations than that are proved anew.
const PROOFS_MAX: usize = 4_096;

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
        if let Some((arrival, ops, proof)) = self.proofs.borrow().get(conversation)
            && (*arrival, *ops) == (row.last_arrival, row.ops)
        {
            return Ok(*proof);
        }
        let proof = Proof::of(self.held(conversation)?.iter());
        let mut proofs = self.proofs.borrow_mut();
        if proofs.len() >= PROOFS_MAX {
            proofs.clear();
        }
        proofs.insert(*conversation, (row.last_arrival, row.ops, proof));
        Ok(proof)
    }
}

fn held(conn: &Connection, n: i64) -> Result<Vec<Held>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT n, author, log, max_seq, contiguous, branched, tip FROM log WHERE conversation = ?1 \
         ORDER BY author, log",
    )?;
    let mut rows = statement.query([n])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (max, contiguous, branched): (u64, u64, bool) = (row::number(row, 3)?, row::number(row, 4)?, row.get(5)?);
        let intervals = if branched || contiguous != max {
            intervals(conn, row.get(0)?, branched)?
        } else {
            vec![(1, max, OpId(row::array(row, 6)?))]
        };
        found.push(Held { author: DeviceId(row::array(row, 1)?), log: LogId(row::array(row, 2)?), intervals });
    }
    Ok(found)
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
