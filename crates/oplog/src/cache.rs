//! What the writer keeps in memory between ops and between batches, so that a row of `conversation`, `log` or `node` is
//! written once per batch and read once per many.
//!
//! Everything here can be thrown away at any time outside a batch; it *is* thrown away after a rollback and when another
//! process has written. Not here: the rules (`append.rs`, `deliver.rs`).

use crate::ids::{self, Fresh};
use crate::newest::{self, NEWEST_MAX};
use crate::pages::{Entry, Pages};
use crate::tree::Tree;
use crate::{LogError, arrivals, reads, repair, row, voucher};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::digest::{Chain, Sum};
use tombolo_model::{ConversationId, DeviceId, Hlc, LogId, OpId};

/// Ops whose state is remembered (64 bytes each): more than a batch's worth of parents.
const RECENT_MAX: usize = 4_096;
/// Conversations kept between batches.
const CONVERSATIONS_MAX: usize = 512;
/// Nodes of digest trees kept between batches, over all conversations (at most 1.2 KB each, typically half of it).
const NODES_MAX: usize = 8_192;
/// Logs kept between batches.
const LOGS_MAX: usize = 8_192;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// `PRAGMA data_version` when the rest was read: it changes when another connection commits.
    pub(crate) data_version: Option<i64>,
    pub(crate) position: u64,
    pub(crate) chain: Chain,
    pub(crate) conversations: BTreeMap<ConversationId, Conversation>,
    pub(crate) logs: BTreeMap<(i64, DeviceId, LogId), LogRow>,
    /// Which of the two above differ from their rows.
    pub(crate) dirty_conversations: BTreeSet<ConversationId>,
    pub(crate) dirty_logs: Vec<(i64, DeviceId, LogId)>,
    pub(crate) recent: Recent,
    pub(crate) pages: Pages,
    pub(crate) fresh: Fresh,
    /// Pending ops per author; absent = not counted yet.
    pub(crate) pending: BTreeMap<DeviceId, u64>,
    /// Devices that ever wrote through this store.
    pub(crate) own: BTreeSet<DeviceId>,
    /// Ops that were dropped as damaged and may come back.
    pub(crate) dropped: BTreeSet<OpId>,
    /// Whether any voucher is kept; `None` = not looked yet.
    pub(crate) vouchers: Option<bool>,
    /// Whether any op was named to be erased that is not here; `None` = not looked yet.
    pub(crate) intents: Option<bool>,
}

impl Cache {
    /// Makes the cache that of the file as it is now, inside the transaction that has just begun.
    pub(crate) fn refresh(&mut self, conn: &Connection, incarnation: u64) -> Result<(), LogError> {
        let version: i64 = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version == Some(version) {
            return Ok(());
        }
        *self = Self::default();
        (self.position, self.chain) = arrivals::last_arrival(conn, incarnation)?;
        self.own = repair::own_devices(conn)?;
        self.dropped = repair::dropped(conn)?;
        for op in newest::all(conn)? {
            self.fresh.push(&op.id, op.arrival);
            self.pages.enter(conn, op.log, u64::MAX, Entry { seq: op.seq, arrival: op.arrival })?;
        }
        self.data_version = Some(version);
        Ok(())
    }

    /// Writes places and ids of the newest ops into their pages.
    pub(crate) fn list(&mut self, conn: &Connection) -> Result<(), LogError> {
        if let Some(last) = self.fresh.last() {
            self.fresh.flush(conn)?;
            self.pages.flush(conn)?;
            newest::set_listed(conn, last)?;
        }
        Ok(())
    }

    /// The same once it is worth it.
    fn list_many(&mut self, conn: &Connection) -> Result<(), LogError> {
        if self.fresh.len() >= NEWEST_MAX { self.list(conn) } else { Ok(()) }
    }

    /// Writes rows that changed.
    pub(crate) fn flush(&mut self, conn: &Connection) -> Result<(), LogError> {
        self.list_many(conn)?;
        let any_voucher = match self.vouchers {
            Some(any) => any,
            None => *self.vouchers.insert(voucher::any(conn)?),
        };
        for key in std::mem::take(&mut self.dirty_logs) {
            if let Some(log) = self.logs.get_mut(&key) {
                log.flush(conn)?;
                log.dirty = false;
                if any_voucher {
                    voucher::prune(conn, key.0, &key.1, &key.2, log.contiguous)?;
                }
            }
        }
        for id in std::mem::take(&mut self.dirty_conversations) {
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.flush(conn)?;
            }
        }
        Ok(())
    }

    /// Forgets parts that have grown too large. Only right after a commit: nothing may be dirty.
    pub(crate) fn trim(&mut self) {
        let nodes: usize = self.conversations.values().filter_map(|c| c.tree.as_ref()).map(Tree::len).sum();
        if nodes > NODES_MAX {
            for conversation in self.conversations.values_mut() {
                conversation.tree = None;
            }
        }
        if self.conversations.len() > CONVERSATIONS_MAX {
            self.conversations.clear();
        }
        if self.logs.len() > LOGS_MAX {
            self.logs.clear();
        }
        self.pages.trim();
    }
}

