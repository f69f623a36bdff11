//! Causal delivery: when an op is given to the fold, and what its delivery sets free.
//!
//! An op is *settled* when everything that it depends on is settled, and it is not early: then it is void if its clock is
//! not above that of what it depends on, and delivered otherwise. Void ops settle those that depend on them, so the
//! states are a function of the set (and of the wall clock), not of the order of arrival. One exception: what this device
//! writes is delivered at once, since a writer reads its own writes. It names only what has been delivered here; only
//! joins in older files name more, an invitation known from its link.
//! Not here: storing (`append.rs`).

use crate::append::Run;
use crate::cache::{Known, LogRow};
use crate::{Batch, Gone, LogError, Lost, State, gone, reads, row};
use rusqlite::{Transaction, params};
use std::collections::VecDeque;
use std::sync::Arc;
use tombolo_model::content::Content;
use tombolo_model::{Class, Control, ConversationId, Hlc, Op, OpId, Register};

/// An op that becomes delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The op, with whatever is held of it.
    pub op: &'a Op,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Number of the conversation, as rows name it.
    pub n: i64,
    /// Number of its log, as rows name it.
    pub log: i64,
    /// Its arrival.
    pub arrival: u64,
    /// What it says, if it is a control op that this version understands.
    pub control: Option<&'a Control>,
    /// Whether this device has just written it.
    pub own: bool,
    /// Whether an op with a greater clock reading was delivered before it: it is slotted in above.
    pub late_hint: bool,
    /// Why its body is not here for good; `None` = it is here, or may come ([`Fold::body`]).
    pub gone: Option<Gone>,
}

/// Reads the body of an op; `None` when it cannot be read.
pub type ReadBody = Arc<dyn Fn(&Op) -> Option<Content> + Send + Sync>;

/// What ops say, in the order in which they come.
pub type Opened = VecDeque<(OpId, Content)>;

/// Whatever is computed from delivered ops, in the same transaction. The rows of `op` are current while it runs; those of
/// `conversation`, `log` and `node` are written at the end of the batch.
pub trait Fold {
    /// A run of deliveries begins: since the last one, its rows may have been taken back or changed by others.
    fn begin(&mut self) {}

    /// A run of deliveries ends: what was put off is written now.
    ///
    /// # Errors
    /// Of SQLite: the whole batch is given up.
    fn end(&mut self, tx: &Transaction<'_>) -> Result<(), rusqlite::Error> {
        let _ = tx;
        Ok(())
    }

    /// What reads bodies, where this fold does: on any thread and ahead of their turn, since what a body says depends on
    /// nothing else.
    fn read_ahead(&self) -> Option<ReadBody> {
        None
    }

    /// Takes what [`Fold::read_ahead`] made of ops that come next, in place of what it was given before. A help only: what
    /// is not among it is read when its turn comes.
    fn was_read(&mut self, contents: Opened) {
        let _ = contents;
    }

