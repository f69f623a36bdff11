//! One end of a connection: authenticate, resume, send what is missing, search what differs, prove.
//!
//! Contract (after str0m and quinn): after every [`Session::handle`] drain [`Session::poll`] until it returns `None`.
//! [`Output::Persist`] hands ops to the host; [`Input::Persisted`] says that they are on disk; only then the session
//! acknowledges them. Time only moves through the arguments. After [`Output::Close`] the session is over.
//!
//! How a session goes (PROTOCOL.md has the frames):
//!
//! ```text
//! hello <> hello, prove <> prove, resume <> resume          who, and where each stands
//! batch ... -> <- ack ...                                   what arrived after the cursor, within the granted credit
//! settled <> settled                                        all sent: are the proofs equal? then both are proven
//! roots -> <- differ, cells -> <- decoded, ranges <> ranges if not: the initiator searches, then settled again
//! batch -> <- ack, settled (after a quiet second)           live
//! ```
//!
//! Parts: `opening` (who), `sending`, `names` (short ones), `receiving`, `search` (the digest rounds), `bodies` (those that lack), `registers`
//! (beside the log). Not here: sockets, threads, checking
//! signatures of ops, storing.

mod bodies;
mod names;
mod opening;
mod receiving;
mod registers;
mod search;
mod sending;

pub use opening::moved_bytes;

use crate::batch::Compression;
use crate::fault::Fault;
use crate::frame::{Frame, Hello, Refusal, Resume, Settled, Tool};
use crate::limit::{OPENING_MS, PING_MS, SILENCE_MS, WINDOW_BYTES};
use crate::source::{Cursor, Source};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use search::Search;
use sending::{InFlight, Job};
use tombolo_model::crypto::{Signer, Verifier};
use tombolo_model::{ConversationId, DeviceId, OpId, Proof, Register, Signature, Sound};

/// Newest protocol version that this code speaks. 2: ops whose bodies are gone are told from headers that only vouch. 3:
/// batches name what the receiver holds by the beginning of its id.
pub const VERSION: u8 = 3;
/// Oldest protocol version that this code speaks.
pub const VERSION_MIN: u8 = 1;

/// Two clocks, both as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Never goes back; for timers. **Milliseconds**.
    pub mono_ms: u64,
    /// What the clock on the wall says, **milliseconds** since 1970; may jump.
    pub wall_ms: u64,
}

/// Which tools a session may search with. All, except in tests that show that each one can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Resume by arrival cursor.
    pub cursor: bool,
    /// Per-log heights.
    pub heights: bool,
    /// Rateless sketch.
    pub sketch: bool,
    /// Range splitting.
    pub ranges: bool,
}

impl Tools {
    /// All of them.
    pub const ALL: Self = Self { cursor: true, heights: true, sketch: true, ranges: true };
}

/// What a session is told at birth.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether this side opened the connection; it drives the search.
    pub initiator: bool,
    /// The only replica that may answer, where known.
    pub expected: Option<DeviceId>,
    /// What ties the proof to this connection beneath: a TLS exporter, a Noise handshake hash; empty when there is none.
    pub binding: Vec<u8>,
    /// 32 random bytes, never used before.
    pub nonce: [u8; 32],
    /// Tools to search with.
    pub tools: Tools,
    /// **Bytes** of unacknowledged batches granted to the peer.
    pub window_bytes: u64,
    /// Versions spoken, newest and oldest. Tests play older and newer peers with it.
    pub versions: (u8, u8),
}

impl Config {
    /// The usual: all tools, the usual window.
    #[must_use]
    pub fn new(initiator: bool, nonce: [u8; 32]) -> Self {
        Self {
            initiator,
            expected: None,
            binding: Vec::new(),
            nonce,
            tools: Tools::ALL,
            window_bytes: WINDOW_BYTES,
            versions: (VERSION, VERSION_MIN),
        }
    }
}

