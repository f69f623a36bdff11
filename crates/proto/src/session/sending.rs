//! What goes out: jobs first (what a search found), then whatever arrived here after the peer's cursor, all within the
//! credit that the peer granted; and the settled frame once everything is acknowledged.

use super::{Context, Output, Phase, Session, local};
use crate::Refusal;
use crate::batch;
use crate::fault::Fault;
use crate::frame::{Ack, Batch, Frame, Settled, Tool, Wanted};
use crate::limit::{BATCH_BYTES, BATCH_OPS_MAX, COLUMN_BYTES_MAX, FRAME_BYTES_MAX, SETTLE_MS, WINDOW_BATCHES};
use crate::source::{Run, Source};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use tombolo_model::crypto::DOMAIN_ACK;
use tombolo_model::digest::Chain;
use tombolo_model::{Class, ConversationId, DeviceId, LogId, Op, OpId};

/// Something to send that is not simply what arrived after the cursor.
#[derive(Debug)]
pub(super) struct Job {
    conversation: ConversationId,
    tool: Tool,
    what: What,
}

#[derive(Debug)]
enum What {
    Everything {
        after: u64,
        through: u64,
        granted: bool,
    },
    Run(Run),
    Prefixes(Vec<u64>),
    /// Ops that are loaded already and did not fit into one batch.
    Ops(Vec<Op>, Option<(u64, Chain)>),
}

impl Job {
    /// All of a conversation, for a peer that has nothing of it.
    pub(super) fn everything(conversation: ConversationId, tool: Tool) -> Self {
        Self { conversation, tool, what: What::Everything { after: 0, through: u64::MAX, granted: false } }
    }

    /// All of a conversation up to an arrival, but for what the peer brought itself: it has gained access, and what was
    /// streamed to it up to there left this conversation out.
    pub(super) fn granted(conversation: ConversationId, through: u64) -> Self {
        Self { conversation, tool: Tool::Cursor, what: What::Everything { after: 0, through, granted: true } }
    }

    pub(super) fn run(conversation: ConversationId, tool: Tool, run: Run) -> Self {
        Self { conversation, tool, what: What::Run(run) }
    }

    pub(super) fn prefixes(conversation: ConversationId, tool: Tool, prefixes: Vec<u64>) -> Self {
        Self { conversation, tool, what: What::Prefixes(prefixes) }
    }

    /// **Bytes** that this job keeps in memory, roughly.
    fn weight(&self) -> usize {
        size_of::<Self>()
            + match &self.what {
                What::Everything { .. } | What::Run(_) => 0,
                What::Prefixes(prefixes) => prefixes.len() * size_of::<u64>(),
                What::Ops(ops, _) => ops.len() * size_of::<Op>(),
            }
    }
}

/// A batch that is on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    hash: [u8; 32],
    bytes: u64,
    pub(super) through: Option<u64>,
    tool: Tool,
    ops: u64,
}

/// Prefixes that one batch looks up at most.
const PREFIXES_PER_BATCH: usize = 1024;
/// **Bytes** of what a peer may ask for before the first of it is sent.
const JOBS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Whether ops fit into one batch whatever the compression yields: the receiver refuses more.
fn fits(ops: &[Op]) -> bool {
    let columns = |op: &Op| {
        let named = op.header.parents.len() + op.header.erases.len();
        HEADER_BYTES + 33 * named + op.header.extension.len()
    };
    let tail = |op: &Op| 64 + op.body.as_ref().map_or(0, Vec::len);
    let columns: usize = ops.iter().map(columns).sum();
    let tail: usize = ops.iter().map(tail).sum();
    ops.len() <= BATCH_OPS_MAX && columns <= COLUMN_BYTES_MAX && columns + tail <= FRAME_BYTES_MAX - 1024
}

/// **Bytes** of one op's columns at most, without the lists that [`fits`] counts: clock, flags and lengths, a name of a
/// run, the hash of a body that stays away.
const HEADER_BYTES: usize = 150;

