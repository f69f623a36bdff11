//! The way of an op into the log.
//!
//! In this order: known already, conversation known, author authorised (else it waits among the strangers), own
//! log in order, branches, what it depends on, quotas; then the row, the place in its log, the digest tree, the chain of
//! arrivals, what a control op changes, delivery. Not here: the judgements on members (`control.rs`), delivery
//! (`deliver.rs`), form and signatures (`Sound` and `identity`, before).

use crate::cache::{Conversation, Known, LogRow, pending_of};
use crate::control::Verdict;
use crate::deliver::Delivered;
use crate::place::{Place, follows_own_tail};
use crate::{Batch, Equivocation, Fold, LogError, Lost, State, gone, reads, row};
use core::fmt;
use rusqlite::params;
use rusqlite::types::Null;
use std::borrow::Borrow;
use std::collections::BTreeSet;
use tombolo_model::limit::{BRANCHES_PER_LOG_MAX, PENDING_PER_AUTHOR_MAX};
use tombolo_model::{BodyHash, Class, Control, ConversationId, DeviceId, Op, OpId, Sound};

/// An op that the caller has verified, with what its body says if it is a control op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The op.
    pub op: Sound,
    /// For class control: the decoded body, its certificates and proofs checked. `None` for a body that this version
    /// does not understand: the op is stored and passed on, and changes nothing.
    pub control: Option<Control>,
}

/// Why an op was not taken. Nothing changed, except that [`Reason::UnknownAuthor`] keeps it aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Header, id and body do not fit each other: whoever made or kept it is faulty.
    Malformed,
    /// The conversation is not here, and this is not its genesis.
    UnknownConversation,
    /// The author is no member (yet): the op waits for whatever authorises it.
    UnknownAuthor,
    /// As before, and too many wait already.
    TooManyStrangers,
    /// It claims what its author may never do, e.g. founds a conversation for another device.
    NotEntitled,
    /// The invitation was ended before the newcomer came.
    InviteRevoked,
    /// The invitation's uses are used up.
    InviteUsedUp,
    /// The invitation has expired.
    InviteExpired,
    /// The account has as many devices here as it may have.
    TooManyDevices,
    /// Too many ops of this log claim a place that another one has: a named gap.
    TooManyBranches,
    /// Too many ops of this author wait for missing ones: a named gap.
    TooManyPending,
    /// This device tried to write into a log that is closed, or not at its end. A fault of this program.
    OwnLogOutOfOrder,
}

impl Reason {
    /// A stable name for scripts, counters and the wire.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownConversation => "unknown-conversation",
            Self::UnknownAuthor => "unknown-author",
            Self::TooManyStrangers => "too-many-strangers",
            Self::NotEntitled => "not-entitled",
            Self::InviteRevoked => "invite-revoked",
            Self::InviteUsedUp => "invite-used-up",
            Self::InviteExpired => "invite-expired",
            Self::TooManyDevices => "too-many-devices",
            Self::TooManyBranches => "too-many-branches",
            Self::TooManyPending => "too-many-pending",
            Self::OwnLogOutOfOrder => "own-log-out-of-order",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the op contradicts itself; whoever sent it is faulty",
            Self::UnknownConversation => "the conversation is not here",
            Self::UnknownAuthor => "its author is no member as far as is known here; it waits",
            Self::TooManyStrangers => "its author is no member as far as is known here, and too many such ops wait",
            Self::NotEntitled => "its author may not do that",
            Self::InviteRevoked => "the invitation has been revoked; ask for a new one",
            Self::InviteUsedUp => "the invitation has been used as often as it may be; ask for a new one",
            Self::InviteExpired => "the invitation has expired; ask for a new one",
            Self::TooManyDevices => "the account has as many devices here as it may have",
            Self::TooManyBranches => "its author has contradicted itself too often in this log",
            Self::TooManyPending => "too many ops of its author wait for missing ones",
            Self::OwnLogOutOfOrder => "this device tried to write elsewhere than at the end of its open log",
        })
    }
}

/// An op that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its id.
    pub id: OpId,
    /// Its arrival.
    pub arrival: u64,
    /// Its author.
    pub author: DeviceId,
}

/// An op that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its id.
    pub id: OpId,
    /// Why.
    pub reason: Reason,
}

