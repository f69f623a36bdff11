//! The replica: a log, the sessions that read and feed it, and what is waiting to become durable.
//!
//! Contract: after every call drain [`Replica::poll`]. `receive` only queues what has to be stored; `flush` stores all
//! of it in one transaction and then lets the sessions acknowledge, so that a burst costs one sync of the disk. An error
//! of the log is final for this object (fail-stop): what was not acknowledged will be sent again by whoever owes it.

use crate::marks::Marks;
use crate::registers::QueuedRegisters;
use crate::view::{Memory, Shared, View};
use crate::{Scope, Zstd};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use tombolo_identity::{DeviceKey, Strict};
use tombolo_model::{BodyHash, ConversationId, DeviceId, OpId, Sound};
use tombolo_oplog::{self as oplog, Fold, Gone, Log, LogError, Lost};
use tombolo_proto::session::{Config, Context, Input, Now, Session, Stats, Tools};
use tombolo_proto::{Fault, Refusal, Tool, session};

/// Names a connection of this replica; given by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the shell knows about a new connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// Whether this side dialled.
    pub initiator: bool,
    /// The only replica that may answer, where known.
    pub expected: Option<DeviceId>,
    /// What ties the proof to the transport beneath; empty when it has none.
    pub binding: Vec<u8>,
    /// 32 fresh random bytes.
    pub nonce: [u8; 32],
    /// Which conversations it is about.
    pub scope: Scope,
    /// Tools to search with.
    pub tools: Tools,
}

/// What a replica refuses beyond what membership says: quotas, blocked accounts.
pub trait Gate {
    /// Whether `bytes` more bytes of a conversation may be taken from `peer`.
    ///
    /// # Errors
    /// The refusal that the peer is told.
    fn admit(&mut self, log: &Log, peer: &DeviceId, conversation: &ConversationId, bytes: u64) -> Result<(), Refusal>;
}

/// What the shell has to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send one message.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        frame: Vec<u8>,
    },
    /// Close the transport, once what was queued before is sent.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        fault: Fault,
    },
    /// Something happened that a person or a metric may want to know.
    Event(Event),
}

/// What happened.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named for what they hold; the variants say when they come")]
pub enum Event {
    /// The peer proved who it is.
    Authenticated { conn: ConnId, peer: DeviceId, skew_ms: i64 },
    /// Ops are on disk: own ones (`conn` is `None`) or somebody's.
    Stored { conn: Option<ConnId>, conversation: ConversationId, ids: Vec<OpId>, tool: Option<Tool> },
    /// A device gained access to a conversation.
    Granted { conversation: ConversationId, device: DeviceId },
    /// A peer holds, on its disk, everything of ours that it may see up to this arrival position.
    Acked { peer: DeviceId, position: u64 },
    /// A peer's store is not the one that acknowledged earlier.
    AcksLost { peer: DeviceId },
    /// The peer held exactly what is here up to this own arrival position.
    Proven { conn: ConnId, peer: DeviceId, position: u64, conversations: Vec<ConversationId>, count: u64 },
    /// A difference could not be resolved: a named gap.
    Unproven { conn: ConnId, peer: DeviceId, conversations: Vec<ConversationId> },
    /// A conversation is not taken by one side.
    Refused { conn: ConnId, conversation: ConversationId, refusal: Refusal, by_peer: bool },
    /// Something fleeting.
    Presence { conn: ConnId, peer: DeviceId, conversation: ConversationId, payload: Vec<u8> },
    /// Registers of this conversation came that are newer than what was here.
    Registers { conversation: ConversationId },
    /// A peer says, signed, that it has another address.
    Moved { conn: ConnId, peer: DeviceId, url: String, at_ms: u64 },
    /// An author wrote two ops for one place of a log.
    Equivocation { conversation: ConversationId, author: DeviceId },
    /// A peer knew own ops that this store had lost; writing goes on in new logs.
    TailLost,
    /// Bodies are gone from the log and what was made of them from the views, or were not kept when they came. Their bytes
    /// leave the file soon: see [`Event::Wiped`].
    Gone { conversation: ConversationId, ids: Vec<OpId>, why: Gone },
    /// Of everything that was let go of so far nothing is left in the files.
    Wiped,
}

/// Where a connection stands.
#[derive(Clone, Debug, Default)]
pub struct ConnState {
    /// The peer, once authenticated.
    pub peer: Option<DeviceId>,
    /// Nothing is on its way, waiting or being searched.
    pub quiet: bool,
    /// Both sides were proven equal and nothing shared has arrived since.
    pub proven: bool,
    /// Conversations that still differ after the search gave up.
    pub unproven: Option<Vec<ConversationId>>,
    /// Conversations that one side does not take.
    pub blocked: BTreeMap<ConversationId, Refusal>,
    /// The session has ended.
    pub over: bool,
}