impl Session {
    /// Sends as much as the credit allows, then says whether all is sent.
    pub(super) fn pump<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if self.phase != Phase::Running {
            return Ok(());
        }
        // A greedy peer may grant more than is wise to have on the way.
        let window = self.peer_hello.as_ref().map_or(0, |hello| hello.window_bytes.min(crate::limit::WINDOW_BYTES));
        while self.in_flight_bytes < window && self.in_flight.len() < WINDOW_BATCHES {
            if let Some(job) = self.take_job() {
                self.run_job(job, ctx)?;
            } else if !self.send_arrivals(ctx)? {
                break;
            }
        }
        self.settle(ctx)?;
        self.push_registers(ctx)
    }

    /// Sends the next batch of what arrived; `false` when there is nothing more.
    fn send_arrivals<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<bool, Fault> {
        let end = ctx.source.cursor().map_err(local)?.position;
        if self.sent_position >= end {
            return Ok(false);
        }
        let arrivals = ctx.source.arrivals(&self.peer, self.sent_position, end, BATCH_BYTES).map_err(local)?;
        self.sent_position = arrivals.through.max(self.sent_position);
        let arrived = arrivals.ops.len();
        let ops: Vec<Op> =
            arrivals.ops.into_iter().filter(|op| !self.blocked.contains_key(&op.conversation())).collect();
        // What is left out here the peer does not hold, although a later cursor runs past it.
        self.owes |= ops.len() < arrived;
        if !ops.is_empty() {
            let chain = ctx.source.chain_at(self.sent_position).map_err(local)?;
            let through = chain.filter(|_| !self.gap).map(|chain| (self.sent_position, chain));
            self.send_batch(ops, Tool::Cursor, through, ctx)?;
        }
        Ok(true)
    }

    fn run_job<S: Source>(&mut self, job: Job, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let Job { conversation, tool, what } = job;
        if let What::Ops(mut ops, through) = what {
            let wanted = ops.len();
            ops.retain(|op| !self.blocked.contains_key(&op.conversation()));
            self.owes |= ops.len() < wanted;
            return self.send_batch(ops, tool, through, ctx);
        }
        if self.blocked.contains_key(&conversation) {
            self.owes = true;
            return Ok(());
        }
        let (ops, rest) = match what {
            What::Everything { after, through, granted } => {
                let not_from = granted.then_some(&self.peer);
                let arrivals =
                    ctx.source.everything(&conversation, after, through, not_from, BATCH_BYTES).map_err(local)?;
                let more = !arrivals.ops.is_empty();
                (arrivals.ops, more.then_some(What::Everything { after: arrivals.through, through, granted }))
            }
            What::Run(run) => {
                let ops = ctx.source.run(&conversation, &run, BATCH_BYTES).map_err(local)?;
                let next = ops.iter().map(|op| op.header.seq).max().unwrap_or(run.to).saturating_add(1);
                let rest = (!ops.is_empty() && next <= run.to).then_some(What::Run(Run { from: next, ..run }));
                (ops, rest)
            }
            What::Prefixes(mut prefixes) => {
                let later = prefixes.split_off(prefixes.len().min(PREFIXES_PER_BATCH));
                let ops = ctx.source.by_prefix(&conversation, &prefixes).map_err(local)?;
                (ops, (!later.is_empty()).then_some(What::Prefixes(later)))
            }
            What::Ops(..) => return Ok(()),
        };
        if let Some(what) = rest {
            self.put_back(Job { conversation, tool, what });
        }
        if ops.is_empty() { Ok(()) } else { self.send_batch(ops, tool, None, ctx) }
    }

    fn send_batch<S: Source>(
        &mut self,
        mut ops: Vec<Op>,
        tool: Tool,
        mut through: Option<(u64, Chain)>,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        let Some(first) = ops.first().map(Op::conversation) else { return Ok(()) };
        let is_bare = |op: &Op| op.body.is_none() && op.header.class == Class::Content;
        if self.version() < 2 {
            // It would take a header without a body for one that only vouches: it will lack the op, and no cursor may say
            // otherwise.
            let before = ops.len();
            ops.retain(|op| !is_bare(op));
            if ops.len() < before {
                (self.owes, self.gap, through) = (true, true, None);
            }
        }
        let count = loop {
            let count = ops.len();
            let vouchers = add_vouchers(&mut ops, ctx)?;
            if ops.len() < count {
                // What nothing here vouches for nobody would take; so no cursor may run past it.
                (self.owes, self.gap, through) = (true, true, None);
            }
            let count = ops.len();
            ops.extend(vouchers);
            if count <= 1 || fits(&ops) {
                break count as u64;
            }
            // Half of it now, the rest right after it. What the batch covers is covered once all of it has gone.
            ops.truncate(count);
            let rest = ops.split_off(count / 2);
            self.put_back(Job { conversation: first, tool, what: What::Ops(rest, through.take()) });
        };
        if ops.is_empty() {
            return Ok(());
        }
        self.last_batch += 1;
        // What is held here without a body is told from the headers that vouch, which come behind it.
        let held = ops.iter().take(count as usize);
        let bare: BTreeSet<OpId> = held.filter(|op| is_bare(op)).map(|op| op.id).collect();
        let brief = if tool == Tool::Cursor { self.brief(&ops, ctx)? } else { None };
        let ops = batch::encode_brief(&ops, &bare, brief.as_ref(), ctx.compression);
        let batch = Batch { number: self.last_batch, tool, through, ops };
        let bytes = Frame::Batch(batch).to_bytes();
        let in_flight = InFlight {
            hash: *blake3::hash(&bytes).as_bytes(),
            bytes: bytes.len() as u64,
            through: through.map(|(position, _)| position),
            tool,
            ops: count,
        };
        self.in_flight_bytes += in_flight.bytes;
        self.in_flight.insert(self.last_batch, in_flight);
        self.moved_ops = true;
        self.out.push_back(Output::Send(bytes));
        Ok(())
    }

    pub(super) fn on_ack<S: Source>(&mut self, ack: Ack, ctx: &Context<'_, S>) -> Result<(), Fault> {
        // Batches are acknowledged in the order of their numbers: what a cursor covers is complete.
        let oldest = self.in_flight.first_key_value().is_some_and(|(number, _)| *number == ack.number);
        let Some(in_flight) = self.in_flight.remove(&ack.number).filter(|_| oldest) else {
            return Err(Fault::FalseAcknowledgement);
        };
        let incarnation = self.peer_resume.as_ref().map_or(0, |resume| resume.incarnation);
        let message = ack_bytes(incarnation, &ctx.signer.device(), &in_flight.hash);
        if !ctx.verifier.verify(&self.peer, DOMAIN_ACK, &message, &ack.signature) {
            return Err(Fault::FalseAcknowledgement);
        }
        self.in_flight_bytes -= in_flight.bytes;
        self.owes |= !ack.refused.is_empty();
        if ack.refused.is_empty() {
            self.stats.ops_out[in_flight.tool as usize] += in_flight.ops;
        }
        for (conversation, refusal) in ack.refused {
            if refusal == Refusal::Unnamed {
                // It lacks what it was thought to hold, and takes no cursor until a search has found what.
                self.names.refused = true;
                continue;
            }
            // The peer's cursor lies behind what it refused when it did not have the conversation yet. By now it may have
            // it, and lack only the join from back then: all of it once more, and only then its word counts.
            if refusal == Refusal::NotHere && in_flight.tool == Tool::Cursor {
                if self.retold.insert(conversation) {
                    self.add_job(Job::everything(conversation, Tool::Heights));
                }
                continue;
            }
            if refusal != Refusal::Waits {
                self.block(conversation, refusal, true);
            }
        }
        if let Some(position) = in_flight.through.filter(|_| !self.owes) {
            self.names.through = self.names.through.max(position);
            self.out.push_back(Output::Acked { position });
        }
        Ok(())
    }

    pub(super) fn block(&mut self, conversation: ConversationId, refusal: Refusal, by_peer: bool) {
        self.searches.remove(&conversation);
        self.names.whole(conversation);
        if self.blocked.insert(conversation, refusal).is_none() {
            self.out.push_back(Output::Refused { conversation, refusal, by_peer });
        }
    }

    pub(super) fn on_want<S: Source>(
        &mut self,
        conversation: ConversationId,
        tool: Tool,
        wanted: Wanted,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if !self.may_see(&conversation, ctx)? {
            return Ok(());
        }
        match wanted {
            Wanted::All => self.add_job(Job::everything(conversation, tool)),
            Wanted::Runs(runs) => {
                for run in runs {
                    self.add_job(Job::run(conversation, tool, run));
                }
            }
            Wanted::Prefixes(prefixes) => self.add_job(Job::prefixes(conversation, tool, prefixes)),
        }
        Ok(())
    }

    /// Remembers what is to be sent. Over [`JOBS_BYTES_MAX`] it is dropped: whoever asks for more than that, asks again
    /// in the next round, since the proofs still differ.
    pub(super) fn add_job(&mut self, job: Job) {
        let weight = job.weight();
        if self.jobs_bytes + weight <= JOBS_BYTES_MAX {
            self.jobs_bytes += weight;
            self.jobs.push_back(job);
        }
    }

    fn take_job(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.jobs_bytes -= job.weight();
        Some(job)
    }

    /// What is left of a job that was taken goes back to the front.
    fn put_back(&mut self, job: Job) {
        self.jobs_bytes += job.weight();
        self.jobs.push_front(job);
    }

    /// Whether the peer may see a conversation: checked whenever it names one.
    pub(super) fn may_see<S: Source>(
        &self,
        conversation: &ConversationId,
        ctx: &Context<'_, S>,
    ) -> Result<bool, Fault> {
        let shared = ctx.source.shared(&self.peer).map_err(local)?;
        Ok(shared.binary_search_by(|(shared, _)| shared.cmp(conversation)).is_ok())
    }

    /// Says that everything is sent, with the proof, unless that was already said. The first time at once; later, in a
    /// live session, after a quiet second.
    fn settle<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let cursor = ctx.source.cursor().map_err(local)?;
        if !self.is_quiet() || self.sent_position < cursor.position {
            self.settle_ms = None;
            return Ok(());
        }
        let (proof, ..) = self.overall(ctx)?;
        let settled = Settled {
            position: cursor.position,
            chain: cursor.chain,
            proof: self.salted(&proof, true),
            seen: self.last_acked,
            round: self.round,
        };
        let said = self.settled.as_ref().map_or_else(
            || {
                let nothing_moved = self.last_batch == 0 && self.last_received == 0 && self.round == 0;
                self.proven.is_some() && proof == self.proven_proof && nothing_moved && self.peer_settled.is_none()
            },
            |last| *last == settled,
        );
        let (position, chain) = self.place_shown(&cursor, ctx)?;
        let shown = Settled { position, chain, ..settled.clone() };
        // Nothing but the place has changed, and that is not shown: there is nothing to say, only to compare again.
        let unheard = |last: &Settled| shown != settled && Settled { position, chain, ..last.clone() } == shown;
        if said || self.settled.as_ref().is_some_and(unheard) {
            self.settle_ms = None;
            if !said {
                self.settled = Some(settled);
                self.compare(ctx)?;
            }
            return Ok(());
        }
        // Until the peer can see for itself that both are equal, and whenever it waits for the end of a round.
        let urgent = !self.told_equal || self.settled.as_ref().is_some_and(|last| last.round != settled.round);
        let due_ms = *self.settle_ms.get_or_insert(ctx.now.mono_ms + SETTLE_MS);
        if urgent || ctx.now.mono_ms >= due_ms {
            self.settle_ms = None;
            self.told_equal |= self.proven == Some(cursor.position);
            self.ask(&Frame::Settled(shown));
            self.settled = Some(settled);
            self.compare(ctx)?;
        }
        Ok(())
    }
}

