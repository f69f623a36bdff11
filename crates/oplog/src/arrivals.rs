//! The order in which this replica stored ops: what others resume from.
//!
//! Responsible for: the cursor (position and hash chain), ops by arrival, ids since an arrival, what is known of peers
//! and where they stand. Not here: storing arrivals (`append.rs`), the rules of resuming (`proto`, `replica`).

use crate::row;
use crate::{LogError, Reader, tree};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, DeviceId, Op, OpId};

/// A place in a replica's order of arrival. Positions of another incarnation, or with another chain, are of another
/// history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Random number of the file.
    pub incarnation: u64,
    /// Arrival of the last op covered; 0 = none.
    pub position: u64,
    /// The chain there.
    pub chain: Chain,
}

/// What is known of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub device: DeviceId,
    /// How far we have read its order of arrival.
    pub cursor: Option<Cursor>,
    /// Position in *our* order of arrival up to which it durably holds whatever it may see.
    pub acked: u64,
    /// As `acked`, but only by acknowledgements of batches whose cursor the peer stored in the same transaction.
    pub streamed: u64,
    /// When it was last met, **milliseconds** since 1970; 0 = never.
    pub last_seen_ms: u64,
}

/// A comparison that came out equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// With whom.
    pub peer: DeviceId,
    /// When, **milliseconds** since 1970.
    pub at_ms: u64,
    /// Our position then.
    pub position: u64,
    /// How many ops it covered.
    pub ops: u64,
}

/// A sketch as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSketch {
    /// Coded symbols, as `replica` encodes them.
    pub cells: Vec<u8>,
    /// The difference estimator, as `replica` encodes it.
    pub estimator: Vec<u8>,
    /// Arrival up to which both are current.
    pub through: u64,
}

/// Which arrivals to read.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalQuery<'a> {
    /// Only arrivals above this: the paging cursor.
    pub after: u64,
    /// Only arrivals up to this, included; [`u64::MAX`] = all.
    pub through: u64,
    /// Exactly these conversations. The number is a floor of its own: of this conversation, only arrivals above it
    /// (0 = from the beginning, for a conversation to which the reader has just gained access).
    pub conversations: &'a [(ConversationId, u64)],
    /// Leaves out what came from this peer.
    pub not_from: Option<DeviceId>,
    /// At most this many ops.
    pub limit_ops: usize,
    /// Stops before an op that would take bodies and what travels with them over this many **bytes**; the first op always
    /// goes.
    pub limit_bytes: usize,
}

/// The last arrival and the chain there.
pub(crate) fn last_arrival(conn: &Connection, incarnation: u64) -> Result<(u64, Chain), LogError> {
    let mut last = (0, Chain::start(incarnation));
    for sql in [
        "SELECT arrival, chain FROM op ORDER BY arrival DESC LIMIT 1",
        "SELECT arrival, chain FROM dropped ORDER BY arrival DESC LIMIT 1",
    ] {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        if let Some(row) = rows.next()? {
            let arrival = row::number(row, 0)?;
            if arrival > last.0 {
                last = (arrival, Chain(row::array(row, 1)?));
            }
        }
    }
    Ok(last)
}

