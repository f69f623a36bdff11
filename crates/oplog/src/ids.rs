//! From id to arrival: pages of entries, by *era* and by the first bits of the id.
//!
//! Ids are hashes, so an index over all of them would be written all over by every batch. An era is a stretch of arrivals,
//! as long as everything before it: new ids touch only the newest, which is at most half of the whole, and a look-up asks
//! few eras, the newest first. Within an era a page holds the ids that share their first bits, about 128 of them when the
//! era is full, as 40 further bits and the arrival; whoever finds an entry compares the whole id with the op's row.
//! New ids are kept aside until there are many, and then written, one write per page; until then `newest.rs` finds them.

use crate::newest::{self, Newest};
use crate::{LogError, row};
use rusqlite::{Connection, params};
use tombolo_model::OpId;

/// Arrivals of the first era, as a power of two.
const FIRST_ERA_BITS: u32 = 14;
/// Ids of a page when its era is full, as a power of two.
const PAGE_BITS: u32 = 7;
/// **Bytes** of an entry's half: further bits of the id, then the arrival.
const HALF_BYTES: usize = 5;

/// The era of an arrival: 0 below 2^14, then one for each doubling.
fn era(arrival: u64) -> u32 {
    u64::BITS - (arrival >> FIRST_ERA_BITS).leading_zeros()
}

/// Where an id is in an era: number of the page, and the bits that stand in the entry.
fn locate(era: u32, prefix: u64) -> (i64, u64) {
    let bits = FIRST_ERA_BITS + era.saturating_sub(1) - PAGE_BITS;
    let page = u64::from(era) << 48 | prefix >> (u64::BITS - bits);
    (page as i64, prefix << bits >> (u64::BITS - 8 * HALF_BYTES as u32))
}

