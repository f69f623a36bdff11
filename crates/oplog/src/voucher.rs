//! Vouchers: headers that travel without their bodies, because a run of ops carries one signature at its end and the op
//! that was asked for stands before it.
//!
//! A replica that stores an unsigned op must be able to pass it on, also when the rest of the run never comes: so it
//! keeps the headers up to the signed one until it holds the ops themselves. They are not ops: nothing counts, digests
//! or delivers them. Not here: checking them (`identity`), choosing which to send (`proto`).

use crate::control::is_stranger;
use crate::reads::load_named;
use crate::{Batch, LogError, Reader, pages, row};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::limit::SIGNED_EVERY;
use tombolo_model::{ConversationId, DeviceId, Header, LogId, Op, OpId, Signature};

/// Headers that are kept of a log at most: honest runs need [`SIGNED_EVERY`] less one.
const VOUCHERS_PER_LOG_MAX: u64 = 2 * SIGNED_EVERY;

impl Batch<'_> {
    /// Keeps headers of one conversation, each checked by the caller and not held as an op, that vouch for an op that is
    /// stored or waits for its author. Others are passed over.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn put_vouchers(&mut self, conversation: &ConversationId, mut headers: Vec<Op>) -> Result<(), LogError> {
        self.guard(|batch| {
            let Some(n) = batch.conversation(conversation)?.map(|entry| entry.n) else { return Ok(()) };
            headers.sort_by_key(|op| op.header.seq);
            let mut counts: BTreeMap<(DeviceId, LogId), u64> = BTreeMap::new();
            let mut kept: BTreeSet<OpId> = BTreeSet::new();
            for op in &headers {
                let Header { author, log: name, seq, prev, .. } = &op.header;
                let follows = kept.contains(prev)
                    || batch.cache.look_up(batch.conn, n, prev)?.is_some()
                    || is_stranger(batch.conn, n, prev)?;
                if !follows {
                    continue;
                }
                let count = match counts.entry((*author, *name)) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => new.insert(count(batch.conn, n, author, name)?),
                };
                if *count >= VOUCHERS_PER_LOG_MAX {
                    continue;
                }
                let mut statement = batch.conn.prepare_cached(
                    "INSERT OR IGNORE INTO voucher (conversation, author, log, seq, id, header, signature) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                let signature = op.signature.as_ref().map(|signature| signature.0);
                let (header, id) = (op.header.to_bytes(), op.id.as_bytes());
                *count += statement.execute(params![
                    n,
                    author.as_bytes(),
                    name.as_bytes(),
                    *seq as i64,
                    id,
                    header,
                    signature
                ])? as u64;
                kept.insert(op.id);
                batch.cache.vouchers = Some(true);
            }
            Ok(())
        })
    }
}

fn count(conn: &Connection, n: i64, author: &DeviceId, log: &LogId) -> Result<u64, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT count(*) FROM voucher WHERE conversation = ?1 AND author = ?2 AND log = ?3")?;
    Ok(statement.query_row(params![n, author.as_bytes(), log.as_bytes()], |row| row.get::<_, i64>(0))? as u64)
}

/// Whether any header is kept at all.
pub(crate) fn any(conn: &Connection) -> Result<bool, LogError> {
    Ok(conn.prepare_cached("SELECT 1 FROM voucher")?.exists([])?)
}

/// Forgets the headers of a log that is held without a gap up to `contiguous`.
pub(crate) fn prune(
    conn: &Connection,
    n: i64,
    author: &DeviceId,
    log: &LogId,
    contiguous: u64,
) -> Result<(), LogError> {
    let mut statement =
        conn.prepare_cached("DELETE FROM voucher WHERE conversation = ?1 AND author = ?2 AND log = ?3 AND seq <= ?4")?;
    statement.execute(params![n, author.as_bytes(), log.as_bytes(), contiguous as i64])?;
    Ok(())
}

impl Reader {
    /// What a receiver needs to believe an unsigned op at `after_seq` of a log: the ops and kept headers behind it, up to
    /// and including the first with a signature; in a branched log, where that may be of another branch, more of them. At
    /// most `2 *` [`SIGNED_EVERY`]; without a signature among them they are returned all the same.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn voucher(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
        after_seq: u64,
    ) -> Result<Vec<Op>, LogError> {
        let Some(number) = self.log_number(conversation, author, log)? else { return Ok(Vec::new()) };
        let conn = self.db()?;
        let (n, branched): (i64, bool) = conn
            .prepare_cached("SELECT conversation, branched FROM log WHERE n = ?1")?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut aside = headers(conn, n, author, log, after_seq)?.into_iter().peekable();
        let mut ops: Vec<Op> = Vec::new();
        // In a branched log the first signature may be of another branch.
        let enough = |ops: &[Op]| {
            let ended = !branched && ops.last().is_some_and(|op| op.signature.is_some());
            ended || ops.len() as u64 >= 2 * SIGNED_EVERY
        };
        pages::walk(conn, number, after_seq.saturating_add(1), u64::MAX, |entry| {
            while !enough(&ops)
                && let Some(header) = aside.next_if(|header| header.header.seq <= entry.seq)
            {
                ops.push(header);
            }
            if !enough(&ops) {
                ops.push(load_named(conn, entry.arrival)?);
            }
            Ok(!enough(&ops))
        })?;
        while !enough(&ops)
            && let Some(header) = aside.next()
        {
            ops.push(header);
        }
        Ok(ops)
    }
}

/// Headers kept of a log behind a seq, ascending.
fn headers(conn: &Connection, n: i64, author: &DeviceId, log: &LogId, after_seq: u64) -> Result<Vec<Op>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, header, signature FROM voucher WHERE conversation = ?1 AND author = ?2 AND log = ?3 AND seq > ?4 \
         ORDER BY seq, id",
    )?;
    let after_seq = i64::try_from(after_seq).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![n, author.as_bytes(), log.as_bytes(), after_seq])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let header = Header::from_bytes(row::blob(row, 1)?)
            .map_err(|_| LogError::damaged("a header that vouches for another op cannot be read"))?;
        let signature = row::blob_or_none(row, 2)?.map(row::fixed).transpose()?.map(Signature);
        found.push(Op { id: OpId(row::array(row, 0)?), header, signature, body: None });
    }
    Ok(found)
}