    /// Takes the next op in causal order.
    ///
    /// # Errors
    /// Of SQLite: the whole batch is given up.
    fn deliver(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error>;

    /// Takes an op once more that was delivered without its body, which has come now.
    ///
    /// # Errors
    /// Of SQLite: the whole batch is given up.
    fn body(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        let _ = (tx, delivered);
        Ok(())
    }

    /// Takes a register that is the newest of its device now. `n`: number of its conversation, as rows name it.
    ///
    /// # Errors
    /// Of SQLite: the whole batch is given up.
    fn register(&mut self, tx: &Transaction<'_>, n: i64, register: &Register) -> Result<(), rusqlite::Error> {
        let _ = (tx, n, register);
        Ok(())
    }

    /// The body of a delivered op goes: what was made of it goes, too. It is here for the last time, unless it never came
    /// or had gone for a smaller reason before. What erases it has been delivered before. May be told more than once.
    ///
    /// # Errors
    /// Of SQLite: the whole batch is given up.
    fn gone(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>, why: Gone) -> Result<(), rusqlite::Error> {
        let _ = (tx, delivered, why);
        Ok(())
    }
}

/// No views: what relays use.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFold;

impl Fold for NoFold {
    fn deliver(&mut self, _: &Transaction<'_>, _: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        Ok(())
    }
}

/// What an op depends on, as far as it is known.
pub(crate) struct Readiness {
    /// Not settled yet; sorted, unique.
    pub(crate) waits: Vec<OpId>,
    /// Greatest reading among those that are stored.
    pub(crate) floor: Hlc,
}

/// What a control op says, read from the stored body; `None` when this version does not understand it.
pub(crate) fn control_of(op: &Op) -> Option<Control> {
    match (op.header.class, &op.body) {
        (Class::Control, Some(body)) => Control::from_bytes(body).ok(),
        _ => None,
    }
}

impl Batch<'_> {
    /// Looks at everything that an op depends on. `log`: its log, whose tip is the likeliest `prev`.
    pub(crate) fn readiness(&mut self, n: i64, op: &Op, log: Option<&LogRow>) -> Result<Readiness, LogError> {
        let conn = self.conn;
        let mut readiness = Readiness { waits: Vec::new(), floor: Hlc::ZERO };
        for id in op.header.depends_on() {
            let known = match log.filter(|log| log.tip_settled && log.tip == *id) {
                Some(log) => Some((log.tip_hlc, true)),
                None => {
                    let heads = match self.conversation(&op.conversation())? {
                        Some(entry) => entry.heads.get(id).copied(),
                        None => None,
                    };
                    match heads {
                        Some(hlc) => Some((hlc, true)),
                        None => self.cache.look_up(conn, n, id)?.map(|known| (known.hlc, known.settled)),
                    }
                }
            };
            if let Some((hlc, _)) = known {
                readiness.floor = readiness.floor.max(hlc);
            }
            if !known.is_some_and(|(_, settled)| settled) {
                readiness.waits.push(*id);
            }
        }
        readiness.waits.sort_unstable();
        readiness.waits.dedup();
        Ok(readiness)
    }

    /// Gives a delivered op to the fold and moves the heads, of a conversation that counts as changed already.
    pub(crate) fn deliver(
        &mut self,
        op: &Op,
        control: Option<&Control>,
        log: i64,
        arrival: u64,
        own: bool,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        let conversation = op.conversation();
        let entry = self.conversation(&conversation)?.ok_or(LogError::UnknownConversation(conversation))?;
        let late_hint = op.header.hlc < entry.top_hlc;
        entry.top_hlc = entry.top_hlc.max(op.header.hlc);
        for id in op.header.depends_on() {
            entry.heads.remove(id);
        }
        entry.heads.insert(op.id, op.header.hlc);
        let n = entry.n;
        let gone = match (op.header.class, &op.body) {
            (Class::Content, None) => Gone::of(gone::bits(self.conn, arrival)?),
            _ => None,
        };
        let erases = !op.header.erases.is_empty();
        if erases {
            self.keep_intents(op, n, arrival)?;
        }
        let delivered = Delivered { op, conversation, n, log, arrival, control, own, late_hint, gone };
        run.fold.deliver(self.tx.as_ref().ok_or(LogError::Abandoned)?, &delivered)?;
        run.out.delivered += 1;
        if erases { self.erase_named(op, n, run) } else { Ok(()) }
    }

    /// Settles whatever waited for `id` alone, and whatever waited for that.
    pub(crate) fn settle_waiters(
        &mut self,
        conversation: ConversationId,
        n: i64,
        id: OpId,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        let mut settled = VecDeque::from([id]);
        while let Some(id) = settled.pop_front() {
            if self.conversation(&conversation)?.is_none_or(|entry| entry.waiting == 0) {
                return Ok(());
            }
            for waiter in self.take_waiters(n, &id)? {
                let more = self.conn.prepare_cached("SELECT 1 FROM missing WHERE waiter = ?1")?.exists([waiter])?;
                match reads::state_of(self.conn, waiter as u64)? {
                    State::Pending if !more => {
                        settled.push_back(self.settle(conversation, n, waiter as u64, State::Pending, run)?);
                    }
                    State::Delivered | State::Void => self.caught_up(conversation, &id, more)?,
                    State::Pending | State::Early => {}
                }
            }
        }
        Ok(())
    }

    /// `id` is named by an own op that was delivered ahead of it, and that may wait for `more`.
    fn caught_up(&mut self, conversation: ConversationId, id: &OpId, more: bool) -> Result<(), LogError> {
        let entry = self.conversation(&conversation)?.ok_or(LogError::UnknownConversation(conversation))?;
        entry.heads.remove(id);
        self.cache.dirty_conversations.insert(conversation);
        if more { Ok(()) } else { self.count_waiting(conversation, -1) }
    }

