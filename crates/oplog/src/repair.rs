//! Repairs: dropping ops whose rows are damaged, so that peers can bring them again, and computing anew what follows
//! from the ops.
//!
//! Only doctor comes here; the ordinary way of an op never does. Not here: finding the damage (`check.rs`), fetching what
//! was dropped (`replica`).

use crate::cache::Cache;
use crate::pages::{self, Entry};
use crate::row::{self, select_op};
use crate::tree::{Item, Tree};
use crate::{Batch, LogError, Reader, State, ids, reads};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::digest::{Chain, Sum};
use tombolo_model::{ConversationId, DeviceId, Hlc, Key, Op, OpId};

/// An op whose row is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damaged {
    /// Its row.
    pub arrival: u64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its id, as well as it can be told.
    pub id: OpId,
}

/// What the ops of a log add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogCounts {
    pub(crate) max_seq: u64,
    pub(crate) count: u64,
    pub(crate) contiguous: u64,
    pub(crate) tip: OpId,
    pub(crate) tip_hlc: Hlc,
    pub(crate) tip_arrival: u64,
    pub(crate) branched: bool,
    pub(crate) branches: u64,
    /// Places that several ids claim.
    pub(crate) conflicts: BTreeMap<u64, BTreeSet<OpId>>,
}

/// Ids that claim a place, and the place.
type Claims = (u64, BTreeSet<OpId>);

/// Counts a log from its ops.
pub(crate) fn recount_log(conn: &Connection, log: i64) -> Result<LogCounts, LogError> {
    let mut counts = LogCounts::default();
    let mut close = |claims: &Claims| {
        if claims.1.len() > 1 {
            counts.conflicts.insert(claims.0, claims.1.clone());
        }
    };
    // Ids at, or named for, the last two places.
    let (mut before, mut here): (Claims, Claims) = Default::default();
    let (mut count, mut contiguous, mut branches) = (0, 0, 0);
    let mut tip: Option<(u64, OpId, Hlc, u64)> = None;
    for Entry { seq, arrival } in pages::all(conn, log)? {
        let op = reads::load_named(conn, arrival)?;
        if seq == here.0 {
            branches += 1;
        } else {
            close(&before);
            before = std::mem::replace(&mut here, (seq, BTreeSet::new()));
            if before.0 + 1 != seq {
                close(&before);
                before = (seq - 1, BTreeSet::new());
            }
        }
        here.1.insert(op.id);
        if seq > 1 {
            before.1.insert(op.header.prev);
        }
        count += 1;
        if seq == contiguous + 1 {
            contiguous = seq;
        }
        if tip.is_none_or(|tip| seq > tip.0 || op.id < tip.1) {
            tip = Some((seq, op.id, op.header.hlc, arrival));
        }
    }
    close(&before);
    close(&here);
    let branched = !counts.conflicts.is_empty();
    let (max_seq, tip, tip_hlc, tip_arrival) = tip.unwrap_or_default();
    let conflicts = counts.conflicts;
    Ok(LogCounts { max_seq, count, contiguous, tip, tip_hlc, tip_arrival, branched, branches, conflicts })
}

/// Heads of a conversation from its delivered ops.
pub(crate) fn recount_heads(conn: &Connection, n: i64) -> Result<BTreeMap<OpId, Hlc>, LogError> {
    let (mut all, mut named) = (Vec::new(), Vec::new());
    for entry in pages::of_conversation(conn, n)? {
        if reads::state_of(conn, entry.arrival)? == State::Delivered {
            let op = reads::load_named(conn, entry.arrival)?;
            named.extend(op.header.depends_on().copied());
            all.push((op.id, op.header.hlc));
        }
    }
    named.sort_unstable();
    all.retain(|(id, _)| named.binary_search(id).is_err());
    Ok(all.into_iter().collect())
}