impl Reader {
    /// Where this replica's order of arrival ends.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn cursor(&self) -> Result<Cursor, LogError> {
        let (position, chain) = last_arrival(self.db()?, self.incarnation())?;
        Ok(Cursor { incarnation: self.incarnation(), position, chain })
    }

    /// The chain after an arrival; `None` when there was no such arrival.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn chain_at(&self, position: u64) -> Result<Option<Chain>, LogError> {
        if position == 0 {
            return Ok(Some(Chain::start(self.incarnation())));
        }
        let Ok(position) = i64::try_from(position) else { return Ok(None) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT chain FROM op WHERE arrival = ?1 UNION ALL SELECT chain FROM dropped WHERE arrival = ?1 LIMIT 1",
        )?;
        let mut rows = statement.query([position])?;
        rows.next()?.map(|row| row::array(row, 0).map(Chain)).transpose()
    }

    /// Ops with their arrivals, ascending by arrival. Cost: the smaller of the arrivals in question and the ops of the
    /// conversations in question, plus the ops returned.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn arrivals(&self, query: &ArrivalQuery<'_>) -> Result<Vec<(u64, Op)>, LogError> {
        let conn = self.db()?;
        let through = query.through.min(i64::MAX as u64);
        let not_from = match query.not_from {
            Some(device) => self.peer_number(&device)?,
            None => None,
        };
        // Conversation number -> floor, for those that have anything above it.
        let mut floors: BTreeMap<i64, u64> = BTreeMap::new();
        let mut ops_in_question: u64 = 0;
        let mut lowest = u64::MAX;
        for (conversation, floor) in query.conversations {
            let mut statement = conn.prepare_cached("SELECT n, ops, last_arrival FROM conversation WHERE id = ?1")?;
            let mut rows = statement.query([conversation.as_bytes()])?;
            let Some(row) = rows.next()? else { continue };
            let floor = query.after.max(*floor);
            if row::number(row, 2)? > floor {
                floors.insert(row.get(0)?, floor);
                ops_in_question = ops_in_question.saturating_add(row::number(row, 1)?);
                lowest = lowest.min(floor);
            }
        }
        if floors.is_empty() || lowest >= through {
            return Ok(Vec::new());
        }
        let last = last_arrival(conn, self.incarnation())?.0.min(through);
        let mut page = Page { query, not_from, bytes: 0, arrivals: Vec::new() };
        if ops_in_question < last.saturating_sub(lowest) / 4 {
            // Few ops among many arrivals: walk the conversations, then sort.
            let mut found = Vec::new();
            let mut statement = conn.prepare_cached("SELECT source, body_len FROM op WHERE arrival = ?1")?;
            for (n, floor) in &floors {
                for arrival in tree::all_arrivals(conn, *n)? {
                    if arrival > *floor && arrival <= last {
                        let (source, body_len): (i64, i64) =
                            statement.query_row([arrival as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
                        found.push((arrival, source, body_len as u64));
                    }
                }
            }
            found.sort_unstable();
            for (arrival, source, body_len) in found {
                if !page.take(arrival, source, body_len) {
                    break;
                }
            }
        } else {
            let mut statement = conn.prepare_cached(
                "SELECT arrival, conversation, source, body_len FROM op WHERE arrival > ?1 AND arrival <= ?2 \
                 ORDER BY arrival",
            )?;
            let mut rows = statement.query(params![lowest as i64, last as i64])?;
            while let Some(row) = rows.next()? {
                let arrival = row::number(row, 0)?;
                if floors.get(&row.get(1)?).is_some_and(|floor| arrival > *floor)
                    && !page.take(arrival, row.get(2)?, row::number(row, 3)?)
                {
                    break;
                }
            }
        }
        let mut ops = Vec::with_capacity(page.arrivals.len());
        for arrival in page.arrivals {
            if let Some(op) = crate::reads::load(conn, arrival)? {
                ops.push((arrival, op));
            }
        }
        Ok(ops)
    }

    /// Calls `each` with arrival and id of every op of a conversation that arrived after `arrival`, ascending.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn ids_after(
        &self,
        conversation: &ConversationId,
        arrival: u64,
        mut each: impl FnMut(u64, OpId),
    ) -> Result<(), LogError> {
        let conn = self.db()?;
        let mut statement = conn.prepare_cached("SELECT n, ops, last_arrival FROM conversation WHERE id = ?1")?;
        let mut rows = statement.query([conversation.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let (n, ops, last): (i64, u64, u64) = (row.get(0)?, row::number(row, 1)?, row::number(row, 2)?);
        if last <= arrival {
            return Ok(());
        }
        // Whichever walks fewer rows: the arrivals since then, or the conversation.
        if last - arrival <= ops.saturating_mul(4) {
            let mut statement = conn.prepare_cached(
                "SELECT arrival, id FROM op WHERE arrival > ?2 AND arrival <= ?3 AND conversation = ?1 ORDER BY arrival",
            )?;
            let mut rows = statement.query(params![n, arrival as i64, last as i64])?;
            while let Some(row) = rows.next()? {
                each(row::number(row, 0)?, OpId(row::array(row, 1)?));
            }
            return Ok(());
        }
        let mut found = tree::all_arrivals(conn, n)?;
        found.retain(|found| *found > arrival);
        found.sort_unstable();
        for arrival in found {
            each(arrival, tree::id_of(conn, arrival)?);
        }
        Ok(())
    }

    /// What is known of one peer.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn peer(&self, device: &DeviceId) -> Result<Option<Peer>, LogError> {
        Ok(self.peers_where(Some(device))?.pop())
    }

    /// All peers, by key.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn peers(&self) -> Result<Vec<Peer>, LogError> {
        self.peers_where(None)
    }

    fn peers_where(&self, device: Option<&DeviceId>) -> Result<Vec<Peer>, LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT device, their_incarnation, their_position, their_chain, acked, streamed, last_seen_ms FROM peer \
             WHERE ?1 IS NULL OR device = ?1 ORDER BY device",
        )?;
        let mut rows = statement.query([device.map(DeviceId::as_bytes)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let cursor = match row::blob_or_none(row, 3)? {
                Some(chain) => Some(Cursor {
                    incarnation: row::number(row, 1)?,
                    position: row::number(row, 2)?,
                    chain: Chain(row::fixed(chain)?),
                }),
                None => None,
            };
            found.push(Peer {
                device: DeviceId(row::array(row, 0)?),
                cursor,
                acked: row::number(row, 4)?,
                streamed: row::number(row, 5)?,
                last_seen_ms: row::number(row, 6)?,
            });
        }
        Ok(found)
    }

    /// Equal comparisons of a conversation, newest first.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn proven(&self, conversation: &ConversationId) -> Result<Vec<Proven>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT p.device, v.at_ms, v.position, v.ops FROM proven v JOIN peer p ON p.n = v.peer \
             WHERE v.conversation = ?1 ORDER BY v.at_ms DESC, p.device",
        )?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Proven {
                peer: DeviceId(row::array(row, 0)?),
                at_ms: row::number(row, 1)?,
                position: row::number(row, 2)?,
                ops: row::number(row, 3)?,
            });
        }
        Ok(found)
    }

    /// The stored sketch of a conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn sketch(&self, conversation: &ConversationId) -> Result<Option<StoredSketch>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let mut statement =
            self.db()?.prepare_cached("SELECT cells, estimator, through FROM sketch WHERE conversation = ?1")?;
        let sketch = statement.query_row([n], |row| {
            Ok(StoredSketch { cells: row.get(0)?, estimator: row.get(1)?, through: row.get::<_, i64>(2)? as u64 })
        });
        Ok(sketch.optional()?)
    }

    pub(crate) fn peer_number(&self, device: &DeviceId) -> Result<Option<i64>, LogError> {
        let mut statement = self.db()?.prepare_cached("SELECT n FROM peer WHERE device = ?1")?;
        Ok(statement.query_row([device.as_bytes()], |row| row.get(0)).optional()?)
    }
}

/// Arrivals chosen so far, within the limits of the query.
struct Page<'a> {
    query: &'a ArrivalQuery<'a>,
    not_from: Option<i64>,
    bytes: usize,
    arrivals: Vec<u64>,
}

/// **Bytes** that an op usually weighs on the wire beside its body: header in columns, its share of signatures. Counting
/// more would make batches so small that naming their logs costs 4 bytes an op.
const OP_BYTES: usize = 16;

impl Page<'_> {
    /// Whether there may be more after this arrival.
    fn take(&mut self, arrival: u64, source: i64, body_len: u64) -> bool {
        if self.not_from == Some(source) {
            return true;
        }
        let bytes = self.bytes.saturating_add(OP_BYTES).saturating_add(body_len as usize);
        let full = self.arrivals.len() >= self.query.limit_ops
            || (!self.arrivals.is_empty() && bytes > self.query.limit_bytes);
        if full {
            return false;
        }
        self.bytes = bytes;
        self.arrivals.push(arrival);
        true
    }
}