/// What became of the ops of one [`Batch::append`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Newly stored, in order of arrival; among them ops that had waited among the strangers.
    pub stored: Vec<Stored>,
    /// How many were here before.
    pub known: usize,
    /// How many of these got a signature or body that was lacking.
    pub completed: usize,
    /// Not taken.
    pub refused: Vec<Refusal>,
    /// How many of the stored ones are pending or early now.
    pub waiting: usize,
    /// How many ops became delivered, earlier pending ones included.
    pub delivered: usize,
    /// Devices that became members.
    pub granted: Vec<(ConversationId, DeviceId)>,
    /// Places that more than one id claims, found now.
    pub equivocations: Vec<Equivocation>,
    /// A peer brought an op of this device that was not here: the log's tail had been lost, and the next own op begins a
    /// new log.
    pub tail_lost: bool,
    /// Ops whose bodies went, or were not kept.
    pub gone: Vec<Lost>,
}

/// One call of append while it runs.
pub(crate) struct Run<'f> {
    /// The peer that brings the ops; `None` = this device wrote them.
    pub(crate) from: Option<DeviceId>,
    pub(crate) now_ms: u64,
    pub(crate) fold: &'f mut dyn Fold,
    pub(crate) out: Appended,
    /// Conversations in which someone may have become authorised.
    pub(crate) opened: BTreeSet<ConversationId>,
    /// Arrivals of this run that are pending or early.
    pub(crate) waiting: BTreeSet<u64>,
}

impl<'f> Run<'f> {
    pub(crate) fn new(from: Option<DeviceId>, now_ms: u64, fold: &'f mut dyn Fold) -> Self {
        Self { from, now_ms, fold, out: Appended::default(), opened: BTreeSet::new(), waiting: BTreeSet::new() }
    }

    pub(crate) fn refuse(&mut self, op: &Op, reason: Reason) {
        self.out.refused.push(Refusal { conversation: op.conversation(), id: op.id, reason });
    }
}

/// Who brought an op. Differs from the run's for ops that had waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Via {
    /// Number of the peer; 0 = this device wrote it.
    pub(crate) source: i64,
    /// The author itself brought it.
    pub(crate) by_author: bool,
}

