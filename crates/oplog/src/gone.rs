//! Bodies that go: erased by an op, expired, or pruned by this device; and those that are wanted.
//!
//! Responsible for: the rights of whoever erases, intents whose op is not here yet, the index by time, marking and
//! dropping bodies, and naming what is missing. Only ops of class content lose their bodies: control ops are what
//! membership is computed from. Headers and signatures stay, so digests, proofs and chains do not change.
//!
//! Which bodies are *erased* is a function of the set of delivered ops and of the roster, which only grows; so every
//! intent is kept, also where its author had no right when it came. Not here: the pages of the file in which a body stood
//! (`wipe.rs`), what views make of it (a [`Fold`]), which ops are pruned (`store`).

use crate::append::Run;
use crate::deliver::{Delivered, control_of};
use crate::{Batch, Fold, LogError, Reader, State, ids, newest, reads, roster, row};
use rusqlite::{Connection, OptionalExtension, params};
use tombolo_model::{AccountId, BodyHash, Class, Control, ConversationId, DeviceId, Op, OpId};

/// Why a body is not here and does not come back. Several reasons may hold for one op: the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gone {
    /// An op erased it, whose author had the right: a stand-in may be shown.
    Erased,
    /// This device let go of it to save space: others may hold it.
    Pruned,
    /// Its time is over: nothing is shown any more.
    Expired,
}

/// Bits of `gone.why`.
pub(crate) const ERASED: i64 = 1;
pub(crate) const EXPIRED: i64 = 2;
pub(crate) const PRUNED: i64 = 4;

impl Gone {
    pub(crate) fn of(why: i64) -> Option<Self> {
        if why & EXPIRED != 0 {
            Some(Self::Expired)
        } else if why & PRUNED != 0 {
            Some(Self::Pruned)
        } else if why & ERASED != 0 {
            Some(Self::Erased)
        } else {
            None
        }
    }
}

/// An op whose body went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its id.
    pub id: OpId,
    /// Why.
    pub why: Gone,
}

/// What this device has let go of in a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many messages.
    pub messages: u64,
    /// All of them are older than this: **milliseconds** since 1970.
    pub before_ms: u64,
}