pub(crate) struct Conn {
    pub(crate) session: Session,
    pub(crate) scope: Scope,
    unproven: Option<Vec<ConversationId>>,
    /// What it shared at its last step.
    shared: Shared,
}

/// A batch that a session wants stored.
pub(crate) struct Queued {
    pub(crate) conn: ConnId,
    pub(crate) peer: DeviceId,
    pub(crate) number: u64,
    pub(crate) tool: Tool,
    pub(crate) ops: Vec<Sound>,
    /// Those without bodies that are to be stored.
    pub(crate) bare: BTreeSet<OpId>,
    pub(crate) through: Option<tombolo_proto::Cursor>,
}

/// A log and its sessions.
pub struct Replica<F: Fold> {
    pub(crate) log: Log,
    pub(crate) key: DeviceKey,
    pub(crate) fold: F,
    pub(crate) gate: Option<Box<dyn Gate>>,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) queued: Vec<Queued>,
    pub(crate) queued_registers: Vec<QueuedRegisters>,
    pub(crate) marks: Marks,
    pub(crate) marks_since_ms: Option<u64>,
    pub(crate) memory: Memory,
    /// When the next body expires, on the clock of `mono_ms`.
    expires_mono_ms: Option<u64>,
    /// When the file is to be wiped, on the clock of `mono_ms`.
    wipe_mono_ms: Option<u64>,
    fleeting: Fleeting,
    pub(crate) out: VecDeque<Output>,
}

impl<F: Fold> std::fmt::Debug for Replica<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("device", &self.key.id())
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

/// **Milliseconds** after which marks go to disk without waiting for a transaction.
const MARKS_MS: u64 = 1_000;
/// **Milliseconds** after which what was let go of is wiped: what comes meanwhile is wiped with it.
const WIPE_MS: u64 = 1_000;
/// Bodies that expire in one transaction: what a device finds that was off for long must not hold up everything else.
const EXPIRE_MAX: usize = 512;

impl<F: Fold> Replica<F> {
    /// Joins a log, the key of this device and its views.
    #[must_use]
    pub fn new(log: Log, key: DeviceKey, fold: F) -> Self {
        Self {
            log,
            key,
            fold,
            gate: None,
            conns: BTreeMap::new(),
            queued: Vec::new(),
            queued_registers: Vec::new(),
            marks: Marks::default(),
            marks_since_ms: None,
            memory: Memory::default(),
            expires_mono_ms: None,
            wipe_mono_ms: None,
            fleeting: Fleeting::default(),
            out: VecDeque::new(),
        }
    }