/// What an acknowledgement signs: the life of the store that holds the batch, who sent it, and its bytes.
#[must_use]
pub(super) fn ack_bytes(incarnation: u64, sender: &DeviceId, hash: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(72);
    out.extend_from_slice(&incarnation.to_be_bytes());
    out.extend_from_slice(&sender.0);
    out.extend_from_slice(hash);
    out
}

/// A log, by what names it everywhere.
type LogName = (ConversationId, DeviceId, LogId);

/// The headers up to the next signed op of every run whose last op carries no signature. Ops that nothing held here vouches
/// for leave `ops`.
fn add_vouchers<S: Source>(ops: &mut Vec<Op>, ctx: &Context<'_, S>) -> Result<Vec<Op>, Fault> {
    let name = |op: &Op| -> LogName { (op.conversation(), op.header.author, op.header.log) };
    let mut last: BTreeMap<LogName, &Op> = BTreeMap::new();
    let mut open: Vec<&Op> = Vec::new();
    for op in ops.iter() {
        if let Some(ended) = last.insert(name(op), op)
            && ended.signature.is_none()
            && op.header.prev != ended.id
        {
            open.push(ended);
        }
    }
    open.extend(last.into_values().filter(|end| end.signature.is_none()));
    let mut held: BTreeSet<_> = ops.iter().map(|op| op.id).collect();
    let mut vouchers = Vec::new();
    let mut alone: Vec<(LogName, u64)> = Vec::new();
    for end in open {
        let (conversation, author, log) = name(end);
        let behind = ctx.source.voucher(&conversation, &author, &log, end.header.seq).map_err(local)?;
        let mut reached = BTreeSet::from([end.id]);
        let mut signed = false;
        for mut op in behind {
            if reached.contains(&op.header.prev) {
                reached.insert(op.id);
                signed |= op.signature.is_some();
            }
            if held.insert(op.id) {
                op.body = op.body.filter(|_| op.header.body_len == 0);
                vouchers.push(op);
            }
        }
        if !signed {
            alone.push((name(end), end.header.seq));
        }
    }
    for (log, seq) in alone {
        // Back to the last op before it that stands on its own signature.
        let of_log = |op: &&Op| name(op) == log && op.header.seq <= seq;
        let stands = ops.iter().filter(of_log).filter(|op| op.signature.is_some()).map(|op| op.header.seq).max();
        ops.retain(|op| !(of_log(&op) && op.header.seq > stands.unwrap_or(0)));
    }
    Ok(vouchers)
}