    /// Rows of the ops that wait for `id`, which do not any more.
    fn take_waiters(&mut self, n: i64, id: &OpId) -> Result<Vec<i64>, LogError> {
        let mut statement =
            self.conn.prepare_cached("DELETE FROM missing WHERE conversation = ?1 AND id = ?2 RETURNING waiter")?;
        let rows = statement.query_map(params![n, id.as_bytes()], |row| row.get(0))?;
        let mut waiters = rows.collect::<Result<Vec<i64>, _>>()?;
        waiters.sort_unstable();
        Ok(waiters)
    }

    /// Decides between delivered and void for a stored op that waits for nothing any more. Returns its id.
    fn settle(
        &mut self,
        conversation: ConversationId,
        n: i64,
        arrival: u64,
        from: State,
        run: &mut Run<'_>,
    ) -> Result<OpId, LogError> {
        let op = reads::load(self.conn, arrival)?.ok_or_else(|| LogError::damaged("an op that waits is not stored"))?;
        let readiness = self.readiness(n, &op, None)?;
        let state = if op.header.hlc > readiness.floor { State::Delivered } else { State::Void };
        self.set_state(arrival, state)?;
        self.cache.recent.put(&op.id, Known { conversation: n, hlc: op.header.hlc, settled: true });
        self.count_waiting(conversation, -1)?;
        if from == State::Pending
            && let Some(count) = self.cache.pending.get_mut(&op.header.author)
        {
            *count = count.saturating_sub(1);
        }
        run.waiting.remove(&arrival);
        if state == State::Delivered {
            let control = control_of(&op);
            let log = self.log(n, &op.header.author, &op.header.log)?.map(|log| log.n);
            let log = log.ok_or_else(|| LogError::damaged("an op that waits is of no log"))?;
            self.deliver(&op, control.as_ref(), log, arrival, false, run)?;
        }
        Ok(op.id)
    }

    pub(crate) fn count_waiting(&mut self, conversation: ConversationId, by: i64) -> Result<(), LogError> {
        let entry = self.conversation(&conversation)?.ok_or(LogError::UnknownConversation(conversation))?;
        entry.waiting = entry.waiting.saturating_add_signed(by);
        self.cache.dirty_conversations.insert(conversation);
        Ok(())
    }

    /// Moves a stored op on to another state.
    fn set_state(&mut self, arrival: u64, state: State) -> Result<(), LogError> {
        if state == State::Delivered {
            self.conn.prepare_cached("DELETE FROM undelivered WHERE arrival = ?1")?.execute([arrival as i64])?;
        } else {
            let mut statement = self.conn.prepare_cached("UPDATE undelivered SET state = ?2 WHERE arrival = ?1")?;
            statement.execute(params![arrival as i64, state as i64])?;
        }
        Ok(())
    }

    /// See [`Batch::release_early`].
    pub(crate) fn release(&mut self, now_ms: u64, fold: &mut dyn crate::Fold) -> Result<(usize, Vec<Lost>), LogError> {
        let mut run = Run::new(None, now_ms, fold);
        run.fold.begin();
        let mut found: Vec<(u64, Hlc, ConversationId, i64)> = Vec::new();
        {
            let mut statement = self.conn.prepare_cached(
                "SELECT u.arrival, u.hlc, c.id, c.n FROM undelivered u CROSS JOIN op o ON o.arrival = u.arrival \
                 CROSS JOIN conversation c ON c.n = u.conversation WHERE u.state = 2 ORDER BY u.hlc, o.id",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let hlc = Hlc(row::number(row, 1)?);
                if hlc.is_early(now_ms) {
                    break;
                }
                found.push((row::number(row, 0)?, hlc, ConversationId(row::array(row, 2)?), row.get(3)?));
            }
        }
        for (arrival, _, conversation, n) in found {
            let waits =
                self.conn.prepare_cached("SELECT 1 FROM missing WHERE waiter = ?1")?.exists([arrival as i64])?;
            if waits {
                self.set_state(arrival, State::Pending)?;
                // Counted anew when next needed: it is pending now.
                self.cache.pending.clear();
            } else {
                let id = self.settle(conversation, n, arrival, State::Early, &mut run)?;
                self.settle_waiters(conversation, n, id, &mut run)?;
            }
        }
        run.fold.end(self.tx.as_ref().ok_or(LogError::Abandoned)?)?;
        Ok((run.out.delivered, run.out.gone))
    }
}