    /// Sets what is refused beyond membership.
    pub fn set_gate(&mut self, gate: Box<dyn Gate>) {
        self.gate = Some(gate);
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for what the shell stores itself. Ops go through [`Replica::write`] and sessions only.
    pub fn log_mut(&mut self) -> &mut Log {
        self.memory.forget_shared();
        &mut self.log
    }

    /// Forgets what is only remembered to answer faster: after a repair of the log.
    pub fn forget(&mut self) {
        self.memory = Memory::default();
    }

    /// The views.
    #[must_use]
    pub fn fold(&self) -> &F {
        &self.fold
    }

    /// The views, for writing.
    pub fn fold_mut(&mut self) -> &mut F {
        &mut self.fold
    }

    /// Log and views together, for what writes views outside of ops (a rebuild, what was seen).
    pub fn log_and_fold(&mut self) -> (&mut Log, &mut F) {
        (&mut self.log, &mut self.fold)
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.key.id()
    }

    /// The key of this device.
    #[must_use]
    pub fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// The next thing for the shell to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A transport is up.
    pub fn connect(&mut self, conn: ConnId, link: Link, now: Now) {
        let Link { initiator, expected, binding, nonce, scope, tools } = link;
        let config = Config { expected, binding, tools, ..Config::new(initiator, nonce) };
        self.conns
            .insert(conn, Conn { session: Session::new(config), scope, unproven: None, shared: Shared::default() });
        self.step(conn, Input::Connected, now);
    }

    /// A message came. What it brings is stored by the next [`Replica::flush`].
    pub fn receive(&mut self, conn: ConnId, frame: &[u8], now: Now) {
        self.step(conn, Input::Frame(frame), now);
    }

    /// A transport is gone.
    pub fn disconnected(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.memory.forget_conn(conn.0);
        self.queued.retain(|queued| queued.conn != conn);
    }

    /// Says goodbye on a connection; [`Output::Close`] follows.
    pub fn leave(&mut self, conn: ConnId, now: Now) {
        self.step(conn, Input::Leave, now);
    }

    /// Ends a connection because of a fault that the shell found.
    pub fn fail(&mut self, conn: ConnId, fault: Fault, now: Now) {
        self.step(conn, Input::Fail(fault), now);
    }

    /// Something fleeting, to everybody connected who may see the conversation.
    pub fn presence(&mut self, conversation: ConversationId, payload: &[u8], now: Now) {
        self.fleeting.is_new(payload);
        self.spread(None, conversation, payload, now);
    }

    /// Tells a peer that this replica has moved.
    pub fn say_moved(&mut self, conn: ConnId, url: &str, at_ms: u64, now: Now) {
        use tombolo_model::crypto::{DOMAIN_MOVED, Signer as _};
        let signature = self.key.sign(DOMAIN_MOVED, &session::moved_bytes(url, at_ms));
        self.step(conn, Input::Moved { url: url.into(), at_ms, signature }, now);
    }

    /// What a connection has done so far.
    #[must_use]
    pub fn stats(&self, conn: ConnId) -> Option<Stats> {
        self.conns.get(&conn).map(|conn| conn.session.stats())
    }

    /// Where a connection stands.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read.
    pub fn state(&self, conn: ConnId) -> Result<Option<ConnState>, LogError> {
        let Some(found) = self.conns.get(&conn) else { return Ok(None) };
        let peer = found.session.peer();
        let mut latest = 0;
        if let Some(peer) = peer {
            for (conversation, _) in found.scope.shared(&self.log, &peer)? {
                latest = latest.max(self.log.conversation(&conversation)?.map_or(0, |row| row.last_arrival));
            }
        }
        Ok(Some(ConnState {
            peer,
            quiet: found.session.is_quiet()
                && found.session.registers_quiet()
                && !found.session.awaits_bodies()
                && !self.queued.iter().any(|queued| queued.conn == conn),
            proven: found.session.proven().is_some_and(|position| position >= latest),
            unproven: found.unproven.clone(),
            blocked: found.session.blocked().clone(),
            over: found.session.is_over(),
        }))
    }

    /// The connections that there are.
    pub fn conns(&self) -> impl Iterator<Item = (ConnId, Option<DeviceId>)> + '_ {
        self.conns.iter().map(|(id, conn)| (*id, conn.session.peer()))
    }

