//! Where an op stands in its log: heights, branches and their evidence, and which own log is open for writing.
//!
//! Two ops that claim one place, and an op whose `prev` is not the op before it, are branches: everything is kept, the log
//! is flagged, and the ids that contradict each other are kept as evidence. What is flagged depends on the set alone.
//! Not here: the order of steps (`append.rs`), pages of a log (`pages.rs`).

use crate::append::Run;
use crate::cache::LogRow;
use crate::pages::Entry;
use crate::{Batch, Equivocation, LogError, State, row};
use rusqlite::params;
use rusqlite::types::ValueRef;
use std::collections::BTreeSet;
use tombolo_model::{DeviceId, Hlc, Op, OpId};

/// Where an op stands in its log.
#[derive(Default)]
pub(crate) struct Place {
    /// Arrival of the op that it names as `prev`, if that is here.
    pub(crate) prev_arrival: Option<u64>,
    /// Another op has the same seq.
    pub(crate) occupied: bool,
    /// Places that more than one id claims: the seq and all ids.
    conflicts: Vec<(u64, BTreeSet<OpId>)>,
}

impl Batch<'_> {
    /// Arrival of an op that is stored at its place already.
    pub(crate) fn arrival_at(&mut self, log: &LogRow, op: &Op) -> Result<Option<u64>, LogError> {
        for entry in self.cache.pages.entries(self.conn, log.n, op.header.seq, op.header.seq)? {
            if self.id_and_prev(entry.arrival)?.0 == op.id {
                return Ok(Some(entry.arrival));
            }
        }
        Ok(None)
    }

    /// Id of a stored op, and the one that it names as `prev`.
    fn id_and_prev(&self, arrival: u64) -> Result<(OpId, Option<OpId>), LogError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT o.id, o.prev, p.id FROM op o LEFT JOIN op p ON typeof(o.prev) = 'integer' AND p.arrival = o.prev \
             WHERE o.arrival = ?1",
        )?;
        let mut rows = statement.query([arrival as i64])?;
        let row = rows.next()?.ok_or_else(|| LogError::damaged("a page of a log names an op that is not stored"))?;
        let prev = match row.get_ref(1)? {
            ValueRef::Null => None,
            ValueRef::Blob(id) => Some(OpId(row::fixed(id)?)),
            _ => Some(OpId(row::array(row, 2)?)),
        };
        Ok((OpId(row::array(row, 0)?), prev))
    }

    /// Where an op would stand in its log, before it is stored.
    pub(crate) fn place(&mut self, op: &Op, log: Option<&LogRow>) -> Result<Place, LogError> {
        let (seq, prev) = (op.header.seq, op.header.prev);
        let mut place = Place::default();
        let Some(log) = log else { return Ok(place) };
        let next = log.max_seq + 1;
        if !log.branched && (seq > next || (seq == next && prev == log.tip)) {
            place.prev_arrival = (seq == next).then_some(log.tip_arrival);
            return Ok(place);
        }
        // Ids that are here, or named by what is here, at the place before and at this one.
        let (mut before, mut here) = (BTreeSet::new(), BTreeSet::from([op.id]));
        if seq > 1 {
            before.insert(prev);
        }
        for entry in self.cache.pages.entries(self.conn, log.n, seq - 1, seq + 1)? {
            let (id, named) = self.id_and_prev(entry.arrival)?;
            if entry.seq + 1 == seq {
                before.insert(id);
                if id == prev {
                    place.prev_arrival = Some(entry.arrival);
                }
            } else if entry.seq == seq {
                place.occupied = true;
                here.insert(id);
                before.extend(named);
            } else {
                here.extend(named);
            }
        }
        for (at, ids) in [(seq - 1, before), (seq, here)] {
            if ids.len() > 1 {
                place.conflicts.push((at, ids));
            }
        }
        Ok(place)
    }

    /// Moves the log on by one op, whose own row is stored already.
    pub(crate) fn enter_log(
        &mut self,
        log: &mut LogRow,
        op: &Op,
        place: &Place,
        arrival: u64,
        state: State,
    ) -> Result<(), LogError> {
        let (conn, header) = (self.conn, &op.header);
        self.cache.pages.enter(conn, log.n, log.max_seq, Entry { seq: header.seq, arrival })?;
        log.count += 1;
        log.branches += u64::from(place.occupied);
        log.branched |= !place.conflicts.is_empty();
        if header.seq > log.max_seq || (header.seq == log.max_seq && op.id < log.tip) {
            (log.max_seq, log.tip, log.tip_hlc) = (header.seq, op.id, header.hlc);
            (log.tip_arrival, log.tip_settled) = (arrival, state.is_settled());
        }
        if header.seq == log.contiguous + 1 {
            log.contiguous = header.seq;
            if log.contiguous < log.max_seq {
                log.contiguous = self.cache.pages.reach(conn, log.n, header.seq, log.max_seq)?;
            }
        }
        Ok(())
    }

    /// Keeps the evidence.
    pub(crate) fn record_conflicts(
        &mut self,
        op: &Op,
        log: &LogRow,
        place: &Place,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        for (seq, ids) in &place.conflicts {
            let mut statement =
                self.conn.prepare_cached("INSERT OR IGNORE INTO equivocation (log, seq, id) VALUES (?1, ?2, ?3)")?;
            let mut news = 0;
            for id in ids {
                news += statement.execute(params![log.n, *seq as i64, id.as_bytes()])?;
            }
            if news > 0 {
                run.out.equivocations.push(Equivocation {
                    conversation: op.conversation(),
                    author: op.header.author,
                    log: op.header.log,
                    seq: *seq,
                    ids: ids.iter().copied().collect(),
                });
            }
        }
        Ok(())
    }

    /// Makes a log that this device has just begun the open one.
    pub(crate) fn open_own_log(&mut self, n: i64, op: &Op, log: &mut LogRow) -> Result<(), LogError> {
        self.cache.own.insert(op.header.author);
        self.shut(n, &op.header.author)?;
        let mut statement = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO own_log (conversation, device, log, open) VALUES (?1, ?2, ?3, 1)",
        )?;
        statement.execute(params![n, op.header.author.as_bytes(), op.header.log.as_bytes()])?;
        log.open = true;
        Ok(())
    }

    /// A peer has an op of this device that was not here. If it is of the open log, or of one of which nothing is known,
    /// the open log's end cannot be trusted to be its end.
    pub(crate) fn close_own_logs(&mut self, n: i64, op: &Op, log: &mut LogRow) -> Result<(), LogError> {
        let mut statement =
            self.conn.prepare_cached("SELECT 1 FROM own_log WHERE conversation = ?1 AND device = ?2 AND log = ?3")?;
        let begun_here = statement.exists(params![n, op.header.author.as_bytes(), op.header.log.as_bytes()])?;
        if log.open || !begun_here {
            self.shut(n, &op.header.author)?;
            log.open = false;
        }
        Ok(())
    }

    fn shut(&mut self, n: i64, device: &DeviceId) -> Result<(), LogError> {
        self.conn
            .prepare_cached("UPDATE own_log SET open = 0 WHERE conversation = ?1 AND device = ?2 AND open = 1")?
            .execute(params![n, device.as_bytes()])?;
        for ((conversation, author, _), log) in &mut self.cache.logs {
            if *conversation == n && author == device {
                log.open = false;
            }
        }
        Ok(())
    }
}

/// Whether an op that this device wrote goes on where its open log ends, or begins a new log.
pub(crate) fn follows_own_tail(op: &Op, log: Option<&LogRow>) -> bool {
    match log {
        None => op.header.seq == 1,
        Some(log) => {
            let at_end = op.header.seq == log.max_seq + 1 && op.header.prev == log.tip;
            log.open && !log.branched && at_end && op.header.hlc > Hlc::ZERO
        }
    }
}