/// Keys, arrivals and ids of a conversation, sorted by key.
pub(crate) fn sorted_items(conn: &Connection, n: i64) -> Result<Vec<(Item, OpId)>, LogError> {
    let mut items = Vec::new();
    let mut statement = conn.prepare_cached("SELECT hlc, id FROM op WHERE arrival = ?1")?;
    for Entry { arrival, .. } in pages::of_conversation(conn, n)? {
        let mut rows = statement.query([arrival as i64])?;
        if let Some(row) = rows.next()? {
            let (hlc, id) = (Hlc(row::number(row, 0)?), OpId(row::array(row, 1)?));
            items.push((Item { key: Key::new(hlc, &id).0, arrival }, id));
        }
    }
    items.sort_unstable();
    Ok(items)
}

/// What a stored op waits for: whatever it depends on and is not settled.
pub(crate) fn waits_of(conn: &Connection, n: i64, op: &Op) -> Result<BTreeSet<OpId>, LogError> {
    let mut waits = BTreeSet::new();
    for id in op.header.depends_on() {
        let settled = match reads::find(conn, n, id)? {
            Some(arrival) => reads::state_of(conn, arrival)?.is_settled(),
            None => false,
        };
        if !settled {
            waits.insert(*id);
        }
    }
    Ok(waits)
}

/// The id that a row should have, if its header can be told: as it stands, or with the `prev` that the row before should
/// have had. `None` = the header or the body is damaged.
pub(crate) fn true_id(conn: &Connection, arrival: u64, op: &Op) -> Result<Option<OpId>, LogError> {
    let fits = op.body.as_ref().is_none_or(|body| body.len() == op.header.body_len as usize);
    if !fits || op.header.check().is_err() {
        return Ok(None);
    }
    let computed = op.header.id();
    if computed == op.id {
        return Ok(Some(computed));
    }
    // The row may name its prev by the row of it, whose own id is damaged.
    let mut statement = conn.prepare_cached(select_op!(
        "WHERE o.arrival = (SELECT prev FROM op WHERE arrival = ?1 AND typeof(prev) = 'integer')"
    ))?;
    let mut rows = statement.query([arrival as i64])?;
    if let Some(row) = rows.next()? {
        let mut header = op.header.clone();
        header.prev = row::read(row)?.1.header.id();
        if header.id() == op.id {
            return Ok(Some(op.id));
        }
    }
    // Either the id's column is damaged or the header; the chain of arrivals knows which.
    let (before, chain) = chain_around(conn, arrival)?;
    let header_is_right = before.is_some_and(|before| before.next(&computed) == chain);
    Ok(header_is_right.then_some(computed))
}

/// The chain before an arrival (if that row is here) and after it.
fn chain_around(conn: &Connection, arrival: u64) -> Result<(Option<Chain>, Chain), LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT chain FROM op WHERE arrival = ?1 UNION ALL SELECT chain FROM dropped WHERE arrival = ?1 LIMIT 1",
    )?;
    let mut at = |arrival: u64| -> Result<Option<Chain>, LogError> {
        let mut rows = statement.query([arrival as i64])?;
        rows.next()?.map(|row| row::array(row, 0).map(Chain)).transpose()
    };
    Ok((at(arrival.saturating_sub(1))?, at(arrival)?.unwrap_or_default()))
}

