//! Which places of which logs somebody holds or has read, as sets of seqs: a lattice under union.
//!
//! A prefix per log would not do: a message that comes late stands below others of its log that were read, and must be
//! able to stay unread. Sets only grow, and union is commutative, associative and idempotent, so the sets of a person's
//! devices add up to one, whatever order they come in (Shapiro and others, "A comprehensive study of Convergent and
//! Commutative Replicated Data Types", 2011: a grow-only set). Logs are named by their eight random bytes alone, as
//! heights on the wire are.
//! Not here: what is done with them (`reading.rs`), how they are sealed (`client`).

use crate::codec::{Malformed, Reader, put_varint};
use crate::limit::{SEEN_INTERVALS_MAX, SEEN_LOGS_MAX};
use crate::{Hlc, LogId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Greatest seq that a set holds: rows keep seqs as signed numbers.
const SEQ_MAX: u64 = i64::MAX as u64;

/// Seqs of one log: intervals `(first, last)`, ascending, never touching each other, so that one set has one form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seqs(Vec<(u64, u64)>);

impl Seqs {
    /// Whether `seq` is in the set. Cost: the logarithm of the number of intervals.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).is_some_and(|at| self.0[at].1 >= seq)
    }

    /// Puts `first` to `last` in, both included; nothing when they name no seqs (seqs begin at 1). Cost: the intervals.
    pub fn insert(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first.max(1), last.min(SEQ_MAX));
        if first > last {
            return;
        }
        // Every interval that touches the new one becomes part of it.
        let from = self.0.partition_point(|(_, end)| *end < first - 1);
        let to = self.0.partition_point(|(begin, _)| *begin <= last + 1);
        if from < to {
            first = first.min(self.0[from].0);
            last = last.max(self.0[to - 1].1);
        }
        self.0.splice(from..to, [(first, last)]);
    }

    /// Takes one seq out: for building a set from what is held, before it is told to anybody.
    pub fn remove(&mut self, seq: u64) {
        let after = self.0.partition_point(|(first, _)| *first <= seq);
        let Some(at) = after.checked_sub(1).filter(|at| self.0[*at].1 >= seq) else { return };
        let (first, last) = self.0[at];
        let parts = [(first, seq - 1), (seq + 1, last)];
        self.0.splice(at..=at, parts.into_iter().filter(|(first, last)| first <= last));
    }

    /// The union.
    pub fn merge(&mut self, other: &Self) {
        for (first, last) in &other.0 {
            self.insert(*first, *last);
        }
    }

    /// Whether everything in `other` is in `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let holds = |first: u64, last: u64| {
            let after = self.0.partition_point(|(begin, _)| *begin <= first);
            after.checked_sub(1).is_some_and(|at| self.0[at].1 >= last)
        };
        other.0.iter().all(|(first, last)| holds(*first, *last))
    }

    /// The intervals.
    #[must_use]
    pub fn intervals(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the bytes: the end of the interval that begins at 1 (0 = there is none) and, in the lowest bit, whether
    /// others follow; then their number, and for each its distance from the one before and its length.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let (prefix, rest) = match self.0.split_first() {
            Some(((1, last), rest)) => (*last, rest),
            _ => (0, self.0.as_slice()),
        };
        put_varint(out, prefix << 1 | u64::from(!rest.is_empty()));
        if rest.is_empty() {
            return;
        }
        put_varint(out, rest.len() as u64);
        let mut end = prefix;
        for (first, last) in rest {
            put_varint(out, first - end - 2);
            put_varint(out, last - first);
            end = *last;
        }
    }

    /// Reads what [`Seqs::put`] wrote; `left` is how many intervals may still come in the whole message.
    pub(crate) fn take(reader: &mut Reader<'_>, left: &mut usize) -> Result<Self, Malformed> {
        const TOO_LARGE: Malformed = Malformed::TooLarge("set of seqs");
        let packed = reader.varint()?;
        let mut end = packed >> 1;
        let mut intervals = Vec::new();
        if end > 0 {
            *left = left.checked_sub(1).ok_or(TOO_LARGE)?;
            intervals.push((1, end));
        }
        if packed & 1 == 1 {
            let count = reader.count(*left, "set of seqs")?;
            if count == 0 {
                return Err(Malformed::NotCanonical("set of seqs"));
            }
            *left -= count;
            for _ in 0..count {
                let first = reader.varint()?.checked_add(end + 2).ok_or(TOO_LARGE)?;
                let last = reader.varint()?.checked_add(first).ok_or(TOO_LARGE)?;
                if last > SEQ_MAX {
                    return Err(TOO_LARGE);
                }
                intervals.push((first, last));
                end = last;
            }
        }
        Ok(Self(intervals))
    }
}

