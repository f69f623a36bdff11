//! Scrubbing: what SQLite leaves between the rows of a page when it moves them.
//!
//! `secure_delete` writes zeros over a row that is deleted where it stands. But whenever pages are balanced SQLite copies
//! rows to other pages and leaves the old bytes in the gap between the list of rows and the first of them: a body that
//! is erased later may stand there still. Measured in a file of 900 messages whose rows had moved about: 2 of 300 erased
//! texts could be read, and none after scrubbing. So after something was let go of, every page is looked at once, some at
//! a time, and its gaps are filled with zeros; only pages that had something there are written.
//!
//! The place and how many pages are left stand in `meta`, in the transaction that lets go, so a crash forgets nothing.
//! Pages come through `sqlite_dbpage`, the layout is that of the file format (sqlite.org/fileformat2.html, section 1.6).
//! Not here: the WAL (`wipe.rs`), which bodies go (`gone.rs`).

use crate::{Log, LogError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// Pages that one call looks at: 16 MiB, in about 10 ms (measured without optimization).
pub(crate) const PAGES_AT_ONCE: u64 = 4_096;
const KEY: &str = "scrub";

/// Where the next call goes on, and how many pages it takes to have seen each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    next: u64,
    left: u64,
}

fn pages(conn: &Connection) -> Result<u64, LogError> {
    Ok(conn.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))? as u64)
}

fn round(conn: &Connection) -> Result<Option<Round>, LogError> {
    let mut statement = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let value: Option<[u8; 16]> = statement.query_row([KEY], |row| row.get(0)).optional()?;
    let half = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(value.map(|value| Round { next: half(&value[..8]), left: half(&value[8..]) }))
}

fn put(conn: &Connection, round: Option<Round>) -> Result<(), LogError> {
    match round {
        None => conn.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([KEY])?,
        Some(Round { next, left }) => {
            let value = [next.to_be_bytes(), left.to_be_bytes()].concat();
            let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
            statement.execute(params![KEY, value])?
        }
    };
    Ok(())
}

/// Something is let go of in this transaction: all pages are to be looked at once more, from wherever the round is.
pub(crate) fn begin(conn: &Connection) -> Result<(), LogError> {
    let next = round(conn)?.map_or(1, |round| round.next);
    put(conn, Some(Round { next, left: pages(conn)? }))
}

/// Nothing is left to look at: the file was written anew.
pub(crate) fn end(conn: &Connection) -> Result<(), LogError> {
    put(conn, None)
}

impl Log {
    /// Clears the gaps of the next pages, if anything was let go of. Returns whether every page has been seen since.
    ///
    /// # Errors
    /// [`LogError`] of SQLite; [`LogError::Busy`] while another connection writes.
    pub(crate) fn scrub(&self) -> Result<bool, LogError> {
        let conn = self.db()?;
        let Some(Round { next, left }) = round(conn)? else { return Ok(true) };
        let tx = rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let last = pages(&tx)?;
        let (mut next, mut left) = (next, left.min(last));
        let seen = left.min(PAGES_AT_ONCE);
        {
            let mut read = tx.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
            let mut write = tx.prepare_cached("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?;
            let reserved = read.query_row([1], |row| Ok(row.get_ref(0)?.as_blob()?[RESERVED_AT]))?;
            for _ in 0..seen {
                next = if next == 0 || next > last { 1 } else { next };
                let cleared = read.query_row([next as i64], |row| {
                    Ok(cleared(row.get_ref(0)?.as_blob()?, next == 1, usize::from(reserved)))
                })?;
                if let Some(page) = cleared {
                    write.execute(params![next as i64, page])?;
                }
                next += 1;
            }
        }
        left -= seen;
        put(&tx, (left > 0).then_some(Round { next, left }))?;
        tx.commit()?;
        Ok(left == 0)
    }
}

/// Where the header of the file says how many bytes at the end of each page are not SQLite's.
const RESERVED_AT: usize = 20;
/// The header of the file, before the first page's own.
const FILE_HEADER: usize = 100;

/// A page with nothing but zeros between its rows; `None` when it is so already, or is no page of a tree (those begin with
/// a page number, whose first byte is 0 in files below 64 GiB).
fn cleared(page: &[u8], first: bool, reserved: usize) -> Option<Vec<u8>> {
    let header = if first { FILE_HEADER } else { 0 };
    let two = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let list = match page.get(header)? {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let usable = page.len().checked_sub(reserved)?;
    let rows = match two(header + 5)? {
        0 => 65_536,
        at => at,
    };
    let mut gaps = vec![(list + 2 * two(header + 3)?, rows)];
    // Rows that were deleted form a chain of free blocks: next, length, and nothing more that counts.
    let mut block = two(header + 1)?;
    while block != 0 {
        let (next, len) = (two(block)?, two(block + 2)?);
        gaps.push((block + 4, block.checked_add(len)?));
        // The chain ascends; anything else is damage, and for `doctor`.
        if next != 0 && next <= block {
            return None;
        }
        block = next;
    }
    if gaps.iter().any(|(from, to)| from > to || *to > usable) {
        return None;
    }
    if gaps.iter().all(|(from, to)| page[*from..*to].iter().all(|byte| *byte == 0)) {
        return None;
    }
    let mut page = page.to_vec();
    for (from, to) in gaps {
        page[from..to].fill(0);
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_free_blocks_are_cleared_and_rows_are_not() {
        let mut page = vec![7_u8; 64];
        page[..16].copy_from_slice(&[13, 0, 20, 0, 2, 0, 40, 0, 0, 50, 0, 40, 9, 9, 9, 9]);
        page[20..24].copy_from_slice(&[0, 0, 0, 8]);
        let clear = cleared(&page, false, 4).unwrap();
        assert_eq!(clear[..12], page[..12]);
        assert!(clear[12..40].iter().enumerate().all(|(at, byte)| *byte == 0 || (8..12).contains(&at)), "{clear:?}");
        assert_eq!(clear[40..], page[40..]);
        assert_eq!(cleared(&clear, false, 4), None, "once is enough");
    }

    #[test]
    fn whatever_a_page_says_nothing_panics_and_rows_stay() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        for len in (0..600).cycle().take(20_000) {
            let mut page: Vec<u8> = (0..len).map(|_| next()).collect();
            if let Some(kind) = page.first_mut() {
                *kind = [2, 5, 10, 13, 0, 1][usize::from(next()) % 6];
            }
            if let Some(clear) = cleared(&page, false, usize::from(next()) % 80) {
                assert_eq!((clear.len(), &clear[..8]), (page.len(), &page[..8]));
                assert!(clear.iter().zip(&page).all(|(new, old)| new == old || *new == 0));
            }
            let _ = cleared(&page, true, 0);
        }
    }
}