/// The writer's copy of a conversation's row, with its heads and tree.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) n: i64,
    pub(crate) kind: Option<i64>,
    pub(crate) sum: Sum,
    pub(crate) last_arrival: u64,
    pub(crate) waiting: u64,
    pub(crate) top_hlc: Hlc,
    /// How many ops of unknown authors wait.
    pub(crate) strangers: usize,
    /// Delivered ops that no delivered op names.
    pub(crate) heads: BTreeMap<OpId, Hlc>,
    /// Read when first needed.
    pub(crate) tree: Option<Tree>,
}

impl Conversation {
    pub(crate) fn load(conn: &Connection, id: &ConversationId) -> Result<Option<Self>, LogError> {
        let mut statement = conn.prepare_cached(
            "SELECT n, kind, ops, sum, last_arrival, waiting, top_hlc, heads, \
             (SELECT count(*) FROM stranger s WHERE s.conversation = c.n) FROM conversation c WHERE id = ?1",
        )?;
        let mut rows = statement.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Self {
            n: row.get(0)?,
            kind: row.get(1)?,
            sum: Sum::from_bytes(row::number(row, 2)?, &row::array(row, 3)?),
            last_arrival: row::number(row, 4)?,
            waiting: row::number(row, 5)?,
            top_hlc: Hlc(row::number(row, 6)?),
            heads: row::decode_heads(row::blob(row, 7)?)?,
            strangers: row::number(row, 8)? as usize,
            tree: None,
        }))
    }

    /// Makes the row of a new conversation.
    pub(crate) fn create(conn: &Connection, id: &ConversationId) -> Result<Self, LogError> {
        let mut statement = conn.prepare_cached(
            "INSERT INTO conversation (id, kind, ops, sum, last_arrival, waiting, top_hlc) \
             VALUES (?1, NULL, 0, ?2, 0, 0, 0)",
        )?;
        let n = statement.insert(params![id.as_bytes(), Sum::ZERO.to_bytes()])?;
        Ok(Self {
            n,
            kind: None,
            sum: Sum::ZERO,
            last_arrival: 0,
            waiting: 0,
            top_hlc: Hlc::ZERO,
            strangers: 0,
            heads: BTreeMap::new(),
            tree: Some(Tree::empty()),
        })
    }

    pub(crate) fn tree(&mut self, conn: &Connection) -> Result<&mut Tree, LogError> {
        if self.tree.is_none() {
            self.tree = Some(Tree::load(conn, self.n)?);
        }
        self.tree.as_mut().ok_or(LogError::Abandoned)
    }

    /// Writes what changed.
    fn flush(&mut self, conn: &Connection) -> Result<(), LogError> {
        let mut statement = conn.prepare_cached(
            "UPDATE conversation SET kind = ?2, ops = ?3, sum = ?4, last_arrival = ?5, waiting = ?6, top_hlc = ?7, \
             heads = ?8 WHERE n = ?1",
        )?;
        statement.execute(params![
            self.n,
            self.kind,
            self.sum.count as i64,
            self.sum.to_bytes(),
            self.last_arrival as i64,
            self.waiting as i64,
            self.top_hlc.0 as i64,
            row::encode_heads(&self.heads)
        ])?;
        if let Some(tree) = &mut self.tree {
            tree.flush(conn, self.n)?;
        }
        Ok(())
    }
}

/// The writer's copy of a log's row.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    pub(crate) n: i64,
    pub(crate) max_seq: u64,
    pub(crate) count: u64,
    pub(crate) contiguous: u64,
    pub(crate) tip: OpId,
    pub(crate) tip_hlc: Hlc,
    pub(crate) tip_arrival: u64,
    /// The tip is known to be settled. `false` = look it up.
    pub(crate) tip_settled: bool,
    pub(crate) branched: bool,
    pub(crate) branches: u64,
    /// Whether this store has it open for writing.
    pub(crate) open: bool,
    /// Among the cache's dirty ones.
    pub(crate) dirty: bool,
}

impl LogRow {
    pub(crate) fn load(conn: &Connection, n: i64, author: &DeviceId, log: &LogId) -> Result<Option<Self>, LogError> {
        let mut statement = conn.prepare_cached(
            "SELECT n, max_seq, count, contiguous, tip, tip_hlc, branched, branches, EXISTS (SELECT 1 FROM own_log w \
             WHERE w.conversation = ?1 AND w.device = ?2 AND w.log = ?3 AND w.open = 1), tip_arrival \
             FROM log WHERE conversation = ?1 AND author = ?2 AND log = ?3",
        )?;
        let mut rows = statement.query(params![n, author.as_bytes(), log.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Self {
            n: row.get(0)?,
            max_seq: row::number(row, 1)?,
            count: row::number(row, 2)?,
            contiguous: row::number(row, 3)?,
            tip: OpId(row::array(row, 4)?),
            tip_hlc: Hlc(row::number(row, 5)?),
            tip_arrival: row::number(row, 9)?,
            tip_settled: false,
            branched: row.get(6)?,
            branches: row::number(row, 7)?,
            open: row.get(8)?,
            dirty: false,
        }))
    }