    /// When [`Replica::tick`] is due at the latest, on the clock of `mono_ms`; `wall_ms` of early ops is checked at every
    /// tick, so shells tick at least every few seconds.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let sessions = self.conns.values().filter_map(|conn| conn.session.deadline_ms()).min();
        let marks = self.marks_since_ms.map(|since| since + MARKS_MS);
        [sessions, marks, self.expires_mono_ms, self.wipe_mono_ms].into_iter().flatten().min()
    }

    /// Time has passed: timers of sessions, early ops whose time has come, marks.
    ///
    /// # Errors
    /// [`LogError`]: final for this object.
    pub fn tick(&mut self, now: Now) -> Result<(), LogError> {
        for conn in self.ids() {
            self.step(conn, Input::Tick, now);
        }
        if self.log.early_next_ms()?.is_some_and(|due_ms| due_ms <= now.wall_ms) {
            let mut batch = self.log.batch()?;
            let (_, gone) = batch.release_early(now.wall_ms, &mut self.fold)?;
            batch.commit()?;
            self.tell_gone(gone);
        }
        self.expire(now)?;
        self.wipe_when_due(now)?;
        if !self.marks.is_empty() {
            let since = *self.marks_since_ms.get_or_insert(now.mono_ms);
            if now.mono_ms >= since + MARKS_MS {
                self.store_marks()?;
            }
        }
        self.flush(now)
    }

    /// Lets go of bodies whose time is over by this device's own clock, a bounded number at once. Every tick does it; what
    /// is shown before the first tick should be preceded by it.
    ///
    /// # Errors
    /// [`LogError`]: final for this object.
    pub fn expire(&mut self, now: Now) -> Result<(), LogError> {
        let due = |log: &Log| -> Result<Option<u64>, LogError> {
            Ok(log.expires_next_ms()?.map(|at_ms| at_ms.saturating_sub(now.wall_ms)))
        };
        let mut next = due(&self.log)?;
        if next == Some(0) {
            let mut batch = self.log.batch()?;
            let gone = batch.expire(now.wall_ms, EXPIRE_MAX, &mut self.fold)?;
            batch.commit()?;
            self.tell_gone(gone);
            next = due(&self.log)?;
        }
        self.expires_mono_ms = next.map(|wait_ms| now.mono_ms.saturating_add(wait_ms));
        Ok(())
    }

    /// Wipes what was let go of out of the files, at once. Returns whether nothing of it is left: `false` while another
    /// connection reads an older state; then every tick tries again.
    ///
    /// # Errors
    /// [`LogError`]: final for this object.
    pub fn wipe(&mut self, now: Now) -> Result<bool, LogError> {
        if !self.log.is_unwiped() {
            self.wipe_mono_ms = None;
            return Ok(true);
        }
        let wiped = self.log.wipe()?;
        self.wipe_mono_ms = if wiped { None } else { Some(now.mono_ms.saturating_add(WIPE_MS)) };
        if wiped {
            self.out.push_back(Output::Event(Event::Wiped));
        }
        Ok(wiped)
    }

    fn wipe_when_due(&mut self, now: Now) -> Result<(), LogError> {
        if !self.log.is_unwiped() {
            return Ok(());
        }
        let due_ms = *self.wipe_mono_ms.get_or_insert(now.mono_ms.saturating_add(WIPE_MS));
        if now.mono_ms >= due_ms {
            self.wipe(now)?;
        }
        Ok(())
    }

    /// Says whose bodies are gone, once that is on the disk.
    pub fn tell_gone(&mut self, gone: Vec<Lost>) {
        for of_one in gone.chunk_by(|a, b| (a.conversation, a.why) == (b.conversation, b.why)) {
            let (conversation, why) = (of_one[0].conversation, of_one[0].why);
            let ids = of_one.iter().map(|lost| lost.id).collect();
            self.out.push_back(Output::Event(Event::Gone { conversation, ids, why }));
        }
    }

    /// Ends: what is remembered of peers goes to disk, the log is closed in order.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn close(mut self) -> Result<(), LogError> {
        self.store_marks()?;
        self.log.close()
    }

    fn store_marks(&mut self) -> Result<(), LogError> {
        self.marks_since_ms = None;
        let dirty = self.memory.sketches.borrow().values().any(|kept| kept.dirty);
        if self.marks.is_empty() && !dirty {
            return Ok(());
        }
        let mut batch = self.log.batch()?;
        store_beside(&mut batch, &mut self.marks, &self.memory)?;
        batch.commit()
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    /// Feeds one session, which is told first what has come into its scope.
    pub(crate) fn step(&mut self, id: ConnId, input: Input<'_>, now: Now) {
        for conversation in self.came_into_scope(id) {
            self.feed(id, Input::Granted(conversation), now);
        }
        self.feed(id, input, now);
    }

    /// Conversations that a connection shares since its last step, whatever brought them: the peer was let in, or an op
    /// named the relay. What was streamed until now has left them out.
    fn came_into_scope(&mut self, id: ConnId) -> Vec<ConversationId> {
        let Some(conn) = self.conns.get_mut(&id) else { return Vec::new() };
        let Some(peer) = conn.session.peer() else { return Vec::new() };
        let view = View::new(&self.log, &self.memory, &self.marks, (id.0, &conn.scope), self.key.id());
        // When it cannot be read, the session will say so.
        let Ok(now_shared) = view.shared_list(&peer) else { return Vec::new() };
        if Rc::ptr_eq(&now_shared, &conn.shared) {
            return Vec::new();
        }
        let before = std::mem::replace(&mut conn.shared, Rc::clone(&now_shared));
        let is_new = |id: &ConversationId| before.binary_search_by(|(known, _)| known.cmp(id)).is_err();
        now_shared.iter().map(|(id, _)| *id).filter(is_new).collect()
    }

    /// Feeds one session and takes what it wants done.
    fn feed(&mut self, id: ConnId, input: Input<'_>, now: Now) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let view = View::new(&self.log, &self.memory, &self.marks, (id.0, &conn.scope), self.key.id());
        let ctx = Context { source: &view, signer: &self.key, verifier: &Strict, compression: &Zstd, now };
        // A step asks several small questions; it writes nothing.
        let held = self.log.hold();
        conn.session.handle(input, &ctx);
        // A peer that shares nothing has nothing to be remembered by: strangers cost no row.
        let shares = !conn.shared.is_empty();
        drop(held);
        let mut spread = Vec::new();
        while let Some(output) = conn.session.poll() {
            let peer = conn.session.peer().unwrap_or_default();
            let event = match output {
                session::Output::Send(frame) => {
                    self.out.push_back(Output::Send { conn: id, frame });
                    continue;
                }
                session::Output::Persist { number, tool, ops, bare, through } => {
                    self.queued.push(Queued { conn: id, peer, number, tool, ops, bare, through });
                    continue;
                }
                session::Output::Registers { registers, through } => {
                    let members_only = conn.scope == Scope::Members;
                    self.queued_registers.push(QueuedRegisters { conn: id, peer, members_only, registers, through });
                    continue;
                }
                session::Output::Remember(cursor) => {
                    if shares {
                        self.marks.read(peer, to_oplog(cursor));
                    }
                    continue;
                }
                session::Output::Close(fault) => {
                    self.out.push_back(Output::Close { conn: id, fault });
                    continue;
                }
                session::Output::Authenticated { peer, skew_ms } => Event::Authenticated { conn: id, peer, skew_ms },
                session::Output::Acked { position } => {
                    self.marks.streamed(peer, position);
                    Event::Acked { peer, position }
                }
                session::Output::AcksLost { restored } => {
                    if shares {
                        self.marks.lost(peer);
                    }
                    if !restored {
                        continue;
                    }
                    Event::AcksLost { peer }
                }
                session::Output::Proven { position, count, conversations } => {
                    conn.unproven = None;
                    // What one side does not take was not compared: it stays owed.
                    if shares && conn.session.blocked().is_empty() {
                        self.marks.acked(peer, position);
                    }
                    for conversation in &conversations {
                        self.marks.proven(peer, *conversation, (now.wall_ms, position, count));
                    }
                    Event::Proven { conn: id, peer, position, conversations, count }
                }
                session::Output::Unproven { conversations } => {
                    conn.unproven = Some(conversations.clone());
                    Event::Unproven { conn: id, peer, conversations }
                }
                session::Output::Refused { conversation, refusal, by_peer } => {
                    Event::Refused { conn: id, conversation, refusal, by_peer }
                }
                session::Output::Presence { conversation, payload } => {
                    // With two relays between two devices the same payload would go round for ever.
                    if !self.fleeting.is_new(&payload) {
                        continue;
                    }
                    spread.push((conversation, payload.clone()));
                    Event::Presence { conn: id, peer, conversation, payload }
                }
                session::Output::Moved { url, at_ms } => Event::Moved { conn: id, peer, url, at_ms },
            };
            self.out.push_back(Output::Event(event));
        }
        if !self.marks.is_empty() {
            self.marks_since_ms.get_or_insert(now.mono_ms);
        }
        for (conversation, payload) in spread {
            self.spread(Some(id), conversation, &payload, now);
        }
    }

    fn spread(&mut self, from: Option<ConnId>, conversation: ConversationId, payload: &[u8], now: Now) {
        for id in self.ids() {
            let Some(conn) = self.conns.get(&id) else { continue };
            let Some(peer) = conn.session.peer() else { continue };
            let shared = conn.scope.shared(&self.log, &peer).unwrap_or_default();
            if from != Some(id) && shared.iter().any(|(shared, _)| *shared == conversation) {
                self.step(id, Input::Presence { conversation, payload: payload.to_vec() }, now);
            }
        }
    }

    /// Lets every session see that the log has grown.
    pub(crate) fn changed(&mut self, now: Now) {
        for id in self.ids() {
            self.step(id, Input::Changed, now);
        }
    }
}

