//! The newest ops, which the pages of places and ids do not list yet.
//!
//! Entering every op as it comes would write two pages of the file more per message. So pages are written when
//! [`NEWEST_MAX`] ops have come since the last time; until then a look-up also walks the rows of the newest ops, which
//! are neighbours. The table `listed` says up to which arrival the pages are complete. Whoever reads both asks here
//! first: an op that is listed in between is then found twice, never not at all.
//! Not here: the pages themselves (`pages.rs`, `ids.rs`), when they are written (`cache.rs`).

use crate::pages::Entry;
use crate::{LogError, row};
use rusqlite::{Connection, params};
use tombolo_model::OpId;

/// Ops that come before pages are written. A look-up walks half as many rows on average.
pub(crate) const NEWEST_MAX: usize = 64;

/// Condition on `arrival`. Without the row of `listed` nothing counts as listed: slow, and right.
macro_rules! is_newest {
    () => {
        "arrival > (SELECT coalesce(max(l.arrival), 0) FROM listed l)"
    };
}

/// One of them.
pub(crate) struct Newest {
    pub(crate) arrival: u64,
    pub(crate) conversation: i64,
    pub(crate) log: i64,
    pub(crate) seq: u64,
    pub(crate) id: OpId,
}

/// All of them, by arrival.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Newest>, LogError> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT arrival, conversation, log, seq, id FROM op WHERE ",
        is_newest!(),
        " ORDER BY arrival"
    ))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Newest {
            arrival: row::number(row, 0)?,
            conversation: row.get(1)?,
            log: row.get(2)?,
            seq: row::number(row, 3)?,
            id: OpId(row::array(row, 4)?),
        });
    }
    Ok(found)
}

/// Arrival of one of them, by conversation and id.
pub(crate) fn find(conn: &Connection, n: i64, id: &OpId) -> Result<Option<u64>, LogError> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT arrival FROM op WHERE ",
        is_newest!(),
        " AND id = ?2 AND conversation = ?1"
    ))?;
    let mut rows = statement.query(params![n, id.as_bytes()])?;
    rows.next()?.map(|row| row::number(row, 0)).transpose()
}

/// Those of a log from `from` to `to`, both included, sorted.
pub(crate) fn of_log(conn: &Connection, log: i64, from: u64, to: u64) -> Result<Vec<Entry>, LogError> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT seq, arrival FROM op WHERE ",
        is_newest!(),
        " AND log = ?1 AND seq BETWEEN ?2 AND ?3"
    ))?;
    let bound = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![log, bound(from), bound(to)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Entry { seq: row::number(row, 0)?, arrival: row::number(row, 1)? });
    }
    found.sort_unstable();
    Ok(found)
}

/// How many there are.
pub(crate) fn count(conn: &Connection) -> Result<u64, LogError> {
    let count: i64 = conn.query_row(concat!("SELECT count(*) FROM op WHERE ", is_newest!()), [], |row| row.get(0))?;
    Ok(count as u64)
}

/// The arrival up to which every op is in the pages.
pub(crate) fn listed(conn: &Connection) -> Result<u64, LogError> {
    let mut statement = conn.prepare_cached("SELECT coalesce(max(arrival), 0) FROM listed")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64)
}

/// The pages list everything up to this arrival.
pub(crate) fn set_listed(conn: &Connection, arrival: u64) -> Result<(), LogError> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO listed (n, arrival) VALUES (1, ?1)")?;
    statement.execute([arrival as i64])?;
    Ok(())
}