/// Bits of an op; 0 = its body is held, or wanted.
pub(crate) fn bits(conn: &Connection, arrival: u64) -> Result<i64, rusqlite::Error> {
    let mut statement = conn.prepare_cached("SELECT why FROM gone WHERE arrival = ?1")?;
    Ok(statement.query_row([arrival as i64], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Why the body of the op with this arrival is not here for good. For a [`Fold`], inside its transaction.
///
/// # Errors
/// Of SQLite.
pub fn gone_at(conn: &Connection, arrival: u64) -> Result<Option<Gone>, rusqlite::Error> {
    Ok(Gone::of(bits(conn, arrival)?))
}

/// Arrival of an op that is stored, by the number of its conversation and its id. For a [`Fold`], inside its transaction.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn arrival_of(conn: &Connection, n: i64, id: &OpId) -> Result<Option<u64>, LogError> {
    ids::find(conn, n, newest_arrival(conn)?, id)
}

/// A stored op and its state, by its arrival. For a [`Fold`], inside its transaction.
///
/// # Errors
/// [`LogError`] of SQLite, [`LogError::Damaged`].
pub fn op_at(conn: &Connection, arrival: u64) -> Result<Option<(Op, State)>, LogError> {
    let Some(op) = reads::load(conn, arrival)? else { return Ok(None) };
    Ok(Some((op, reads::state_of(conn, arrival)?)))
}

/// The ops that erase the body of another one and have the right to, by id. For a [`Fold`], inside its transaction.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn erasers(conn: &Connection, n: i64, conversation: &ConversationId, target: &OpId) -> Result<Vec<OpId>, LogError> {
    let Some(arrival) = arrival_of(conn, n, target)? else { return Ok(Vec::new()) };
    let (of, newest) = (author_of(conn, arrival)?, newest_arrival(conn)?);
    let mut statement = conn.prepare_cached(
        "SELECT o.id, e.author FROM erase e JOIN op o ON o.arrival = e.by WHERE e.conversation = ?1 \
         AND e.target = ?2 ORDER BY o.id",
    )?;
    let mut rows = statement.query(params![n, target.as_bytes()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let by = DeviceId(row::array(row, 1)?);
        if may_erase(conn, n, newest, conversation, &by, &of)? {
            found.push(OpId(row::array(row, 0)?));
        }
    }
    Ok(found)
}

/// The last arrival, as the rows of ops say: within a transaction those of conversations are behind.
fn newest_arrival(conn: &Connection) -> Result<u64, LogError> {
    let newest: i64 =
        conn.prepare_cached("SELECT coalesce(max(arrival), 0) FROM op")?.query_row([], |row| row.get(0))?;
    Ok(newest as u64)
}

/// What a row is made of when an op takes its body with it, or has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// Bits of `gone.why`.
    pub(crate) why: i64,
    /// **Milliseconds** since 1970 at which its body goes; 0 = never, or it is gone already.
    expires_ms: u64,
    /// Its body is not here, and nothing says that it should not be.
    wanted: bool,
    /// Intents name it that came before it.
    named: bool,
}

impl Fate {
    /// Whether nothing is to be noted: of nearly every op.
    pub(crate) fn is_plain(&self) -> bool {
        self.why == 0 && self.expires_ms == 0 && !self.wanted && !self.named
    }
}

/// Readings beyond what a row can hold are further away than any calendar.
fn bounded(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Batch<'_> {
    /// What becomes of the body of an op that is about to be stored.
    pub(crate) fn fate(&mut self, op: &Op, n: i64, now_ms: u64) -> Result<Fate, LogError> {
        let mut fate = Fate::default();
        let header = &op.header;
        let content = header.class == Class::Content;
        if content && header.expires_ms != 0 {
            if header.expires_ms <= now_ms {
                fate.why |= EXPIRED;
            } else {
                fate.expires_ms = header.expires_ms;
            }
        }
        if self.any_open_intent()? {
            let conversation = op.conversation();
            for by in intents(self.conn, n, &op.id)? {
                fate.named = true;
                if content && self.may_erase(n, &conversation, &by, &header.author)? {
                    fate.why |= ERASED;
                }
            }
        }
        fate.wanted = content && fate.why == 0 && op.body.is_none() && header.body_hash != BodyHash::EMPTY;
        Ok(fate)
    }

    /// Notes the fate of an op that has just been stored, without its body where it has none any more.
    pub(crate) fn meet(
        &mut self,
        fate: Fate,
        op: &Op,
        n: i64,
        arrival: u64,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        let (conn, at) = (self.conn, arrival as i64);
        if fate.named {
            let mut statement =
                conn.prepare_cached("UPDATE erase SET at = ?3 WHERE conversation = ?1 AND target = ?2")?;
            statement.execute(params![n, op.id.as_bytes(), at])?;
        }
        if let Some(why) = Gone::of(fate.why) {
            conn.prepare_cached("INSERT INTO gone (arrival, why) VALUES (?1, ?2)")?.execute([at, fate.why])?;
            run.out.gone.push(Lost { conversation: op.conversation(), id: op.id, why });
        }
        if fate.expires_ms != 0 {
            let mut statement = conn.prepare_cached("INSERT OR IGNORE INTO expiry (at_ms, arrival) VALUES (?1, ?2)")?;
            statement.execute([bounded(fate.expires_ms), at])?;
        }
        if fate.wanted {
            conn.prepare_cached("INSERT OR IGNORE INTO wanted (arrival, conversation) VALUES (?1, ?2)")?
                .execute([at, n])?;
        }
        Ok(())
    }

    /// Whether any intent names an op that is not here. Nearly never, and then no op needs to be looked up.
    fn any_open_intent(&mut self) -> Result<bool, LogError> {
        if let Some(any) = self.cache.intents {
            return Ok(any);
        }
        let any = self.conn.prepare_cached("SELECT 1 FROM erase WHERE at IS NULL")?.exists([])?;
        self.cache.intents = Some(any);
        Ok(any)
    }

    /// Keeps what an op that is being delivered says about the bodies of others.
    pub(crate) fn keep_intents(&mut self, op: &Op, n: i64, arrival: u64) -> Result<(), LogError> {
        let conn = self.conn;
        for target in &op.header.erases {
            let at = ids::find(conn, n, self.cache.position, target)?;
            if at.is_none() {
                self.cache.intents = Some(true);
            }
            let mut statement = conn.prepare_cached(
                "INSERT OR REPLACE INTO erase (conversation, target, by, author, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let (author, at) = (op.header.author, at.map(|at| at as i64));
            statement.execute(params![n, target.as_bytes(), arrival as i64, author.as_bytes(), at])?;
        }
        Ok(())
    }

    /// Drops the bodies that a delivered op erases.
    pub(crate) fn erase_named(&mut self, op: &Op, n: i64, run: &mut Run<'_>) -> Result<(), LogError> {
        let conn = self.conn;
        let conversation = op.conversation();
        for target in &op.header.erases {
            let Some(at) = ids::find(conn, n, self.cache.position, target)? else { continue };
            let of = author_of(conn, at)?;
            if self.may_erase(n, &conversation, &op.header.author, &of)? {
                self.drop_body(at, ERASED, run)?;
            }
        }
        Ok(())
    }

    /// Judges all intents of a conversation once more: a right may have come.
    pub(crate) fn review_erasures(
        &mut self,
        n: i64,
        conversation: &ConversationId,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        let conn = self.conn;
        let mut named = Vec::new();
        {
            let mut statement =
                conn.prepare_cached("SELECT at, author FROM erase WHERE conversation = ?1 AND at IS NOT NULL")?;
            let mut rows = statement.query([n])?;
            while let Some(row) = rows.next()? {
                named.push((row::number(row, 0)?, DeviceId(row::array(row, 1)?)));
            }
        }
        for (at, by) in named {
            let of = author_of(conn, at)?;
            if self.may_erase(n, conversation, &by, &of)? && !self.drop_body(at, ERASED, run)? {
                // One more may erase it, which a view may show.
                self.tell_gone(at, run)?;
            }
        }
        Ok(())
    }

    fn may_erase(
        &mut self,
        n: i64,
        conversation: &ConversationId,
        by: &DeviceId,
        of: &DeviceId,
    ) -> Result<bool, LogError> {
        may_erase(self.conn, n, self.cache.position, conversation, by, of)
    }

    /// Lets go of a body for one more reason. Returns whether anything changed.
    pub(crate) fn drop_body(&mut self, arrival: u64, reason: i64, run: &mut Run<'_>) -> Result<bool, LogError> {
        let (conn, at) = (self.conn, arrival as i64);
        let before = bits(conn, arrival)?;
        if before & reason != 0 {
            return Ok(false);
        }
        let op = reads::load_named(conn, arrival)?;
        if op.header.class != Class::Content {
            return Ok(false);
        }
        let Some(why) = Gone::of(before | reason) else { return Ok(false) };
        if before == 0 {
            conn.prepare_cached("INSERT INTO gone (arrival, why) VALUES (?1, ?2)")?.execute([at, reason])?;
            conn.prepare_cached("DELETE FROM wanted WHERE arrival = ?1")?.execute([at])?;
            run.out.gone.push(Lost { conversation: op.conversation(), id: op.id, why });
        } else {
            conn.prepare_cached("UPDATE gone SET why = ?2 WHERE arrival = ?1")?.execute([at, before | reason])?;
        }
        if Gone::of(before) != Some(why) {
            self.tell(&op, arrival, why, run)?;
        }
        if op.body.is_some() {
            let hash = (op.header.body_hash != BodyHash::EMPTY).then_some(op.header.body_hash.0);
            let mut statement = conn.prepare_cached("UPDATE op SET body = NULL, body_hash = ?2 WHERE arrival = ?1")?;
            statement.execute(params![at, hash])?;
        }
        // What views made of it may stand in pages, too.
        self.wipes = true;
        Ok(true)
    }

    /// Tells the fold, if it has seen the op.
    fn tell(&mut self, op: &Op, arrival: u64, why: Gone, run: &mut Run<'_>) -> Result<(), LogError> {
        let conn = self.conn;
        if reads::state_of(conn, arrival)? != State::Delivered {
            return Ok(());
        }
        let (n, log) = conn
            .prepare_cached("SELECT conversation, log FROM op WHERE arrival = ?1")?
            .query_row([arrival as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (conversation, own, gone) = (op.conversation(), false, Some(why));
        let delivered = Delivered { op, conversation, n, log, arrival, control: None, own, late_hint: true, gone };
        run.fold.gone(self.tx.as_ref().ok_or(LogError::Abandoned)?, &delivered, why)?;
        Ok(())
    }

    /// Tells the fold once more of a body that is gone.
    fn tell_gone(&mut self, arrival: u64, run: &mut Run<'_>) -> Result<(), LogError> {
        match Gone::of(bits(self.conn, arrival)?) {
            Some(why) => self.tell(&reads::load_named(self.conn, arrival)?, arrival, why, run),
            None => Ok(()),
        }
    }

    /// Lets go of bodies whose time is over, at most `limit` of them. Returns whose.
    ///
    /// # Errors
    /// [`LogError`] of SQLite or of the fold; the batch is lost then.
    pub fn expire(&mut self, now_ms: u64, limit: usize, fold: &mut dyn Fold) -> Result<Vec<Lost>, LogError> {
        self.guard(|batch| {
            let conn = batch.conn;
            let now = bounded(now_ms);
            let due: Vec<(i64, i64)> = {
                let mut statement = conn.prepare_cached(
                    "SELECT at_ms, arrival FROM expiry WHERE at_ms <= ?1 ORDER BY at_ms, arrival LIMIT ?2",
                )?;
                let rows = statement.query_map([now, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            let mut waiting = conn.prepare_cached(
                "UPDATE stranger SET body = NULL, expires_ms = 0 WHERE expires_ms > 0 AND expires_ms <= ?1",
            )?;
            batch.wipes |= waiting.execute([now])? > 0;
            let mut run = Run::new(None, now_ms, fold);
            run.fold.begin();
            for (at_ms, arrival) in due {
                batch.drop_body(arrival as u64, EXPIRED, &mut run)?;
                conn.prepare_cached("DELETE FROM expiry WHERE at_ms = ?1 AND arrival = ?2")?
                    .execute([at_ms, arrival])?;
            }
            run.fold.end(batch.tx.as_ref().ok_or(LogError::Abandoned)?)?;
            Ok(run.out.gone)
        })
    }

    /// Lets go of bodies to save space: those of the ops with these arrivals, `messages` messages older than `before_ms`
    /// (**milliseconds** since 1970) and what belongs to them. They are not asked for again; what comes of them is not stored. Returns whose.
    ///
    /// # Errors
    /// [`LogError`] of SQLite or of the fold; the batch is lost then.
    pub fn prune(
        &mut self,
        conversation: &ConversationId,
        arrivals: &[u64],
        messages: u64,
        before_ms: u64,
        fold: &mut dyn Fold,
    ) -> Result<Vec<Lost>, LogError> {
        self.guard(|batch| {
            let n = batch.known_conversation(conversation)?;
            let mut run = Run::new(None, 0, fold);
            run.fold.begin();
            for arrival in arrivals {
                batch.drop_body(*arrival, PRUNED, &mut run)?;
            }
            run.fold.end(batch.tx.as_ref().ok_or(LogError::Abandoned)?)?;
            if messages > 0 {
                let mut statement = batch.conn.prepare_cached(
                    "INSERT INTO pruned (conversation, messages, before_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
                     SET messages = messages + excluded.messages, before_ms = max(before_ms, excluded.before_ms)",
                )?;
                statement.execute([n, bounded(messages), bounded(before_ms)])?;
            }
            Ok(run.out.gone)
        })
    }

    /// Takes pruning back: whatever of the conversation nothing but pruning keeps away is wanted again. Returns how many
    /// bodies are.
    ///
    /// # Errors
    /// [`LogError`] of SQLite; the batch is lost then.
    pub fn want_pruned(&mut self, conversation: &ConversationId) -> Result<u64, LogError> {
        self.guard(|batch| {
            let (conn, n) = (batch.conn, batch.known_conversation(conversation)?);
            conn.prepare_cached(
                "INSERT OR IGNORE INTO wanted (arrival, conversation) SELECT o.arrival, ?1 FROM gone g \
                 JOIN op o ON o.arrival = g.arrival WHERE o.conversation = ?1 AND g.why = 4 AND o.body_len > 0",
            )?
            .execute([n])?;
            let wanted = conn
                .prepare_cached(
                    "DELETE FROM gone WHERE why = 4 AND arrival IN (SELECT arrival FROM op WHERE conversation = ?1)",
                )?
                .execute([n])?;
            conn.prepare_cached(
                "UPDATE gone SET why = why & 3 WHERE why & 4 AND arrival IN (SELECT arrival FROM op WHERE conversation = ?1)",
            )?
            .execute([n])?;
            conn.prepare_cached("DELETE FROM pruned WHERE conversation = ?1")?.execute([n])?;
            Ok(wanted as u64)
        })
    }
}

/// Authors of delivered ops that erase an op, whether they may or not.
fn intents(conn: &Connection, n: i64, target: &OpId) -> Result<Vec<DeviceId>, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT DISTINCT author FROM erase WHERE conversation = ?1 AND target = ?2")?;
    let mut rows = statement.query(params![n, target.as_bytes()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(DeviceId(row::array(row, 0)?));
    }
    Ok(found)
}

/// Author of a stored op.
pub(crate) fn author_of(conn: &Connection, arrival: u64) -> Result<DeviceId, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT l.author FROM op o CROSS JOIN log l ON l.n = o.log WHERE o.arrival = ?1")?;
    let mut rows = statement.query([arrival as i64])?;
    let row = rows.next()?.ok_or_else(|| LogError::damaged("an erased op is not stored"))?;
    Ok(DeviceId(row::array(row, 0)?))
}

/// Whether `by` may erase what `of` wrote: it is of the same account, or of the one that founded the conversation.
/// `newest`: the last arrival.
pub(crate) fn may_erase(
    conn: &Connection,
    n: i64,
    newest: u64,
    conversation: &ConversationId,
    by: &DeviceId,
    of: &DeviceId,
) -> Result<bool, LogError> {
    if by == of || roster::share_account(conn, n, by, of)? {
        return Ok(true);
    }
    match founder(conn, n, newest, conversation)? {
        Some(account) => roster::is_member_of(conn, n, by, &account),
        None => Ok(false),
    }
}

/// The account that founded a conversation; `None` until the genesis op is here.
fn founder(
    conn: &Connection,
    n: i64,
    newest: u64,
    conversation: &ConversationId,
) -> Result<Option<AccountId>, LogError> {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&conversation.0[..8]);
    let unlisted = newest::all(conn)?;
    for (id, arrival) in ids::with_prefix(conn, n, newest, u64::from_be_bytes(prefix), &unlisted)? {
        if id.founds() == *conversation
            && let Some(Control::Genesis { certificate, .. }) = control_of(&reads::load_named(conn, arrival)?)
        {
            return Ok(Some(certificate.account()));
        }
    }
    Ok(None)
}

impl Reader {
    /// The account that founded a conversation; `None` until its first op is here.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn founder(&self, conversation: &ConversationId) -> Result<Option<AccountId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let conn = self.db()?;
        founder(conn, n, newest_arrival(conn)?, conversation)
    }

    /// Why the body of a stored op is not here for good; `None` when it is held, wanted, or the op is not stored.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn gone(&self, conversation: &ConversationId, id: &OpId) -> Result<Option<Gone>, LogError> {
        let Some((_, arrival)) = self.state(conversation, id)? else { return Ok(None) };
        self.gone_at(arrival)
    }

    /// The same by arrival.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn gone_at(&self, arrival: u64) -> Result<Option<Gone>, LogError> {
        Ok(gone_at(self.db()?, arrival)?)
    }

    /// The ops that erased the body of another one and had the right to, by id.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn erased_by(&self, conversation: &ConversationId, id: &OpId) -> Result<Vec<OpId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        erasers(self.db()?, n, conversation, id)
    }

    /// Ops whose bodies are not here although nothing says so, by arrival: peers may have them. At most `limit`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn wanted(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<OpId>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT o.id FROM wanted w CROSS JOIN op o ON o.arrival = w.arrival WHERE w.conversation = ?1 \
             ORDER BY w.arrival LIMIT ?2",
        )?;
        let mut rows = statement.query(params![n, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(OpId(row::array(row, 0)?));
        }
        Ok(found)
    }

    /// When the next body expires, **milliseconds** since 1970.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn expires_next_ms(&self) -> Result<Option<u64>, LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT min(at_ms) FROM (SELECT min(at_ms) AS at_ms FROM expiry UNION ALL \
             SELECT min(expires_ms) FROM stranger WHERE expires_ms > 0)",
        )?;
        let at_ms: Option<i64> = statement.query_row([], |row| row.get(0))?;
        Ok(at_ms.map(|at_ms| at_ms as u64))
    }

    /// What this device has let go of in a conversation: a gap by choice, to be named.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn pruned(&self, conversation: &ConversationId) -> Result<Option<Pruned>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let mut statement =
            self.db()?.prepare_cached("SELECT messages, before_ms FROM pruned WHERE conversation = ?1")?;
        let mut rows = statement.query([n])?;
        rows.next()?
            .map(|row| Ok(Pruned { messages: row::number(row, 0)?, before_ms: row::number(row, 1)? }))
            .transpose()
    }

    /// **Bytes** of the bodies that are held of a conversation, and how many they are. Cost: all its ops.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn held_bytes(&self, conversation: &ConversationId) -> Result<(u64, u64), LogError> {
        let Some(n) = self.number(conversation)? else { return Ok((0, 0)) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT coalesce(sum(body_len), 0), count(*) FROM op WHERE conversation = ?1 AND body IS NOT NULL",
        )?;
        Ok(statement.query_row([n], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))?)
    }
}
