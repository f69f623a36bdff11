//! A log in memory: test double for `oplog` behind [`Source`], written for shortness and not for speed.

use crate::VecSource;
use crate::history::Random;
use crate::registers::Kept;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use tombolo_model::digest::{Chain, Held};
use tombolo_model::{ConversationId, DeviceId, Header, LogId, Op, OpId, Proof};
use tombolo_proto::batch::Named;
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_proto::source::{Arrivals, Cursor, Height, Known, RegisterPage, Run, Source, Summary};

/// Seqs and ids, log by log.
type Logs = BTreeMap<(DeviceId, LogId), BTreeSet<(u64, OpId)>>;

/// Ops, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    incarnation: u64,
    order: Vec<(Op, Option<DeviceId>)>,
    chains: Vec<Chain>,
    places: BTreeMap<OpId, usize>,
    index: BTreeMap<ConversationId, Logs>,
    pub(crate) cursors: BTreeMap<DeviceId, Cursor>,
    pub(crate) acked: BTreeMap<DeviceId, u64>,
    /// Conversations that the peer may see, beside those held, and those that it may not.
    pub(crate) also: BTreeSet<ConversationId>,
    pub(crate) hidden: BTreeSet<ConversationId>,
    /// Ops whose bodies are gone for good here.
    pub(crate) gone: BTreeSet<OpId>,
    /// Ops that it says it does not know by the beginning of their ids, though it holds them.
    pub(crate) nameless: BTreeSet<OpId>,
    /// How many names were found here.
    pub(crate) named: std::cell::Cell<usize>,
    proofs: RefCell<BTreeMap<ConversationId, Summary>>,
    pub(crate) registers: Kept,
}