    /// Makes the row of a new log, still without ops.
    pub(crate) fn create(conn: &Connection, n: i64, author: &DeviceId, log: &LogId) -> Result<Self, LogError> {
        let mut statement = conn.prepare_cached(
            "INSERT INTO log (conversation, author, log, max_seq, count, contiguous, tip, tip_hlc, tip_arrival, \
             branched, branches) VALUES (?1, ?2, ?3, 0, 0, 0, ?4, 0, 0, 0, 0)",
        )?;
        let number = statement.insert(params![n, author.as_bytes(), log.as_bytes(), OpId::ZERO.as_bytes()])?;
        Ok(Self {
            n: number,
            max_seq: 0,
            count: 0,
            contiguous: 0,
            tip: OpId::ZERO,
            tip_hlc: Hlc::ZERO,
            tip_arrival: 0,
            tip_settled: false,
            branched: false,
            branches: 0,
            open: false,
            dirty: false,
        })
    }

    /// Writes what changed.
    fn flush(&self, conn: &Connection) -> Result<(), LogError> {
        let mut statement = conn.prepare_cached(
            "UPDATE log SET max_seq = ?2, count = ?3, contiguous = ?4, tip = ?5, tip_hlc = ?6, branched = ?7, \
             branches = ?8, tip_arrival = ?9 WHERE n = ?1",
        )?;
        statement.execute(params![
            self.n,
            self.max_seq as i64,
            self.count as i64,
            self.contiguous as i64,
            self.tip.as_bytes(),
            self.tip_hlc.0 as i64,
            self.branched,
            self.branches as i64,
            self.tip_arrival as i64
        ])?;
        Ok(())
    }
}

/// What the readiness of another op depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) conversation: i64,
    pub(crate) hlc: Hlc,
    pub(crate) settled: bool,
}

/// The ops that were stored or looked up last: the last two per slot, chosen by the id (ids are hashes, so they spread
/// evenly).
#[derive(Debug, Default)]
pub(crate) struct Recent {
    slots: Vec<[Option<(OpId, Known)>; 2]>,
}

impl Recent {
    fn slot(id: &OpId) -> usize {
        (id.prefix() % (RECENT_MAX as u64 / 2)) as usize
    }

    pub(crate) fn get(&self, id: &OpId) -> Option<Known> {
        let slot = self.slots.get(Self::slot(id))?;
        slot.iter().flatten().find(|known| known.0 == *id).map(|known| known.1)
    }

    pub(crate) fn put(&mut self, id: &OpId, known: Known) {
        if self.slots.is_empty() {
            self.slots.resize_with(RECENT_MAX / 2, Default::default);
        }
        let [newer, older] = &mut self.slots[Self::slot(id)];
        if newer.is_none_or(|other| other.0 != *id) {
            *older = newer.take();
        }
        *newer = Some((*id, known));
    }
}

impl Cache {
    /// Looks an op up by conversation and id: in memory, then in its row.
    pub(crate) fn look_up(&mut self, conn: &Connection, n: i64, id: &OpId) -> Result<Option<Known>, LogError> {
        if let Some(known) = self.recent.get(id).filter(|known| known.conversation == n) {
            return Ok(Some(known));
        }
        self.list_many(conn)?;
        let Some(arrival) = ids::find(conn, n, self.position, id)? else { return Ok(None) };
        let mut statement = conn.prepare_cached("SELECT hlc FROM op WHERE arrival = ?1")?;
        let hlc: i64 = statement.query_row([arrival as i64], |row| row.get(0))?;
        let settled = reads::state_of(conn, arrival)?.is_settled();
        let known = Known { conversation: n, hlc: Hlc(hlc as u64), settled };
        self.recent.put(id, known);
        Ok(Some(known))
    }
}

/// Pending ops of an author, counted once.
pub(crate) fn pending_of(
    conn: &Connection,
    pending: &mut BTreeMap<DeviceId, u64>,
    author: &DeviceId,
) -> Result<u64, LogError> {
    if let Some(count) = pending.get(author) {
        return Ok(*count);
    }
    let mut statement = conn.prepare_cached(
        "SELECT count(*) FROM undelivered u CROSS JOIN op o ON o.arrival = u.arrival CROSS JOIN log l ON l.n = o.log \
         WHERE u.state = 1 AND l.author = ?1",
    )?;
    let count: Option<i64> = statement.query_row([author.as_bytes()], |row| row.get(0)).optional()?;
    let count = count.unwrap_or(0) as u64;
    pending.insert(*author, count);
    Ok(count)
}