/// Seqs of many logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<LogId, Seqs>);

impl Seen {
    /// Of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a place is in the set.
    #[must_use]
    pub fn contains(&self, log: &LogId, seq: u64) -> bool {
        self.0.get(log).is_some_and(|seqs| seqs.contains(seq))
    }

    /// Puts a stretch of a log in, both ends included.
    pub fn insert(&mut self, log: LogId, first: u64, last: u64) {
        if first.max(1) <= last.min(SEQ_MAX) {
            self.0.entry(log).or_default().insert(first, last);
        }
    }

    /// Takes one place out, see [`Seqs::remove`].
    pub fn remove(&mut self, log: &LogId, seq: u64) {
        if let Some(seqs) = self.0.get_mut(log) {
            seqs.remove(seq);
            if seqs.is_empty() {
                self.0.remove(log);
            }
        }
    }

    /// The least upper bound of both: the union.
    pub fn merge(&mut self, other: &Self) {
        for (log, seqs) in &other.0 {
            self.0.entry(*log).or_default().merge(seqs);
        }
    }

    /// Whether everything in `other` is in `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(log, seqs)| self.0.get(log).is_some_and(|own| own.covers(seqs)))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Logs and their seqs, by log.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &Seqs)> {
        self.0.iter()
    }

    /// The seqs of a log; `None` = none.
    #[must_use]
    pub fn of(&self, log: &LogId) -> Option<&Seqs> {
        self.0.get(log)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for (log, seqs) in &self.0 {
            out.extend_from_slice(&log.0);
            seqs.put(out);
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count(SEEN_LOGS_MAX, "logs of a set")?;
        let mut left = SEEN_INTERVALS_MAX;
        let mut logs = BTreeMap::new();
        let mut before = None;
        for _ in 0..count {
            let log = take_log(reader, &mut before)?;
            let seqs = Seqs::take(reader, &mut left)?;
            if seqs.is_empty() {
                return Err(Malformed::NotCanonical("logs of a set"));
            }
            logs.insert(log, seqs);
        }
        Ok(Self(logs))
    }

    /// Takes one of a set of logs whose name was read before.
    pub(crate) fn put_in(&mut self, log: LogId, seqs: Seqs) {
        if !seqs.is_empty() {
            self.0.insert(log, seqs);
        }
    }
}

/// Reads the name of a log; names are ascending and unique.
pub(crate) fn take_log(reader: &mut Reader<'_>, before: &mut Option<LogId>) -> Result<LogId, Malformed> {
    let log = LogId(reader.array()?);
    if before.is_some_and(|before| before >= log) {
        return Err(Malformed::NotCanonical("logs of a set"));
    }
    *before = Some(log);
    Ok(log)
}

/// Reads a clock reading that rows can hold.
pub(crate) fn take_hlc(reader: &mut Reader<'_>) -> Result<Hlc, Malformed> {
    match reader.u64()? {
        reading if reading <= SEQ_MAX => Ok(Hlc(reading)),
        _ => Err(Malformed::TooLarge("hlc")),
    }
}