/// What the host lends to every call.
pub struct Context<'a, S: Source> {
    /// The log, read-only.
    pub source: &'a S,
    /// Signs for this replica.
    pub signer: &'a dyn Signer,
    /// Checks the peer's signatures.
    pub verifier: &'a dyn Verifier,
    /// Compresses columns.
    pub compression: &'a dyn Compression,
    /// The time.
    pub now: Now,
}

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The transport is up.
    Connected,
    /// One message came.
    Frame(&'a [u8]),
    /// A batch is on disk.
    Persisted {
        /// Its number, from [`Output::Persist`].
        number: u64,
        /// Ops that were new.
        stored: u64,
        /// Conversations of which something was not taken.
        refused: Vec<(ConversationId, Refusal)>,
    },
    /// The log grew by other ways than this session.
    Changed,
    /// A conversation came into the scope of this connection: the peer gained access, or was named as its relay.
    Granted(ConversationId),
    /// Something fleeting for the peer.
    Presence {
        /// The conversation.
        conversation: ConversationId,
        /// Sealed.
        payload: Vec<u8>,
    },
    /// Registers have changed here by other ways than this session.
    RegistersChanged,
    /// The oldest frame of registers that was handed out is on disk, as far as it was taken.
    RegistersStored,
    /// Tell the peer that this replica has moved.
    Moved {
        /// The new address.
        url: String,
        /// When that was signed.
        at_ms: u64,
        /// By this replica.
        signature: Signature,
    },
    /// Time has passed.
    Tick,
    /// Say goodbye.
    Leave,
    /// End the session because of a fault that the host found: a forged op, a failed disk.
    Fail(Fault),
}

/// What a session wants done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send one message.
    Send(Vec<u8>),
    /// The peer proved who it is.
    Authenticated {
        /// The peer.
        peer: DeviceId,
        /// Its clock minus ours, **milliseconds**, as far as the link's delay lets us know.
        skew_ms: i64,
    },
    /// Check, store and fold these; then [`Input::Persisted`].
    Persist {
        /// To name it by.
        number: u64,
        /// How they were found.
        tool: Tool,
        /// With parents first as far as the sender knew. Ops without body only vouch for those before them, but for `bare`.
        ops: Vec<Sound>,
        /// Ops without body that the sender holds so: to be stored.
        bare: BTreeSet<OpId>,
        /// Store this as how far the peer has been read, in the same transaction.
        through: Option<Cursor>,
    },
    /// Store how far the peer has been read.
    Remember(Cursor),
    /// The peer holds, on its disk, everything of ours that it may see up to this arrival position.
    Acked {
        /// Own arrival position.
        position: u64,
    },
    /// What the peer acknowledged does not count until proven.
    AcksLost {
        /// Its store is surely not the one that acknowledged: it was restored, emptied or replaced. Otherwise it may only
        /// have been cut off before its cursor reached the disk.
        restored: bool,
    },
    /// Both hold the same set.
    Proven {
        /// Own arrival position at which that is so.
        position: u64,
        /// Ops in the shared conversations.
        count: u64,
        /// The conversations.
        conversations: Vec<ConversationId>,
    },
    /// The search ended without equality: a named gap.
    Unproven {
        /// Conversations that still differ.
        conversations: Vec<ConversationId>,
    },
    /// The peer does not take a conversation, or we do not take it from the peer.
    Refused {
        /// The conversation.
        conversation: ConversationId,
        /// Why.
        refusal: Refusal,
        /// Whether the peer refused (else this side did).
        by_peer: bool,
    },
    /// Something fleeting came.
    Presence {
        /// The conversation.
        conversation: ConversationId,
        /// Sealed.
        payload: Vec<u8>,
    },
    /// Check and store these, as far as they are newer than what is here, and that the peer was read up to `through`; then
    /// [`Input::RegistersStored`].
    Registers {
        /// The registers.
        registers: Vec<Register>,
        /// Position of the peer's changes.
        through: u64,
    },
    /// The peer has moved; the signature was checked.
    Moved {
        /// Its new address.
        url: String,
        /// When it said so.
        at_ms: u64,
    },
    /// The session is over; a farewell has been queued where one is due.
    Close(Fault),
}

/// What a session has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ops that came and were new, per [`Tool`].
    pub ops_in: [u64; 4],
    /// Ops that were sent and acknowledged, per [`Tool`].
    pub ops_out: [u64; 4],
    /// Requests that were answered, after authentication.
    pub round_trips: u64,
    /// Digest rounds.
    pub rounds: u64,
    /// Ops that the peer said to hold when the session began.
    pub peer_count: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Proving,
    Resuming,
    Running,
    Over,
}

/// One end of a connection.
pub struct Session {
    config: Config,
    phase: Phase,
    out: VecDeque<Output>,
    opened_ms: u64,
    heard_ms: u64,
    pinged_ms: u64,
    stats: Stats,
    asked: bool,

    hello: Option<Hello>,
    peer_hello: Option<Hello>,
    peer: DeviceId,
    peer_resume: Option<Resume>,

