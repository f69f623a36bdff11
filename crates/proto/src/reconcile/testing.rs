//! A set in memory behind [`RangeSource`]: test double for the digest tree of the log, and its specification.
//!
//! Not for shipping code: everything is held in one sorted vector.

use super::ranges::RangeSource;
use alloc::vec::Vec;
use core::convert::Infallible;
use tombolo_model::{Fingerprint, Hlc, Key, OpId, Sum};

/// Sorted ops with running sums.
#[derive(Clone, Debug)]
pub struct VecSource {
    items: Vec<(Key, OpId)>,
    sums: Vec<Sum>,
}

impl VecSource {
    /// Of the given ops; repeated ones count once.
    #[must_use]
    pub fn new(ops: impl IntoIterator<Item = (Hlc, OpId)>) -> Self {
        let mut items: Vec<_> = ops.into_iter().map(|(hlc, id)| (Key::new(hlc, &id), id)).collect();
        items.sort_unstable();
        items.dedup();
        let mut sum = Sum::ZERO;
        let mut sums = alloc::vec![sum];
        for (_, id) in &items {
            sum.add(id);
            sums.push(sum);
        }
        Self { items, sums }
    }

    /// The ops in key order.
    #[must_use]
    pub fn ops(&self) -> &[(Key, OpId)] {
        &self.items
    }

    /// Positions of `lo..hi`.
    fn positions(&self, lo: Key, hi: Key) -> core::ops::Range<usize> {
        let from = self.items.partition_point(|(key, _)| *key < lo);
        let to = if hi == Key::END { self.items.len() } else { self.items.partition_point(|(key, _)| *key < hi) };
        from..to.max(from)
    }
}

impl RangeSource for VecSource {
    type Error = Infallible;

    fn count(&self, lo: Key, hi: Key) -> Result<u64, Infallible> {
        Ok(self.positions(lo, hi).len() as u64)
    }

    fn fingerprint(&self, lo: Key, hi: Key) -> Result<Fingerprint, Infallible> {
        let at = self.positions(lo, hi);
        let mut sum = self.sums[at.end];
        sum.remove(&self.sums[at.start]);
        Ok(sum.fingerprint())
    }

    fn key_at(&self, lo: Key, rank: u64) -> Result<Option<Key>, Infallible> {
        let at = self.positions(lo, Key::END);
        let found = usize::try_from(rank).ok().and_then(|rank| self.items[at].get(rank));
        Ok(found.map(|(key, _)| *key))
    }

    fn items(&self, lo: Key, hi: Key, limit: usize) -> Result<Vec<(Key, u64)>, Infallible> {
        let at = self.positions(lo, hi);
        Ok(self.items[at].iter().take(limit).map(|(key, id)| (*key, id.prefix())).collect())
    }
}
