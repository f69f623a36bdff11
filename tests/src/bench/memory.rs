//! Sets of a million ops in memory, and what a session may ask of them: the real session machine without a disk.
//!
//! An op is a clock reading, a random id and a place in one of 20 logs; there are no headers and bodies, so whatever the
//! session wants to send is noted ([`Side::asked`]) instead of sent. Two [`Side`]s share one [`History`] and lack
//! different parts of it. Heights, proofs, sketches, estimators and range fingerprints are the real ones.

use super::AUTHORS;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;
use tombolo_model::digest::{Chain, Held, Proof};
use tombolo_model::{ConversationId, DeviceId, Fingerprint, Hlc, Key, LogId, Op, OpId};
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::ranges::RangeSource;
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_proto::reconcile::testing::VecSource;
use tombolo_proto::source::{Arrivals, Cursor, Height, Run, Source, Summary};
use tombolo_testkit::rng::Rng;

/// The one conversation.
pub const CONVERSATION: ConversationId = ConversationId([7; 16]);
/// Cells kept for the whole history, so that a side's sketch is a matter of taking out what it lacks.
const CELLS: usize = 32_768;

/// An op without header and body.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Clock reading.
    pub hlc: Hlc,
    /// Id.
    pub id: OpId,
    log: usize,
    seq: u64,
}

/// Everything that anybody wrote, in display order.
#[derive(Debug)]
pub struct History {
    /// The ops.
    pub items: Vec<Item>,
    logs: Vec<(DeviceId, LogId)>,
    by_prefix: BTreeMap<u64, usize>,
    sketch: Sketch,
    estimator: Estimator,
}

impl History {
    /// `n` ops, of which the last `tail` were written by the authors whom `by` names for each of them (counted from the
    /// first of the tail); the others by anybody.
    #[must_use]
    pub fn new(seed: u64, n: usize, tail: usize, by: impl Fn(usize) -> Range<usize>) -> Self {
        let mut rng = Rng::new(seed);
        let logs: Vec<_> = (0..AUTHORS).map(|_| (DeviceId(rng.bytes()), LogId(rng.bytes()))).collect();
        let mut seqs = [0; AUTHORS];
        let mut ms = super::corpus::BEGINS_MS;
        let mut items = Vec::with_capacity(n);
        let (mut sketch, mut estimator) = (Sketch::new(CELLS), Estimator::new());
        for at in 0..n {
            let authors = if at + tail < n { 0..AUTHORS } else { by(at + tail - n) };
            let log = authors.start + rng.index(authors.len());
            seqs[log] += 1;
            ms += 1 + rng.below(2_000);
            let id = OpId(rng.bytes());
            sketch.insert(id.prefix());
            estimator.insert(id.prefix());
            items.push(Item { hlc: Hlc::new(ms, 0), id, log, seq: seqs[log] });
        }
        let by_prefix = items.iter().enumerate().map(|(at, item)| (item.id.prefix(), at)).collect();
        Self { items, logs, by_prefix, sketch, estimator }
    }
}

/// One side of a comparison.
#[derive(Debug)]
pub struct Side<'h> {
    history: &'h History,
    /// Places in the history of what this side lacks.
    pub missing: BTreeSet<usize>,
    heights: Vec<Height>,
    proof: Proof,
    ranges: OnceCell<VecSource>,
    /// Places of what the session wanted to send to the other side.
    pub asked: RefCell<BTreeSet<usize>>,
}

impl<'h> Side<'h> {
    /// The history but for what is missing.
    #[must_use]
    pub fn new(history: &'h History, missing: BTreeSet<usize>) -> Self {
        let mut held: Vec<Held> = history
            .logs
            .iter()
            .map(|(author, log)| Held { author: *author, log: *log, intervals: Vec::new() })
            .collect();
        for (at, item) in history.items.iter().enumerate() {
            if missing.contains(&at) {
                continue;
            }
            let intervals = &mut held[item.log].intervals;
            match intervals.last_mut() {
                Some(last) if last.1 + 1 == item.seq => (last.1, last.2) = (item.seq, item.id),
                _ => intervals.push((item.seq, item.seq, item.id)),
            }
        }
        held.retain(|log| !log.intervals.is_empty());
        let mut heights: Vec<Height> = held
            .iter()
            .map(|log| {
                let whole = log.intervals.first().is_some_and(|first| first.0 == 1);
                let height = if whole { log.intervals.first().map_or(0, |first| first.1) } else { 0 };
                Height { log: log.log, height, ragged: !whole || log.intervals.len() > 1 }
            })
            .collect();
        heights.sort_by_key(|height| height.log);
        held.sort_by_key(|log| (log.author, log.log));
        let proof = Proof::of(held.iter());
        Self { history, missing, heights, proof, ranges: OnceCell::new(), asked: RefCell::default() }
    }