    // Sending.
    sent_position: u64,
    last_batch: u64,
    in_flight: BTreeMap<u64, InFlight>,
    in_flight_bytes: u64,
    jobs: VecDeque<Job>,
    jobs_bytes: usize,
    owes: bool,
    /// What had arrived here before this session was not streamed and has not been compared yet: a cursor of the peer
    /// would claim more than it has.
    gap: bool,

    // Receiving.
    last_received: u64,
    last_acked: u64,
    persisting: BTreeMap<u64, receiving::Arriving>,
    persisting_bytes: u64,
    persisting_decoded: usize,

    // Comparing.
    blocked: BTreeMap<ConversationId, Refusal>,
    offered: BTreeSet<ConversationId>,
    /// Sent whole after a part of them was refused.
    retold: BTreeSet<ConversationId>,
    retry_ms: u64,
    settled: Option<Settled>,
    peer_settled: Option<receiving::PeerSettled>,
    settle_ms: Option<u64>,
    proven: Option<u64>,
    proven_proof: Proof,
    round: u64,
    round_proven: u64,
    told_equal: bool,
    stuck: u32,
    moved_ops: bool,
    claimed_equal: bool,
    awaiting_differ: bool,
    searches: BTreeMap<ConversationId, Search>,
    attempts: BTreeMap<ConversationId, u32>,
    differing: BTreeSet<ConversationId>,