/// Calls `each` with the arrivals that may have an id with this prefix, newest era first, until it says that it has
/// what it wants. `newest`: no arrival is above it.
fn candidates(
    conn: &Connection,
    newest: u64,
    prefix: u64,
    mut each: impl FnMut(u64) -> Result<bool, LogError>,
) -> Result<(), LogError> {
    let mut statement = conn.prepare_cached("SELECT entries FROM id_page WHERE n = ?1")?;
    for era in (0..=era(newest)).rev() {
        let (page, bits) = locate(era, prefix);
        let wanted = half_bytes(bits);
        let mut rows = statement.query([page])?;
        let Some(row) = rows.next()? else { continue };
        for entry in entries(row::blob(row, 0)?)? {
            if entry[..HALF_BYTES] == wanted && each(half(&entry[HALF_BYTES..]))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The entries of a page.
fn entries(bytes: &[u8]) -> Result<std::slice::ChunksExact<'_, u8>, LogError> {
    if !bytes.len().is_multiple_of(2 * HALF_BYTES) {
        return Err(LogError::damaged("a page of ids has another length than was written"));
    }
    Ok(bytes.chunks_exact(2 * HALF_BYTES))
}

fn half(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn half_bytes(number: u64) -> [u8; HALF_BYTES] {
    let mut bytes = [0; HALF_BYTES];
    bytes.copy_from_slice(&number.to_be_bytes()[8 - HALF_BYTES..]);
    bytes
}

/// Conversation and id of a stored op.
fn owner(conn: &Connection, arrival: u64) -> Result<Option<(i64, OpId)>, LogError> {
    let mut statement = conn.prepare_cached("SELECT conversation, id FROM op WHERE arrival = ?1")?;
    let mut rows = statement.query([arrival as i64])?;
    rows.next()?.map(|row| Ok((row.get(0)?, OpId(row::array(row, 1)?)))).transpose()
}

/// Arrival of an op, by conversation and id.
pub(crate) fn find(conn: &Connection, n: i64, newest: u64, id: &OpId) -> Result<Option<u64>, LogError> {
    let mut found = newest::find(conn, n, id)?;
    if found.is_some() {
        return Ok(found);
    }
    candidates(conn, newest, id.prefix(), |arrival| {
        if owner(conn, arrival)? == Some((n, *id)) {
            found = Some(arrival);
        }
        Ok(found.is_some())
    })?;
    Ok(found)
}

/// Ids with their arrivals of the ops of a conversation whose ids begin with `prefix`, sorted. `unlisted`: the newest
/// ops, as they were before anything else was read.
pub(crate) fn with_prefix(
    conn: &Connection,
    n: i64,
    newest: u64,
    prefix: u64,
    unlisted: &[Newest],
) -> Result<Vec<(OpId, u64)>, LogError> {
    let fits = |of: i64, id: &OpId| of == n && id.prefix() == prefix;
    let mut found: Vec<(OpId, u64)> =
        unlisted.iter().filter(|op| fits(op.conversation, &op.id)).map(|op| (op.id, op.arrival)).collect();
    candidates(conn, newest, prefix, |arrival| {
        found.extend(owner(conn, arrival)?.filter(|(of, id)| fits(*of, id)).map(|(_, id)| (id, arrival)));
        Ok(false)
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether an op is entered under its id, or need not be yet.
pub(crate) fn has(conn: &Connection, id: &OpId, arrival: u64) -> Result<bool, LogError> {
    if arrival > newest::listed(conn)? {
        return Ok(true);
    }
    let (page, bits) = locate(era(arrival), id.prefix());
    let mut statement = conn.prepare_cached("SELECT entries FROM id_page WHERE n = ?1")?;
    let mut rows = statement.query([page])?;
    match rows.next()? {
        Some(row) => {
            let mut entries = entries(row::blob(row, 0)?)?;
            Ok(entries.any(|entry| entry[..HALF_BYTES] == half_bytes(bits) && half(&entry[HALF_BYTES..]) == arrival))
        }
        None => Ok(false),
    }
}

/// How many entries there are.
pub(crate) fn count(conn: &Connection) -> Result<u64, LogError> {
    let bytes: Option<i64> = conn.query_row("SELECT sum(length(entries)) FROM id_page", [], |row| row.get(0))?;
    Ok(bytes.unwrap_or(0) as u64 / (2 * HALF_BYTES as u64))
}

/// Writes all pages anew from the ops, once the places of all are listed: for repairs. Every row is read.
pub(crate) fn rebuild(conn: &Connection) -> Result<(), LogError> {
    conn.prepare_cached("DELETE FROM id_page")?.execute([])?;
    let mut fresh = Fresh::default();
    let mut statement = conn.prepare_cached("SELECT arrival, id FROM op")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        fresh.push(&OpId(row::array(row, 1)?), row::number(row, 0)?);
    }
    drop(rows);
    let last = fresh.last().unwrap_or(0);
    fresh.flush(conn)?;
    newest::set_listed(conn, last)
}

/// New ids that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Vec<(i64, u64, u64)>);

impl Fresh {
    pub(crate) fn push(&mut self, id: &OpId, arrival: u64) {
        let (page, bits) = locate(era(arrival), id.prefix());
        self.0.push((page, arrival, bits));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Greatest arrival among them.
    pub(crate) fn last(&self) -> Option<u64> {
        self.0.iter().map(|(_, arrival, _)| *arrival).max()
    }

    /// Writes them, page by page.
    pub(crate) fn flush(&mut self, conn: &Connection) -> Result<(), LogError> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_unstable();
        // Joining two blobs gives a text of the same bytes.
        let mut statement = conn.prepare_cached(
            "INSERT INTO id_page (n, entries) VALUES (?1, ?2) \
             ON CONFLICT DO UPDATE SET entries = CAST(entries || excluded.entries AS BLOB)",
        )?;
        let mut bytes = Vec::new();
        for page in self.0.chunk_by(|a, b| a.0 == b.0) {
            bytes.clear();
            for (_, arrival, bits) in page {
                bytes.extend_from_slice(&half_bytes(*bits));
                bytes.extend_from_slice(&half_bytes(*arrival));
            }
            statement.execute(params![page[0].0, bytes])?;
        }
        self.0.clear();
        Ok(())
    }
}
