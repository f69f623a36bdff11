//! Which places are delivered here, up to a place in display order: what a person who has read up to there has read.
//!
//! Clock readings rise within a log, so what stands below a place is a prefix of what is held of each log; its end is
//! looked up by bisection. (Only an author who breaks that rule can have this answer differ for its own ops.)
//! Not here: what was read (`store`), exact sets for proofs (`proof.rs`).

use crate::{LogError, Reader, pages, row};
use rusqlite::Connection;
use tombolo_model::{ConversationId, Hlc, LogId, OpId, Seen};

/// A place in display order.
type At = (Hlc, OpId);

fn place(conn: &Connection, arrival: u64) -> Result<At, LogError> {
    let mut statement = conn.prepare_cached("SELECT hlc, id FROM op WHERE arrival = ?1")?;
    let mut rows = statement.query([arrival as i64])?;
    let row = rows.next()?.ok_or_else(|| LogError::damaged("a page of a log names an op that is not stored"))?;
    Ok((Hlc(row::number(row, 0)?), OpId(row::array(row, 1)?)))
}

#[derive(Clone, Copy)]
struct LogRow {
    number: i64,
    name: LogId,
    max: u64,
    contiguous: u64,
    branched: bool,
    tip: At,
}

/// Of a log without gaps and branches: the last seq at or below a place.
fn bisect(conn: &Connection, log: i64, max: u64, through: &At) -> Result<u64, LogError> {
    let (mut low, mut high) = (0, max);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let mut found = None;
        pages::walk(conn, log, middle, middle, |entry| {
            found = Some(entry.arrival);
            Ok(false)
        })?;
        let arrival = found.ok_or_else(|| LogError::damaged("a page of a log lacks an op"))?;
        if place(conn, arrival)? <= *through { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

impl Reader {
    /// Seqs per log of everything that is delivered here and stands at or below `through`; `None` = of all. Cost: the logs
    /// of the conversation; for those that go on above `through` the logarithm of their length; all of a log that has
    /// gaps or branches.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn delivered_through(
        &self,
        conversation: &ConversationId,
        through: Option<(Hlc, OpId)>,
    ) -> Result<Seen, LogError> {
        let mut seen = Seen::new();
        let Some(n) = self.number(conversation)? else { return Ok(seen) };
        let conn = self.db()?;
        // Of several ops at one place, branches or logs of one name, all must be below.
        let mut above: Vec<(LogId, u64)> = Vec::new();
        let mut statement = conn.prepare_cached(
            "SELECT n, log, max_seq, contiguous, branched, tip, tip_hlc FROM log WHERE conversation = ?1 ORDER BY log",
        )?;
        let mut rows = statement.query([n])?;
        let mut logs: Vec<LogRow> = Vec::new();
        while let Some(row) = rows.next()? {
            logs.push(LogRow {
                number: row.get(0)?,
                name: LogId(row::array(row, 1)?),
                max: row::number(row, 2)?,
                contiguous: row::number(row, 3)?,
                branched: row.get(4)?,
                tip: (Hlc(row::number(row, 6)?), OpId(row::array(row, 5)?)),
            });
        }
        for at in 0..logs.len() {
            let LogRow { number, name, max, contiguous, branched, tip } = logs[at];
            let twin = |other: Option<&LogRow>| other.is_some_and(|other| other.name == name);
            let shared = branched || twin(logs.get(at + 1)) || at > 0 && twin(logs.get(at - 1));
            if !shared && contiguous == max {
                let below = through.filter(|through| tip > *through);
                let last = below.map_or(Ok(max), |through| bisect(conn, number, max, &through))?;
                seen.insert(name, 1, last);
                continue;
            }
            for entry in pages::all(conn, number)? {
                let is_above = match &through {
                    Some(through) => place(conn, entry.arrival)? > *through,
                    None => false,
                };
                if is_above {
                    above.push((name, entry.seq));
                } else {
                    seen.insert(name, entry.seq, entry.seq);
                }
            }
        }
        let mut statement = conn.prepare_cached(
            "SELECT l.log, o.seq FROM undelivered u CROSS JOIN op o ON o.arrival = u.arrival \
             CROSS JOIN log l ON l.n = o.log WHERE u.conversation = ?1 AND u.state IN (1, 2)",
        )?;
        let mut rows = statement.query([n])?;
        while let Some(row) = rows.next()? {
            above.push((LogId(row::array(row, 0)?), row::number(row, 1)?));
        }
        for (name, seq) in above {
            seen.remove(&name, seq);
        }
        Ok(seen)
    }
}