impl Reader {
    /// Ops whose rows are not what was written, by arrival. Every row is read.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn damaged(&self) -> Result<Vec<Damaged>, LogError> {
        let mut found = Vec::new();
        self.each_damaged(|damaged, _| found.push(damaged), |_| {})?;
        Ok(found)
    }

    /// Walks all rows and calls `each` with every damaged one and what is wrong with it, `step` with every arrival.
    pub(crate) fn each_damaged(
        &self,
        mut each: impl FnMut(Damaged, &'static str),
        mut step: impl FnMut(u64),
    ) -> Result<(), LogError> {
        let conn = self.db()?;
        let mut statement = conn.prepare_cached(
            "SELECT o.arrival, c.id, o.id FROM op o CROSS JOIN conversation c ON c.n = o.conversation \
             ORDER BY o.arrival",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (arrival, conversation) = (row::number(row, 0)?, ConversationId(row::array(row, 1)?));
            step(arrival);
            let stored = OpId(row::array(row, 2).unwrap_or_default());
            let damaged = |id| Damaged { arrival, conversation, id };
            match reads::load(conn, arrival) {
                Ok(Some(op)) => match true_id(conn, arrival, &op)? {
                    Some(id) if id != stored => each(damaged(id), "the id is not that of the header"),
                    Some(_) => {}
                    None => each(damaged(stored), "header or body do not give the id"),
                },
                Ok(None) => each(damaged(stored), "the row cannot be read"),
                Err(LogError::Damaged(_)) => each(damaged(stored), "a column cannot be read"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Drops damaged ops, so that they count as missing and peers bring them again; computes anew whatever follows from
    /// the ops that are left. What has been delivered stays delivered. When a dropped op comes back it is given to the
    /// fold once more: views should be rebuilt after a repair. Own logs that lose an op are closed.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn drop_damaged(&mut self, damaged: &[Damaged]) -> Result<(), LogError> {
        self.guard(|batch| {
            batch.cache.list(batch.conn)?;
            batch.cache.flush(batch.conn)?;
            let mut conversations = BTreeSet::new();
            for one in damaged {
                batch.drop_row(one)?;
                conversations.insert(one.conversation);
            }
            ids::rebuild(batch.conn)?;
            for conversation in &conversations {
                batch.rebuild_from_ops(conversation)?;
            }
            batch.forget_memory()
        })
    }

    /// Computes anew everything about a conversation that follows from its ops: places, sums, digest tree,
    /// logs, heads, waits; and the pages of ids of all conversations.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn rebuild(&mut self, conversation: &ConversationId) -> Result<(), LogError> {
        self.guard(|batch| {
            batch.cache.list(batch.conn)?;
            batch.cache.flush(batch.conn)?;
            ids::rebuild(batch.conn)?;
            batch.rebuild_from_ops(conversation)?;
            batch.forget_memory()
        })
    }

    /// Begins a new order of arrival: numbers stay, the chain is computed anew under a new incarnation, which must be
    /// random. Peers notice and compare everything. For a damaged chain, or a file restored from a backup. The connection
    /// that did this knows its new incarnation only after the file has been opened again.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn restart_chain(&mut self, random: u64) -> Result<(), LogError> {
        self.guard(|batch| {
            batch.cache.flush(batch.conn)?;
            let conn = batch.conn;
            let mut chain = Chain::start(random);
            let mut select = conn.prepare_cached(
                "SELECT arrival, id, 0 FROM op UNION ALL SELECT arrival, id, 1 FROM dropped ORDER BY arrival",
            )?;
            let mut in_op = conn.prepare_cached("UPDATE op SET chain = ?2 WHERE arrival = ?1")?;
            let mut in_dropped = conn.prepare_cached("UPDATE dropped SET chain = ?2 WHERE arrival = ?1")?;
            // Read first: rows must not change under a statement that walks them.
            let mut ids = Vec::new();
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                ids.push((row.get::<_, i64>(0)?, OpId(row::array(row, 1)?), row.get::<_, bool>(2)?));
            }
            drop(rows);
            for (arrival, id, dropped) in ids {
                chain = chain.next(&id);
                let update = if dropped { &mut in_dropped } else { &mut in_op };
                update.execute(params![arrival, chain.0])?;
            }
            conn.execute("UPDATE meta SET value = ?1 WHERE key = 'incarnation'", [random.to_be_bytes().as_slice()])?;
            batch.forget_memory()
        })
    }

    fn forget_memory(&mut self) -> Result<(), LogError> {
        *self.cache = Cache::default();
        self.reader.proofs.borrow_mut().clear();
        self.cache.refresh(self.conn, self.reader.incarnation())
    }

    fn drop_row(&mut self, damaged: &Damaged) -> Result<(), LogError> {
        let conn = self.conn;
        let arrival = damaged.arrival as i64;
        let found: Option<(i64, i64, i64, Vec<u8>)> = conn
            .prepare_cached("SELECT conversation, log, seq, chain FROM op WHERE arrival = ?1")?
            .query_row([arrival], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((n, log, seq, chain)) = found else { return Ok(()) };
        // Rows that name this one as their prev get its id written out.
        let mut followers = Vec::new();
        pages::walk(conn, log, seq as u64 + 1, seq as u64 + 1, |entry| {
            followers.push(entry.arrival as i64);
            Ok(true)
        })?;
        for follower in followers {
            conn.prepare_cached("UPDATE op SET prev = ?3 WHERE arrival = ?1 AND prev = ?2")?.execute(params![
                follower,
                arrival,
                damaged.id.as_bytes()
            ])?;
        }
        let mut entries = pages::all(conn, log)?;
        entries.retain(|entry| entry.arrival != damaged.arrival);
        pages::rewrite(conn, log, &entries)?;
        conn.prepare_cached(
            "INSERT OR REPLACE INTO dropped (arrival, conversation, id, chain) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![arrival, n, damaged.id.as_bytes(), chain])?;
        conn.prepare_cached("DELETE FROM missing WHERE waiter = ?1")?.execute([arrival])?;
        conn.prepare_cached("DELETE FROM undelivered WHERE arrival = ?1")?.execute([arrival])?;
        conn.prepare_cached("DELETE FROM op WHERE arrival = ?1")?.execute([arrival])?;
        self.forget_fate(damaged.arrival)?;
        conn.prepare_cached(
            "UPDATE own_log SET open = 0 WHERE conversation = ?1 AND (device, log) IN \
             (SELECT author, log FROM log WHERE n = ?2)",
        )?
        .execute(params![n, log])?;
        Ok(())
    }

    fn rebuild_from_ops(&mut self, id: &ConversationId) -> Result<(), LogError> {
        let conn = self.conn;
        let n = reads::conversation_number(conn, id)?.ok_or(LogError::UnknownConversation(*id))?;
        self.rebuild_places(n)?;
        let items = sorted_items(conn, n)?;
        conn.prepare_cached("DELETE FROM node WHERE conversation = ?1")?.execute([n])?;
        conn.prepare_cached("DELETE FROM sketch WHERE conversation = ?1")?.execute([n])?;
        let mut tree = Tree::build(&items);
        tree.flush(conn, n)?;
        self.rebuild_logs(n)?;
        self.rebuild_waits(n)?;
        self.rebuild_heads(n)?;
        self.rebuild_bodies(n, id)?;
        let sum: Sum = tree.sum();
        let last = items.iter().map(|(item, _)| item.arrival).max().unwrap_or(0);
        let mut top_hlc = Hlc::ZERO;
        for (item, _) in items.iter().rev() {
            if reads::state_of(conn, item.arrival)? == State::Delivered {
                top_hlc = Key(item.key).hlc();
                break;
            }
        }
        conn.prepare_cached(
            "UPDATE conversation SET ops = ?2, sum = ?3, \
             last_arrival = max(last_arrival, ?4), top_hlc = ?5, \
             waiting = (SELECT count(*) FROM (SELECT arrival FROM undelivered WHERE conversation = ?1 AND \
             state IN (1, 2) UNION SELECT waiter FROM missing WHERE conversation = ?1)) WHERE n = ?1",
        )?
        .execute(params![n, sum.count as i64, sum.to_bytes(), last as i64, top_hlc.0 as i64])?;
        Ok(())
    }

    /// Writes places anew from the ops. All rows are read: there is no other list of them to trust.
    fn rebuild_places(&mut self, n: i64) -> Result<(), LogError> {
        let conn = self.conn;
        let mut statement = conn.prepare_cached("SELECT arrival, log, seq FROM op WHERE conversation = ?1")?;
        let mut rows = statement.query([n])?;
        let mut logs: BTreeMap<i64, Vec<Entry>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (arrival, log) = (row::number(row, 0)?, row.get(1)?);
            logs.entry(log).or_default().push(Entry { seq: row::number(row, 2)?, arrival });
        }
        drop(rows);
        for (log, mut entries) in logs {
            entries.sort_unstable();
            pages::rewrite(conn, log, &entries)?;
        }
        Ok(())
    }

    fn rebuild_logs(&mut self, n: i64) -> Result<(), LogError> {
        let conn = self.conn;
        let mut statement = conn.prepare_cached("SELECT n FROM log WHERE conversation = ?1")?;
        let logs = statement.query_map([n], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        for log in logs {
            let counts = recount_log(conn, log)?;
            if counts.count == 0 {
                conn.prepare_cached("DELETE FROM log WHERE n = ?1")?.execute([log])?;
                continue;
            }
            conn.prepare_cached(
                "UPDATE log SET max_seq = ?2, count = ?3, contiguous = ?4, tip = ?5, tip_hlc = ?6, branched = ?7, \
                 branches = ?8, tip_arrival = ?9 WHERE n = ?1",
            )?
            .execute(params![
                log,
                counts.max_seq as i64,
                counts.count as i64,
                counts.contiguous as i64,
                counts.tip.as_bytes(),
                counts.tip_hlc.0 as i64,
                counts.branched,
                counts.branches as i64,
                counts.tip_arrival as i64
            ])?;
            for (seq, ids) in counts.conflicts {
                for id in ids {
                    conn.prepare_cached("INSERT OR IGNORE INTO equivocation (log, seq, id) VALUES (?1, ?2, ?3)")?
                        .execute(params![log, seq as i64, id.as_bytes()])?;
                }
            }
        }
        Ok(())
    }

    fn rebuild_waits(&mut self, n: i64) -> Result<(), LogError> {
        let conn = self.conn;
        // Rows of own ops that run ahead stay: nothing but them tells which these are.
        conn.prepare_cached(
            "DELETE FROM missing WHERE conversation = ?1 AND waiter IN (SELECT arrival FROM undelivered)",
        )?
        .execute([n])?;
        let mut statement =
            conn.prepare_cached("SELECT arrival FROM undelivered WHERE state IN (1, 2) AND conversation = ?1")?;
        let waiting = statement.query_map([n], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        let mut insert =
            conn.prepare_cached("INSERT OR IGNORE INTO missing (conversation, id, waiter) VALUES (?1, ?2, ?3)")?;
        for arrival in waiting {
            let Some(op) = reads::load(conn, arrival as u64)? else { continue };
            for id in waits_of(conn, n, &op)? {
                insert.execute(params![n, id.as_bytes(), arrival])?;
            }
        }
        Ok(())
    }

    /// Writes the heads anew from the delivered ops.
    pub(crate) fn rebuild_heads(&mut self, n: i64) -> Result<(), LogError> {
        let heads = row::encode_heads(&recount_heads(self.conn, n)?);
        self.conn.prepare_cached("UPDATE conversation SET heads = ?2 WHERE n = ?1")?.execute(params![n, heads])?;
        Ok(())
    }

    /// An op that was dropped as damaged has come back: others that are delivered may name it already.
    pub(crate) fn heads_after_return(&mut self, id: &ConversationId, n: i64) -> Result<(), LogError> {
        self.cache.flush(self.conn)?;
        self.rebuild_heads(n)?;
        // The row is read again; nothing in memory is ahead of it.
        self.cache.conversations.remove(id);
        Ok(())
    }
}

/// Ids of dropped ops that may come back.
pub(crate) fn dropped(conn: &Connection) -> Result<BTreeSet<OpId>, LogError> {
    let mut statement = conn.prepare_cached("SELECT id FROM dropped")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        found.insert(OpId(row::array(row, 0)?));
    }
    Ok(found)
}

/// Devices that ever wrote through this store.
pub(crate) fn own_devices(conn: &Connection) -> Result<BTreeSet<DeviceId>, LogError> {
    let mut statement = conn.prepare_cached("SELECT DISTINCT device FROM own_log")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        found.insert(DeviceId(row::array(row, 0)?));
    }
    Ok(found)
}