    fn count(&self) -> u64 {
        (self.history.items.len() - self.missing.len()) as u64
    }

    /// What this side holds, in display order.
    pub fn held(&self) -> impl Iterator<Item = &Item> {
        self.history.items.iter().enumerate().filter(|(at, _)| !self.missing.contains(at)).map(|(_, item)| item)
    }

    fn note(&self, at: usize) {
        if !self.missing.contains(&at) {
            self.asked.borrow_mut().insert(at);
        }
    }
}

impl Source for Side<'_> {
    type Error = Infallible;
    type Ranges<'a>
        = Shared<'a>
    where
        Self: 'a;

    fn cursor(&self) -> Result<Cursor, Infallible> {
        Ok(Cursor { incarnation: self.count(), position: self.count(), chain: Chain::start(self.count()) })
    }

    fn chain_at(&self, _: u64) -> Result<Option<Chain>, Infallible> {
        Ok(None)
    }

    fn peer_cursor(&self, _: &DeviceId) -> Result<Option<Cursor>, Infallible> {
        Ok(None)
    }

    fn shared(&self, _: &DeviceId) -> Result<Vec<(ConversationId, u64)>, Infallible> {
        Ok(vec![(CONVERSATION, 0)])
    }

    fn summary(&self, _: &ConversationId) -> Result<Summary, Infallible> {
        Ok(Summary { count: self.count(), proof: self.proof })
    }

    fn arrivals(&self, _: &DeviceId, _: u64, through: u64, _: usize) -> Result<Arrivals, Infallible> {
        Ok(Arrivals { ops: Vec::new(), through })
    }

    fn everything(
        &self,
        _: &ConversationId,
        after: u64,
        _: u64,
        _: Option<&DeviceId>,
        _: usize,
    ) -> Result<Arrivals, Infallible> {
        (0..self.history.items.len()).for_each(|at| self.note(at));
        Ok(Arrivals { ops: Vec::new(), through: after })
    }

    fn heights(&self, _: &ConversationId) -> Result<Vec<Height>, Infallible> {
        Ok(self.heights.clone())
    }

    fn run(&self, _: &ConversationId, run: &Run, _: usize) -> Result<Vec<Op>, Infallible> {
        let logs = &self.history.logs;
        for (at, item) in self.history.items.iter().enumerate() {
            if logs[item.log].1 == run.log && (run.from..=run.to).contains(&item.seq) {
                self.note(at);
            }
        }
        Ok(Vec::new())
    }

    fn by_prefix(&self, _: &ConversationId, prefixes: &[u64]) -> Result<Vec<Op>, Infallible> {
        prefixes.iter().filter_map(|prefix| self.history.by_prefix.get(prefix)).for_each(|at| self.note(*at));
        Ok(Vec::new())
    }

    fn voucher(&self, _: &ConversationId, _: &DeviceId, _: &LogId, _: u64) -> Result<Vec<Op>, Infallible> {
        Ok(Vec::new())
    }

    fn sketch(&self, _: &ConversationId, cells: usize) -> Result<Sketch, Infallible> {
        let mut sketch = self.history.sketch.clone();
        if cells <= CELLS {
            sketch.truncate(cells);
        } else {
            sketch.extend_to(cells, self.history.items.iter().map(|item| item.id.prefix()));
        }
        self.missing.iter().for_each(|at| sketch.remove(self.history.items[*at].id.prefix()));
        Ok(sketch)
    }

    fn estimator(&self, _: &ConversationId) -> Result<Estimator, Infallible> {
        let mut estimator = self.history.estimator.clone();
        self.missing.iter().for_each(|at| estimator.remove(self.history.items[*at].id.prefix()));
        Ok(estimator)
    }

    fn ranges<'a>(&'a self, _: &ConversationId) -> Shared<'a> {
        Shared(self.ranges.get_or_init(|| VecSource::new(self.held().map(|item| (item.hlc, item.id)))))
    }
}

/// A side's set behind the interface of range splitting.
#[derive(Debug)]
pub struct Shared<'a>(&'a VecSource);

impl RangeSource for Shared<'_> {
    type Error = Infallible;

    fn count(&self, lo: Key, hi: Key) -> Result<u64, Infallible> {
        self.0.count(lo, hi)
    }

    fn fingerprint(&self, lo: Key, hi: Key) -> Result<Fingerprint, Infallible> {
        self.0.fingerprint(lo, hi)
    }

    fn key_at(&self, lo: Key, rank: u64) -> Result<Option<Key>, Infallible> {
        self.0.key_at(lo, rank)
    }

    fn items(&self, lo: Key, hi: Key, limit: usize) -> Result<Vec<(Key, u64)>, Infallible> {
        self.0.items(lo, hi, limit)
    }
}