impl Memory {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, chains: vec![Chain::start(incarnation)], ..Self::default() }
    }

    /// Takes an op; `false` when it was here.
    pub(crate) fn take(&mut self, op: &Op, from: Option<DeviceId>) -> bool {
        if let Some(place) = self.places.get(&op.id) {
            let known = &mut self.order[*place].0;
            if known.body.is_none() && !self.gone.contains(&op.id) {
                known.body = op.body.clone();
            }
            return false;
        }
        self.places.insert(op.id, self.order.len());
        self.chains.push(self.chains[self.order.len()].next(&op.id));
        self.order.push((op.clone(), from));
        let name = (op.header.author, op.header.log);
        let logs = self.index.entry(op.conversation()).or_default();
        logs.entry(name).or_default().insert((op.header.seq, op.id));
        self.proofs.borrow_mut().remove(&op.conversation());
        true
    }

    pub(crate) fn take_all<'a>(&mut self, ops: impl IntoIterator<Item = &'a Op>) {
        for op in ops {
            self.take(op, None);
        }
    }

    pub(crate) fn ids(&self) -> BTreeSet<OpId> {
        self.places.keys().copied().collect()
    }

    /// What had come up to a position.
    pub(crate) fn ids_through(&self, position: u64) -> Vec<OpId> {
        let shown = self.order[..position as usize].iter().filter(|(op, _)| !self.hidden.contains(&op.conversation()));
        shown.map(|(op, _)| op.id).collect()
    }

    /// Lets go of a body.
    pub(crate) fn lose(&mut self, id: &OpId) {
        self.gone.insert(*id);
        self.order[self.places[id]].0.body = None;
    }

    /// Ops that are here without their bodies, whether these are gone or lack.
    pub(crate) fn bodiless(&self) -> BTreeSet<OpId> {
        self.order.iter().filter(|(op, _)| op.body.is_none()).map(|(op, _)| op.id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets the signatures that another op vouches for, as a replica has them that got everything in bulk.
    pub(crate) fn forget_signatures(&mut self) {
        let places: BTreeSet<OpId> = self.order.iter().map(|(op, _)| op.header.prev).collect();
        for (op, _) in &mut self.order {
            if op.header.seq % 32 != 0 && places.contains(&op.id) {
                op.signature = None;
            }
        }
    }

    /// Stores in another order, so that nothing depends on it.
    pub(crate) fn shuffled(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut ops = self.order.clone();
        for at in (1..ops.len()).rev() {
            ops.swap(at, random.below(at as u64 + 1) as usize);
        }
        let mut new = Self::new(self.incarnation);
        for (op, from) in &ops {
            new.take(op, *from);
        }
        new
    }

    fn op(&self, id: &OpId) -> &Op {
        &self.order[self.places[id]].0
    }

    fn logs(&self, conversation: &ConversationId) -> impl Iterator<Item = ((DeviceId, LogId), Vec<&Op>)> {
        let ops = |ids: &BTreeSet<(u64, OpId)>| ids.iter().map(|(_, id)| self.op(id)).collect();
        self.index.get(conversation).into_iter().flatten().map(move |(name, ids)| (*name, ops(ids)))
    }

    fn of(&self, conversation: &ConversationId) -> impl Iterator<Item = &Op> {
        self.logs(conversation).flat_map(|(_, ops)| ops)
    }

    /// What is held, log by log.
    pub(crate) fn held(&self, conversation: &ConversationId) -> Vec<Held> {
        let held = |((author, log), ops): ((DeviceId, LogId), Vec<&Op>)| {
            let branched = is_branched(&ops);
            let mut intervals: Vec<(u64, u64, OpId)> = Vec::new();
            for op in ops {
                let seq = op.header.seq;
                match intervals.last_mut() {
                    Some(last) if !branched && last.1 + 1 == seq => (last.1, last.2) = (seq, op.id),
                    _ => intervals.push((seq, seq, op.id)),
                }
            }
            Held { author, log, intervals }
        };
        self.logs(conversation).map(held).collect()
    }

    fn page<'a>(&'a self, at: impl Iterator<Item = (usize, &'a Op)>, bytes_max: usize, end: u64) -> Arrivals {
        let mut found = Arrivals { ops: vec![], through: end };
        let mut bytes = 0;
        for (index, op) in at {
            bytes += op.header.body_len as usize;
            if !found.ops.is_empty() && (bytes > bytes_max || found.ops.len() >= 2048) {
                return found;
            }
            found.ops.push(op.clone());
            found.through = index as u64 + 1;
        }
        found.through = end;
        found
    }
}

fn is_branched(ops: &[&Op]) -> bool {
    ops.windows(2).any(|pair| {
        let (one, two) = (&pair[0].header, &pair[1].header);
        one.seq == two.seq || (one.seq + 1 == two.seq && two.prev != pair[0].id)
    })
}

impl Source for Memory {
    type Error = Infallible;
    type Ranges<'a> = VecSource;

    fn cursor(&self) -> Result<Cursor, Infallible> {
        let position = self.order.len() as u64;
        Ok(Cursor { incarnation: self.incarnation, position, chain: self.chains[self.order.len()] })
    }

    fn chain_at(&self, position: u64) -> Result<Option<Chain>, Infallible> {
        Ok(usize::try_from(position).ok().and_then(|at| self.chains.get(at)).copied())
    }

    fn peer_cursor(&self, peer: &DeviceId) -> Result<Option<Cursor>, Infallible> {
        Ok(self.cursors.get(peer).copied())
    }

    fn acked(&self, peer: &DeviceId) -> Result<u64, Infallible> {
        Ok(self.acked.get(peer).copied().unwrap_or(0))
    }

    fn shared(&self, _: &DeviceId) -> Result<Vec<(ConversationId, u64)>, Infallible> {
        let mut shared: BTreeSet<ConversationId> = self.index.keys().copied().collect();
        shared.extend(&self.also);
        Ok(shared.difference(&self.hidden).map(|id| (*id, 0)).collect())
    }

    fn summary(&self, conversation: &ConversationId) -> Result<Summary, Infallible> {
        if let Some(known) = self.proofs.borrow().get(conversation) {
            return Ok(*known);
        }
        let count = self.of(conversation).count() as u64;
        let summary = match count {
            0 => Summary::default(),
            _ => Summary { count, proof: Proof::of(self.held(conversation).iter()) },
        };
        self.proofs.borrow_mut().insert(*conversation, summary);
        Ok(summary)
    }

    fn arrivals(&self, peer: &DeviceId, after: u64, through: u64, bytes_max: usize) -> Result<Arrivals, Infallible> {
        let shown = |op: &Op| !self.hidden.contains(&op.conversation());
        let at = (after as usize..through as usize)
            .map(|index| (index, &self.order[index]))
            .filter(|(_, (op, from))| *from != Some(*peer) && shown(op))
            .map(|(index, (op, _))| (index, op));
        Ok(self.page(at, bytes_max, through))
    }

    fn everything(
        &self,
        conversation: &ConversationId,
        after: u64,
        through: u64,
        not_from: Option<&DeviceId>,
        bytes_max: usize,
    ) -> Result<Arrivals, Infallible> {
        let through = usize::try_from(through).unwrap_or(usize::MAX).min(self.order.len());
        let at = self.order[..through].iter().enumerate().skip(after as usize).filter(|(_, (op, from))| {
            op.conversation() == *conversation && (from.is_none() || from.as_ref() != not_from)
        });
        Ok(self.page(at.map(|(index, (op, _))| (index, op)), bytes_max, through as u64))
    }

    fn heights(&self, conversation: &ConversationId) -> Result<Vec<Height>, Infallible> {
        let height = |((_, log), ops): ((DeviceId, LogId), Vec<&Op>)| {
            let whole = ops.iter().enumerate().take_while(|(at, op)| op.header.seq == *at as u64 + 1).count();
            Height { log, height: whole as u64, ragged: whole < ops.len() || is_branched(&ops) }
        };
        let mut heights: Vec<Height> = self.logs(conversation).map(height).collect();
        heights.sort_by_key(|height| height.log);
        Ok(heights)
    }

    fn run(&self, conversation: &ConversationId, run: &Run, bytes_max: usize) -> Result<Vec<Op>, Infallible> {
        let mut ops: Vec<&Op> = self
            .of(conversation)
            .filter(|op| op.header.log == run.log && (run.from..=run.to).contains(&op.header.seq))
            .collect();
        ops.sort_by_key(|op| (op.header.seq, op.id));
        Ok(self.page(ops.into_iter().enumerate(), bytes_max, 0).ops)
    }

    fn by_prefix(&self, conversation: &ConversationId, prefixes: &[u64]) -> Result<Vec<Op>, Infallible> {
        let prefixes: BTreeSet<u64> = prefixes.iter().copied().collect();
        let mut ops: Vec<Op> = self.of(conversation).filter(|op| prefixes.contains(&op.id.prefix())).cloned().collect();
        ops.sort_by_key(|op| (op.header.hlc, op.id));
        Ok(ops)
    }

    fn known(&self, peer: &DeviceId, of: &ConversationId, prefix: u64) -> Result<Option<Known>, Infallible> {
        let found: Vec<&Op> = self.of(of).filter(|op| op.id.prefix() == prefix).collect();
        let [op] = found[..] else { return Ok(None) };
        if self.nameless.contains(&op.id) {
            return Ok(None);
        }
        self.named.set(self.named.get() + 1);
        let place = self.places[&op.id];
        let Header { author, log, seq, hlc, .. } = op.header;
        let named = Named { id: op.id, author, log, seq, hlc };
        let brought = self.order[place].1.as_ref() == Some(peer);
        Ok(Some(Known { named, arrival: place as u64 + 1, brought }))
    }

    fn lacking(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<u64>, Infallible> {
        let lacks = |op: &&Op| op.conversation() == *conversation && op.body.is_none() && !self.gone.contains(&op.id);
        Ok(self.order.iter().map(|(op, _)| op).filter(lacks).map(|op| op.id.prefix()).take(limit).collect())
    }

    fn voucher(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
        seq: u64,
    ) -> Result<Vec<Op>, Infallible> {
        let Some(ids) = self.index.get(conversation).and_then(|logs| logs.get(&(*author, *log))) else {
            return Ok(Vec::new());
        };
        let ops: Vec<&Op> = ids.range((seq + 1, OpId::ZERO)..).take(64).map(|(_, id)| self.op(id)).collect();
        let branched = is_branched(&ids.iter().map(|(_, id)| self.op(id)).collect::<Vec<_>>());
        let signed = ops.iter().position(|op| op.signature.is_some() && !branched);
        Ok(ops.into_iter().take(signed.map_or(64, |at| at + 1)).cloned().collect())
    }

    fn sketch(&self, conversation: &ConversationId, cells: usize) -> Result<Sketch, Infallible> {
        let mut sketch = Sketch::new(cells);
        for op in self.of(conversation) {
            sketch.insert(op.id.prefix());
        }
        Ok(sketch)
    }

    fn estimator(&self, conversation: &ConversationId) -> Result<Estimator, Infallible> {
        let mut estimator = Estimator::new();
        for op in self.of(conversation) {
            estimator.insert(op.id.prefix());
        }
        Ok(estimator)
    }

    fn registers_end(&self) -> Result<u64, Infallible> {
        Ok(self.registers.end())
    }

    fn registers_read(&self, peer: &DeviceId) -> Result<u64, Infallible> {
        Ok(self.registers.read.get(peer).copied().unwrap_or(0))
    }

    fn registers_digest(&self, _: &DeviceId) -> Result<[u8; 6], Infallible> {
        Ok(self.registers.digest())
    }

    fn registers(&self, peer: &DeviceId, after: u64, whole: bool, max: usize) -> Result<RegisterPage, Infallible> {
        Ok(self.registers.page(peer, after, whole, max))
    }

    fn ranges(&self, conversation: &ConversationId) -> VecSource {
        VecSource::new(self.of(conversation).map(|op| (op.header.hlc, op.id)))
    }
}