    registers: registers::Exchange,
    bodies: bodies::Bodies,
    names: names::Naming,
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that has not heard or said anything.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Opening,
            out: VecDeque::new(),
            opened_ms: 0,
            heard_ms: 0,
            pinged_ms: 0,
            stats: Stats::default(),
            asked: false,
            hello: None,
            peer_hello: None,
            peer: DeviceId::ZERO,
            peer_resume: None,
            sent_position: 0,
            last_batch: 0,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            jobs: VecDeque::new(),
            jobs_bytes: 0,
            owes: false,
            gap: false,
            last_received: 0,
            last_acked: 0,
            persisting: BTreeMap::new(),
            persisting_bytes: 0,
            persisting_decoded: 0,
            blocked: BTreeMap::new(),
            offered: BTreeSet::new(),
            retold: BTreeSet::new(),
            retry_ms: 0,
            settled: None,
            peer_settled: None,
            settle_ms: None,
            proven: None,
            proven_proof: Proof::default(),
            round: 0,
            round_proven: 0,
            told_equal: false,
            stuck: 0,
            moved_ops: false,
            claimed_equal: false,
            awaiting_differ: false,
            searches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            differing: BTreeSet::new(),
            registers: registers::Exchange::default(),
            bodies: bodies::Bodies::default(),
            names: names::Naming::default(),
        }
    }

    /// The peer, once it has proved who it is.
    #[must_use]
    pub fn peer(&self) -> Option<DeviceId> {
        matches!(self.phase, Phase::Resuming | Phase::Running).then_some(self.peer)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The own arrival position at which both sides were last proven equal.
    #[must_use]
    pub fn proven(&self) -> Option<u64> {
        self.proven
    }

    /// Conversations that one side does not take from the other, with the reason.
    #[must_use]
    pub fn blocked(&self) -> &BTreeMap<ConversationId, Refusal> {
        &self.blocked
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether nothing is on its way, waiting to be sent, searched or stored: what can be done at present is done.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.phase == Phase::Over
            || self.phase == Phase::Running
                && self.jobs.is_empty()
                && self.in_flight.is_empty()
                && self.persisting.is_empty()
                && self.searches.is_empty()
                && !self.awaiting_differ
    }

    /// Whether bodies were asked for that may still come. Nothing else waits for them.
    #[must_use]
    pub fn awaits_bodies(&self) -> bool {
        self.phase == Phase::Running && self.bodies.due_ms.is_some()
    }

    /// The protocol version that both sides speak.
    fn version(&self) -> u8 {
        self.config.versions.0.min(self.peer_hello.as_ref().map_or(0, |hello| hello.version))
    }

    /// When [`Input::Tick`] is due at the latest, on the clock of `mono_ms`.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Over => None,
            Phase::Opening | Phase::Proving | Phase::Resuming => Some(self.opened_ms + OPENING_MS),
            Phase::Running => {
                let ping = self.heard_ms.max(self.pinged_ms) + PING_MS;
                let retry = if self.blocked.is_empty() { u64::MAX } else { self.retry_ms };
                let registers = self.registers_due_ms().unwrap_or(u64::MAX);
                let bodies = self.bodies.due_ms.unwrap_or(u64::MAX);
                Some(ping.min(self.settle_ms.unwrap_or(u64::MAX)).min(retry).min(registers).min(bodies))
            }
        }
    }

    /// The next thing to do; `None` when drained.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Feeds one input. Nothing is returned: drain [`Session::poll`] afterwards.
    pub fn handle<S: Source>(&mut self, input: Input<'_>, ctx: &Context<'_, S>) {
        debug_assert!(self.out.is_empty(), "drain poll() before the next input");
        if self.phase == Phase::Over {
            return;
        }
        if let Err(fault) = self.step(input, ctx) {
            self.close(fault);
        }
    }

    fn step<S: Source>(&mut self, input: Input<'_>, ctx: &Context<'_, S>) -> Result<(), Fault> {
        match input {
            Input::Connected => {
                self.opened_ms = ctx.now.mono_ms;
                self.heard_ms = ctx.now.mono_ms;
                self.open(ctx);
                return Ok(());
            }
            Input::Frame(bytes) => {
                self.heard_ms = ctx.now.mono_ms;
                let frame = Frame::from_bytes(bytes)?;
                self.on_frame(frame, bytes, ctx)?;
            }
            Input::Persisted { number, stored, refused } => self.on_persisted(number, stored, refused, ctx)?,
            Input::Changed => {}
            Input::Granted(conversation) => {
                if self.phase == Phase::Running {
                    // What the peer was refused before it was let in is refused no longer.
                    self.blocked.remove(&conversation);
                    self.names.whole(conversation);
                    // What is on its way covers a place up to which the peer could not see this conversation; now it can,
                    // and its history is sent behind that.
                    for in_flight in self.in_flight.values_mut() {
                        in_flight.through = None;
                    }
                    self.add_job(Job::granted(conversation, self.sent_position));
                    self.registers_granted();
                }
            }
            Input::Presence { conversation, payload } => {
                if self.phase == Phase::Running {
                    self.send(&Frame::Presence { conversation, payload });
                }
                return Ok(());
            }
            Input::Moved { url, at_ms, signature } => {
                self.send(&Frame::Moved { url, at_ms, signature });
                return Ok(());
            }
            Input::RegistersChanged => self.registers_changed(),
            Input::RegistersStored => self.on_registers_stored()?,
            Input::Tick => self.on_tick(ctx)?,
            Input::Leave => {
                self.send(&Frame::Bye { code: "done".into(), words: String::new() });
                self.phase = Phase::Over;
                self.out.push_back(Output::Close(Fault::Farewell { code: "done".into(), words: String::new() }));
                return Ok(());
            }
            Input::Fail(fault) => return Err(fault),
        }
        self.pump(ctx)
    }

    fn on_frame<S: Source>(&mut self, frame: Frame, bytes: &[u8], ctx: &Context<'_, S>) -> Result<(), Fault> {
        let name = frame.name();
        let running = self.phase == Phase::Running;
        if running && self.asked && !is_beside(&frame) {
            self.asked = false;
            self.stats.round_trips += 1;
        }
        match frame {
            Frame::Hello(hello) if self.phase == Phase::Opening => self.on_hello(hello, ctx),
            Frame::Prove(signature) if self.phase == Phase::Proving => self.on_prove(&signature, ctx),
            Frame::Resume(resume) if self.phase == Phase::Resuming => self.on_resume(resume, ctx),
            Frame::Batch(batch) if running => self.on_batch(batch, bytes, ctx),
            Frame::Ack(ack) if running => self.on_ack(ack, ctx),
            Frame::Settled(settled) if running => self.on_settled(settled, ctx),
            Frame::Roots(roots) if running && !self.config.initiator => self.on_roots(&roots, ctx),
            Frame::Differ(differences) if running && self.awaiting_differ => self.on_differ(differences, ctx),
            Frame::Want { conversation, tool, wanted } if running => self.on_want(conversation, tool, wanted, ctx),
            Frame::Cells { conversation, cells } if running && !self.config.initiator => {
                self.on_cells(conversation, &cells, ctx)
            }
            Frame::Decoded { conversation, want } if running && self.config.initiator => {
                self.on_decoded(conversation, want, ctx)
            }
            Frame::Ranges { conversation, want, ranges } if running => self.on_ranges(conversation, want, &ranges, ctx),
            Frame::Ping(mark) => {
                self.send(&Frame::Pong(mark));
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::Bye { code, words } => Err(Fault::Farewell { code, words }),
            Frame::Presence { conversation, payload } if running => {
                // From somebody who may not see the conversation: dropped without a word, as if it did not exist.
                if self.may_see(&conversation, ctx)? {
                    self.out.push_back(Output::Presence { conversation, payload });
                }
                Ok(())
            }
            Frame::Moved { url, at_ms, signature } if running => self.on_moved(url, at_ms, &signature, ctx),
            Frame::Reading(reading) if running || self.phase == Phase::Resuming => self.on_reading(reading, ctx),
            Frame::Registers(registers) if running => self.on_registers(registers, bytes.len()),
            Frame::Registered(through) if running => self.on_registered(through),
            Frame::Ignored(_) => Ok(()),
            Frame::Hello(_)
            | Frame::Prove(_)
            | Frame::Resume(_)
            | Frame::Batch(_)
            | Frame::Ack(_)
            | Frame::Settled(_)
            | Frame::Roots(_)
            | Frame::Differ(_)
            | Frame::Want { .. }
            | Frame::Cells { .. }
            | Frame::Decoded { .. }
            | Frame::Ranges { .. }
            | Frame::Presence { .. }
            | Frame::Reading(_)
            | Frame::Registers(_)
            | Frame::Registered(_)
            | Frame::Moved { .. } => Err(Fault::OutOfTurn { frame: name }),
        }
    }

    fn on_tick<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let now_ms = ctx.now.mono_ms;
        if self.phase != Phase::Running {
            return if now_ms >= self.opened_ms + OPENING_MS { Err(Fault::OpeningTimeout) } else { Ok(()) };
        }
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        if silent_ms >= SILENCE_MS {
            return Err(Fault::Silent(silent_ms / 1000));
        }
        if silent_ms >= PING_MS && now_ms.saturating_sub(self.pinged_ms) >= PING_MS {
            self.pinged_ms = now_ms;
            self.send(&Frame::Ping(now_ms));
        }
        if self.bodies.due_ms.is_some_and(|due_ms| now_ms >= due_ms) {
            self.bodies_late(ctx)?;
        }
        if !self.blocked.is_empty() && now_ms >= self.retry_ms {
            self.retry_ms = now_ms + RETRY_MS;
            if self.config.initiator && self.is_quiet() {
                self.offered = core::mem::take(&mut self.blocked).into_keys().collect();
                self.stuck = 0;
                self.start_round(ctx)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &Frame) {
        self.out.push_back(Output::Send(frame.to_bytes()));
    }

    /// Sends something that will be answered: the answer ends a round trip.
    fn ask(&mut self, frame: &Frame) {
        self.asked = true;
        self.send(frame);
    }

    fn close(&mut self, fault: Fault) {
        if !matches!(fault, Fault::Farewell { .. } | Fault::Silent(_)) {
            let mut words = fault.to_string();
            words.truncate((0..=words.len().min(400)).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0));
            self.send(&Frame::Bye { code: fault.code().into(), words });
        }
        self.phase = Phase::Over;
        self.out.push_back(Output::Close(fault));
    }

    /// One proof over all shared conversations that both sides take, and the number of ops in them.
    fn overall<S: Source>(&self, ctx: &Context<'_, S>) -> Result<(Proof, u64, Vec<ConversationId>), Fault> {
        let mut proofs = Vec::new();
        let mut count = 0;
        for (conversation, _) in ctx.source.shared(&self.peer).map_err(local)? {
            if self.blocked.contains_key(&conversation) {
                continue;
            }
            let summary = ctx.source.summary(&conversation).map_err(local)?;
            if summary.count > 0 {
                count += summary.count;
                proofs.push((conversation, summary.proof));
            }
        }
        let proof = Proof::over(proofs.iter().map(|(conversation, proof)| (conversation, proof)));
        Ok((proof, count, proofs.into_iter().map(|(conversation, _)| conversation).collect()))
    }
}

/// **Milliseconds** after which conversations that the peer did not take are offered again.
const RETRY_MS: u64 = 15_000;

/// Frames that answer nothing that was asked of the log.
fn is_beside(frame: &Frame) -> bool {
    let registers = matches!(frame, Frame::Reading(_) | Frame::Registers(_) | Frame::Registered(_));
    registers || matches!(frame, Frame::Ack(_) | Frame::Ping(_) | Frame::Pong(_))
}

fn local(error: impl core::fmt::Display) -> Fault {
    Fault::Local(error.to_string())
}