/// Fleeting payloads that went through lately; they are sealed with fresh random bytes, so equal ones are the same one.
#[derive(Debug, Default)]
struct Fleeting(VecDeque<BodyHash>);

/// Fleeting payloads that are remembered: more than are on their way at any time.
const FLEETING_MAX: usize = 256;

impl Fleeting {
    fn is_new(&mut self, payload: &[u8]) -> bool {
        let hash = BodyHash::of(payload);
        if self.0.contains(&hash) {
            return false;
        }
        if self.0.len() == FLEETING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(hash);
        true
    }
}

/// Marks and sketches ride in a transaction that is being committed anyway.
pub(crate) fn store_beside(batch: &mut oplog::Batch<'_>, marks: &mut Marks, memory: &Memory) -> Result<(), LogError> {
    marks.store(batch)?;
    for (conversation, kept) in memory.sketches.borrow_mut().iter_mut().filter(|(_, kept)| kept.dirty) {
        batch.put_sketch(conversation, &kept.sketch.to_bytes(), &kept.estimator.to_bytes(), kept.through)?;
        kept.dirty = false;
    }
    Ok(())
}

pub(crate) fn to_oplog(cursor: tombolo_proto::Cursor) -> oplog::Cursor {
    oplog::Cursor { incarnation: cursor.incarnation, position: cursor.position, chain: cursor.chain }
}
