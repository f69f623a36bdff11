//! Which op stands at which place of which log: pages of 64 seqs, each a row with the arrivals of its ops.
//!
//! An index over (log, seq) would take a write per op; here one row per page is written for many ops. The newest ops are
//! not in it yet: `newest.rs` knows their places. Not here: what it means that two ops share a place (`place.rs`).

use crate::{LogError, newest, row};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, btree_map};

/// Seqs of a page. With 8 bytes each, a full page's row stays below a quarter of a page of the file.
const SEQS: u64 = 64;
/// **Bytes** of an entry in a row: seq within the page, then the arrival.
const ENTRY_BYTES: usize = 8;
/// Pages kept between batches.
const PAGES_MAX: usize = 512;

/// An op's place in its log, and its arrival. Sorted by seq, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) arrival: u64,
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&((entry.seq % SEQS) << 56 | entry.arrival).to_be_bytes());
    }
    bytes
}

fn decode(page: u64, bytes: &[u8]) -> Result<Vec<Entry>, LogError> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err(LogError::damaged("a page of a log has another length than was written"));
    }
    let entry = |bytes: &[u8]| -> Result<Entry, LogError> {
        let number = u64::from_be_bytes(row::fixed(bytes)?);
        Ok(Entry { seq: page * SEQS + (number >> 56), arrival: number & ((1 << 56) - 1) })
    };
    bytes.chunks_exact(ENTRY_BYTES).map(entry).collect()
}

fn read(conn: &Connection, log: i64, page: u64) -> Result<Vec<Entry>, LogError> {
    let mut statement = conn.prepare_cached("SELECT entries FROM log_page WHERE log = ?1 AND page = ?2")?;
    let mut rows = statement.query(params![log, page as i64])?;
    rows.next()?.map_or(Ok(Vec::new()), |row| decode(page, row::blob(row, 0)?))
}

/// Calls `each` with the entries of a log from `from` to `to`, both included, ascending, until it says no.
pub(crate) fn walk(
    conn: &Connection,
    log: i64,
    from: u64,
    to: u64,
    mut each: impl FnMut(Entry) -> Result<bool, LogError>,
) -> Result<(), LogError> {
    let mut newest = newest::of_log(conn, log, from, to)?.into_iter().peekable();
    let mut statement = conn
        .prepare_cached("SELECT page, entries FROM log_page WHERE log = ?1 AND page BETWEEN ?2 AND ?3 ORDER BY page")?;
    let mut rows = statement.query(params![log, (from / SEQS) as i64, (to / SEQS) as i64])?;
    while let Some(row) = rows.next()? {
        for entry in decode(row::number(row, 0)?, row::blob(row, 1)?)? {
            if !(from..=to).contains(&entry.seq) {
                continue;
            }
            while let Some(before) = newest.next_if(|newest| *newest <= entry) {
                if before < entry && !each(before)? {
                    return Ok(());
                }
            }
            if !each(entry)? {
                return Ok(());
            }
        }
    }
    for entry in newest {
        if !each(entry)? {
            break;
        }
    }
    Ok(())
}

/// All entries of a log.
pub(crate) fn all(conn: &Connection, log: i64) -> Result<Vec<Entry>, LogError> {
    let mut entries = Vec::new();
    walk(conn, log, 0, u64::MAX, |entry| {
        entries.push(entry);
        Ok(true)
    })?;
    Ok(entries)
}

/// All entries of all logs of a conversation.
pub(crate) fn of_conversation(conn: &Connection, n: i64) -> Result<Vec<Entry>, LogError> {
    let mut statement = conn.prepare_cached("SELECT n FROM log WHERE conversation = ?1")?;
    let logs = statement.query_map([n], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let mut entries = Vec::new();
    for log in logs {
        entries.append(&mut all(conn, log)?);
    }
    Ok(entries)
}

/// Writes the pages of a log anew, for repairs: `entries` sorted.
pub(crate) fn rewrite(conn: &Connection, log: i64, entries: &[Entry]) -> Result<(), LogError> {
    conn.prepare_cached("DELETE FROM log_page WHERE log = ?1")?.execute([log])?;
    for page in entries.chunk_by(|a, b| a.seq / SEQS == b.seq / SEQS) {
        write(conn, log, page[0].seq / SEQS, page)?;
    }
    Ok(())
}

fn write(conn: &Connection, log: i64, page: u64, entries: &[Entry]) -> Result<(), LogError> {
    let mut statement =
        conn.prepare_cached("INSERT OR REPLACE INTO log_page (log, page, entries) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![log, page as i64, encode(entries)])?;
    Ok(())
}

/// The writer's copies of pages, by log and page. They hold the newest ops' places, too.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<(i64, u64), Page>,
}

#[derive(Debug, Default)]
struct Page {
    entries: Vec<Entry>,
    dirty: bool,
}

impl Pages {
    fn page(&mut self, conn: &Connection, log: i64, page: u64) -> Result<&mut Page, LogError> {
        match self.pages.entry((log, page)) {
            btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            btree_map::Entry::Vacant(place) => Ok(place.insert(Page { entries: read(conn, log, page)?, dirty: false })),
        }
    }

    /// Enters an op. `max_seq`: greatest seq of the log before it, which tells that a page cannot be there yet.
    pub(crate) fn enter(&mut self, conn: &Connection, log: i64, max_seq: u64, entry: Entry) -> Result<(), LogError> {
        let number = entry.seq / SEQS;
        let page = if max_seq == 0 || number > max_seq / SEQS {
            self.pages.entry((log, number)).or_default()
        } else {
            self.page(conn, log, number)?
        };
        let place = page.entries.partition_point(|other| *other < entry);
        if page.entries.get(place) != Some(&entry) {
            page.entries.insert(place, entry);
        }
        page.dirty = true;
        Ok(())
    }

    /// The entries from `from` to `to`, both included: for a few seqs.
    pub(crate) fn entries(&mut self, conn: &Connection, log: i64, from: u64, to: u64) -> Result<Vec<Entry>, LogError> {
        let mut found = Vec::new();
        for page in from / SEQS..=to / SEQS {
            let entries = &self.page(conn, log, page)?.entries;
            found.extend(entries.iter().filter(|entry| (from..=to).contains(&entry.seq)));
        }
        Ok(found)
    }

    /// The seq up to which a log goes on without a gap from `seq`, which is held; `max_seq` is its end.
    pub(crate) fn reach(&mut self, conn: &Connection, log: i64, seq: u64, max_seq: u64) -> Result<u64, LogError> {
        let mut reach = seq;
        for page in seq / SEQS..=max_seq / SEQS {
            for entry in &self.page(conn, log, page)?.entries {
                if entry.seq > reach + 1 {
                    return Ok(reach);
                }
                reach = reach.max(entry.seq);
            }
            if reach < page * SEQS + SEQS - 1 {
                break;
            }
        }
        Ok(reach)
    }

    /// Writes what changed.
    pub(crate) fn flush(&mut self, conn: &Connection) -> Result<(), LogError> {
        for ((log, number), page) in &mut self.pages {
            if page.dirty {
                write(conn, *log, *number, &page.entries)?;
                page.dirty = false;
            }
        }
        Ok(())
    }

    /// Forgets pages when there are too many, but for those that hold what is not written yet.
    pub(crate) fn trim(&mut self) {
        if self.pages.len() > PAGES_MAX {
            self.pages.retain(|_, page| page.dirty);
        }
    }
}
