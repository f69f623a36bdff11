//! Version vectors and causal order, as pure functions.
//!
//! A [`Frontier`] says, per log, up to where a replica has everything. Sources: Fidge and Mattern's vector clocks,
//! Schwarz and Mattern on causality. The log itself carries the compressed form (parents); the functions here are
//! what checkers and views compare it with.

use crate::{DeviceId, Header, LogId, OpId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Names one log: its author and its id.
pub type LogName = (DeviceId, LogId);

/// Per log, the seq up to which everything is held. Absent = nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(BTreeMap<LogName, u64>);

impl Frontier {
    /// Of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The seq up to which everything of `log` is held; 0 = nothing.
    #[must_use]
    pub fn height(&self, log: &LogName) -> u64 {
        self.0.get(log).copied().unwrap_or(0)
    }

    /// Raises one log; never lowers it.
    pub fn raise(&mut self, log: LogName, seq: u64) {
        if seq > 0 {
            let height = self.0.entry(log).or_insert(0);
            *height = (*height).max(seq);
        }
    }

    /// The least upper bound: per log, the greater height. Commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Self) {
        for (log, seq) in &other.0 {
            self.raise(*log, *seq);
        }
    }

    /// The logs and heights in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LogName, u64)> {
        self.0.iter().map(|(log, seq)| (log, *seq))
    }

    /// Whether everything in `other` is in `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(log, seq)| self.height(log) >= *seq)
    }
}

/// Before, after, equal; `None` = concurrent.
impl PartialOrd for Frontier {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

/// Whether an op can be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything that it depends on has been delivered.
    Ready,
    /// It waits for these, in the order in which the header names them.
    Waits(Vec<OpId>),
}

/// Says whether everything that an op depends on has been delivered.
pub fn readiness(header: &Header, delivered: impl Fn(&OpId) -> bool) -> Readiness {
    let missing: Vec<OpId> = header.depends_on().filter(|id| !delivered(id)).copied().collect();
    if missing.is_empty() { Readiness::Ready } else { Readiness::Waits(missing) }
}

/// Whether `earlier` is in the causal past of `later`. `find` returns the header of a known op; unknown ones end the
/// walk, so the answer is for the known part of the graph. Clock readings prune: nothing at or below `earlier`'s
/// reading can have it in its past. Cost: the ops between the two readings.
pub fn happens_before<'a>(earlier: &OpId, later: &OpId, find: impl Fn(&OpId) -> Option<&'a Header>) -> bool {
    let Some(target) = find(earlier) else { return false };
    let mut seen = BTreeSet::new();
    let mut open: Vec<OpId> = find(later).map(|header| header.depends_on().copied().collect()).unwrap_or_default();
    while let Some(id) = open.pop() {
        if id == *earlier {
            return true;
        }
        if !seen.insert(id) {
            continue;
        }
        if let Some(header) = find(&id)
            && header.hlc > target.hlc
        {
            open.extend(header.depends_on().copied());
        }
    }
    false
}