impl Batch<'_> {
    pub(crate) fn append_all(
        &mut self,
        ops: impl IntoIterator<Item: Borrow<Incoming>>,
        from: Option<&DeviceId>,
        now_ms: u64,
        fold: &mut dyn Fold,
    ) -> Result<Appended, LogError> {
        let source = match from {
            Some(peer) => self.peer(peer)?,
            None => 0,
        };
        let mut run = Run::new(from.copied(), now_ms, fold);
        run.fold.begin();
        for incoming in ops {
            let Incoming { op, control } = incoming.borrow();
            let via = Via { source, by_author: from == Some(&op.header.author) };
            self.take(op, control.as_ref(), via, &mut run)?;
            while let Some(conversation) = run.opened.pop_first() {
                self.retry_strangers(conversation, &mut run)?;
            }
        }
        run.fold.end(self.tx.as_ref().ok_or(LogError::Abandoned)?)?;
        run.out.waiting = run.waiting.len();
        Ok(run.out)
    }

    /// Judges and stores one op. Returns whether it has found its end: stored, known or refused for good.
    pub(crate) fn take(
        &mut self,
        op: &Sound,
        control: Option<&Control>,
        via: Via,
        run: &mut Run<'_>,
    ) -> Result<bool, LogError> {
        let (id, author) = (op.conversation(), op.header.author);
        let n = self.conversation(&id)?.map(|entry| entry.n);
        let log = match n {
            Some(n) => self.log(n, &author, &op.header.log)?.cloned(),
            None => None,
        };
        if let Some(log) = &log
            && op.header.seq <= log.max_seq
            && let Some(arrival) = self.arrival_at(log, op)?
        {
            run.out.known += 1;
            self.complete(op, control, arrival, run)?;
            return Ok(true);
        }
        match self.judge(op, control, n, log.is_some(), via, run)? {
            Verdict::Authorised => {}
            Verdict::Refused(reason) => {
                run.refuse(op, reason);
                return Ok(true);
            }
            Verdict::Stranger => {
                let reason = self.keep_stranger(op, control.is_some(), via)?;
                run.refuse(op, reason);
                return Ok(false);
            }
        }
        let own = run.from.is_none() && via.source == 0;
        if own && !follows_own_tail(op, log.as_ref()) {
            run.refuse(op, Reason::OwnLogOutOfOrder);
            return Ok(true);
        }
        if let Some(reason) = self.store(op, control, log, via, own, run)? {
            run.refuse(op, reason);
        }
        Ok(true)
    }

    /// Stores an authorised op, unless a quota speaks against it.
    fn store(
        &mut self,
        op: &Op,
        control: Option<&Control>,
        log: Option<LogRow>,
        via: Via,
        own: bool,
        run: &mut Run<'_>,
    ) -> Result<Option<Reason>, LogError> {
        let conn = self.conn;
        let (id, header) = (op.conversation(), &op.header);
        let n = match self.conversation(&id)? {
            Some(entry) => entry.n,
            None => {
                let entry = Conversation::create(conn, &id)?;
                let n = entry.n;
                self.cache.conversations.insert(id, entry);
                n
            }
        };
        let place = self.place(op, log.as_ref())?;
        if place.occupied && log.as_ref().is_some_and(|log| log.branches >= BRANCHES_PER_LOG_MAX as u64) {
            return Ok(Some(Reason::TooManyBranches));
        }
        let readiness = self.readiness(n, op, log.as_ref())?;
        // A device names only what it has delivered; joins in older files name an invitation known from its link. A writer
        // reads its own writes at once (I4).
        let must_wait = !own && !readiness.waits.is_empty();
        if must_wait && pending_of(conn, &mut self.cache.pending, &header.author)? >= PENDING_PER_AUTHOR_MAX as u64 {
            return Ok(Some(Reason::TooManyPending));
        }
        let state = if header.hlc.is_early(run.now_ms) {
            State::Early
        } else if must_wait {
            State::Pending
        } else if header.hlc > readiness.floor {
            State::Delivered
        } else {
            State::Void
        };

        let fate = self.fate(op, n, run.now_ms)?;
        let bare;
        let op = if fate.why != 0 && op.body.is_some() {
            bare = Op { body: None, ..op.clone() };
            &bare
        } else {
            op
        };

        let new_log = log.is_none();
        let mut log = match log {
            Some(log) => log,
            None => LogRow::create(conn, n, &header.author, &header.log)?,
        };
        let arrival = self.cache.position + 1;
        let chain = self.cache.chain.next(&op.id);
        self.insert_row(op, n, log.n, arrival, chain.0, via.source, &place)?;
        (self.cache.position, self.cache.chain) = (arrival, chain);
        if !fate.is_plain() {
            self.meet(fate, op, n, arrival, run)?;
        }
        self.enter_log(&mut log, op, &place, arrival, state)?;
        self.cache.fresh.push(&op.id, arrival);
        if own {
            if new_log {
                self.open_own_log(n, op, &mut log)?;
            }
        } else if self.cache.own.contains(&header.author) {
            run.out.tail_lost = true;
            self.close_own_logs(n, op, &mut log)?;
        }
        self.record_conflicts(op, &log, &place, run)?;
        let key = (n, header.author, header.log);
        let log_n = log.n;
        if !std::mem::replace(&mut log.dirty, true) {
            self.cache.dirty_logs.push(key);
        }
        self.cache.logs.insert(key, log);

        if state != State::Delivered {
            let mut statement = conn.prepare_cached(
                "INSERT INTO undelivered (arrival, conversation, state, hlc) VALUES (?1, ?2, ?3, ?4)",
            )?;
            statement.execute(params![arrival as i64, n, state as i64, header.hlc.0 as i64])?;
        }
        let settled = state.is_settled();
        self.cache.recent.put(&op.id, Known { conversation: n, hlc: header.hlc, settled });
        let entry = self.conversation(&id)?.ok_or(LogError::UnknownConversation(id))?;
        entry.tree(conn)?.insert(conn, n, op.key(), &op.id, arrival)?;
        entry.sum.add(&op.id);
        entry.last_arrival = arrival;
        if !settled {
            entry.waiting += 1;
        }
        self.cache.dirty_conversations.insert(id);
        run.out.stored.push(Stored { conversation: id, id: op.id, arrival, author: header.author });
        if let Some(control) = control {
            self.apply_control(op, control, n, arrival, run)?;
        }
        if settled {
            if state == State::Delivered {
                if !readiness.waits.is_empty() {
                    // An own op that runs ahead of what it names: that is asked for, and will be no head.
                    self.count_waiting(id, 1)?;
                    self.wait(op, n, arrival, state, &readiness.waits)?;
                }
                self.deliver(op, control, log_n, arrival, own, run)?;
                if self.cache.dropped.contains(&op.id) {
                    self.heads_after_return(&id, n)?;
                }
            }
            self.settle_waiters(id, n, op.id, run)?;
        } else {
            self.wait(op, n, arrival, state, &readiness.waits)?;
            run.waiting.insert(arrival);
        }
        Ok(None)
    }

    /// Names what an op waits for.
    fn wait(&mut self, op: &Op, n: i64, arrival: u64, state: State, waits: &[OpId]) -> Result<(), LogError> {
        let mut statement =
            self.conn.prepare_cached("INSERT OR IGNORE INTO missing (conversation, id, waiter) VALUES (?1, ?2, ?3)")?;
        for id in waits {
            statement.execute(params![n, id.as_bytes(), arrival as i64])?;
        }
        if state == State::Pending
            && let Some(count) = self.cache.pending.get_mut(&op.header.author)
        {
            *count += 1;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row that are not in the op")]
    fn insert_row(
        &mut self,
        op: &Op,
        n: i64,
        log: i64,
        arrival: u64,
        chain: [u8; 16],
        source: i64,
        place: &Place,
    ) -> Result<(), LogError> {
        let header = &op.header;
        if self.insert.is_none() {
            self.insert = Some(self.conn.prepare_cached(
                "INSERT INTO op (arrival, conversation, log, seq, hlc, source, body_len, id, chain, rest, body_hash, \
                 signature, body, prev) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?);
        }
        let statement = self.insert.as_mut().ok_or(LogError::Abandoned)?;
        let numbers = [arrival as i64, n, log, header.seq as i64, header.hlc.0 as i64, source, header.body_len.into()];
        // The hash of a held body is computed again on the way out; that of an empty one too.
        let body_hash = (op.body.is_none() && header.body_hash != BodyHash::EMPTY).then_some(header.body_hash.0);
        let rest = row::encode_rest(header);
        let blobs = [
            Some(op.id.0.as_slice()),
            Some(chain.as_slice()),
            Some(rest.as_slice()),
            body_hash.as_ref().map(<[u8; 32]>::as_slice),
            op.signature.as_ref().map(|signature| signature.0.as_slice()),
            op.body.as_deref(),
        ];
        for (column, number) in (1..).zip(numbers) {
            statement.raw_bind_parameter(column, number)?;
        }
        for (column, blob) in (1 + numbers.len()..).zip(blobs) {
            statement.raw_bind_parameter(column, blob)?;
        }
        let prev = 1 + numbers.len() + blobs.len();
        match place.prev_arrival {
            Some(arrival) => statement.raw_bind_parameter(prev, arrival as i64)?,
            None if header.seq == 1 => statement.raw_bind_parameter(prev, Null)?,
            None => statement.raw_bind_parameter(prev, header.prev.0.as_slice())?,
        }
        statement.raw_execute()?;
        Ok(())
    }

    /// Gives a known op the signature or body that it lacks.
    fn complete(
        &mut self,
        op: &Op,
        control: Option<&Control>,
        arrival: u64,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        if op.signature.is_none() && op.body.is_none() {
            return Ok(());
        }
        let (unsigned, bodiless, n, log): (bool, bool, i64, i64) = self
            .conn
            .prepare_cached(
                "SELECT signature IS NULL, body IS NULL AND body_len > 0, conversation, log FROM op \
                 WHERE arrival = ?1",
            )?
            .query_row([arrival as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        if unsigned && let Some(signature) = &op.signature {
            let mut statement = self.conn.prepare_cached("UPDATE op SET signature = ?2 WHERE arrival = ?1")?;
            statement.execute(params![arrival as i64, signature.0])?;
        }
        let mut embodied = bodiless && op.body.is_some();
        if embodied && gone::bits(self.conn, arrival)? != 0 {
            // Gone for good, whoever still has it.
            embodied = false;
        } else if embodied && op.header.class == Class::Content && is_over(op, run.now_ms) {
            embodied = false;
            self.drop_body(arrival, gone::EXPIRED, run)?;
        }
        if embodied {
            let mut statement =
                self.conn.prepare_cached("UPDATE op SET body = ?2, body_hash = NULL WHERE arrival = ?1")?;
            statement.execute(params![arrival as i64, op.body])?;
            self.conn.prepare_cached("DELETE FROM wanted WHERE arrival = ?1")?.execute([arrival as i64])?;
            if let Some(control) = control {
                self.apply_control(op, control, n, arrival, run)?;
            }
            if reads::state_of(self.conn, arrival)? == State::Delivered {
                let conversation = op.conversation();
                let own = false;
                let delivered =
                    Delivered { op, conversation, n, log, arrival, control, own, late_hint: true, gone: None };
                run.fold.body(self.tx.as_ref().ok_or(LogError::Abandoned)?, &delivered)?;
            }
        }
        run.out.completed += usize::from(embodied || (unsigned && op.signature.is_some()));
        Ok(())
    }
}

/// Whether the time of an op's body is over.
fn is_over(op: &Op, now_ms: u64) -> bool {
    op.header.expires_ms != 0 && op.header.expires_ms <= now_ms
}
