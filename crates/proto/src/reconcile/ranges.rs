//! Range splitting: finds what differs by comparing fingerprints of ever smaller ranges of keys.
//!
//! After Meyer, "Range-Based Set Reconciliation" (arXiv 2212.13567); fan-out and fingerprint as in negentropy. Both sides
//! speak the same message: a list of adjacent ranges that covers the agreed [`Span`] without a hole, each range with what
//! its sender says about it. The receiver answers every range:
//! * *skip*: settled; stays settled.
//! * *fingerprint*: equal, so settled; different, so split into [`FAN_OUT`] parts of equal count (or list the items, if
//!   there are at most [`LEAF_ITEMS_MAX`]).
//! * *items*: everything the sender has there; the receiver now knows both directions and the range is settled.
//!
//! Over when a reply is all skip. A lone difference among `n` items takes about `log16(n / LEAF_ITEMS_MAX) + 2` messages
//! and 300 bytes each; sets of `n` and `m` items that lie wholly apart at most `log16` of both together and 3 (each side
//! parts by its own ranks). Split points never depend on fingerprint bytes, so nobody can steer the recursion.
//!
//! **Cuts.** A reply that reaches its byte budget ends early: what was not answered becomes one fingerprint range that
//! begins exactly where the answer ends, over the interval that it names, computed from the own set after the end of the
//! answer is known. (negentropy before 0.5.3 computed it over another interval than the peer understood and ended
//! sessions with items missing.) Nothing right of a cut is ever implied: a message that does not reach the end of the span
//! does not decode. And nobody concludes completeness from "nothing left to ask": that takes the proof of DESIGN 5.5.
//!
//! Bounds: [`RANGES_MAX`] ranges a message, [`ITEMS_MAX`] items a range, [`HAVE_MAX`] items found a reply, one budgeted
//! reply; whatever a peer sends. A peer that answers for ever with wrong fingerprints is not noticed here: the session
//! counts messages. Items are 64 bits, fingerprints travel as 12 of their 16 bytes; see [`super`] on collisions.
//!
//! Not responsible for: where items are kept ([`RangeSource`]), the bytes (`wire.rs`, reached through [`to_bytes`] and
//! [`from_bytes`]).

use super::wire::range_len;
use alloc::vec::Vec;
use core::fmt;
use tombolo_model::{Fingerprint, Key, Malformed};

pub use super::wire::{from_bytes, to_bytes};

/// Parts that a differing range is split into.
pub const FAN_OUT: u64 = 16;

/// Up to this many items a range is listed instead of split.
pub const LEAF_ITEMS_MAX: u64 = 32;

/// **Bytes** of a fingerprint that travel: 96 bits, beyond chance; on-purpose collisions fail at the proof.
pub const FINGERPRINT_BYTES: usize = 12;

/// Ranges of one message: more than 64 KiB of fingerprints have.
pub const RANGES_MAX: usize = 8192;

/// Items that one range may list. Beyond [`LEAF_ITEMS_MAX`] only for items of one and the same key.
pub const ITEMS_MAX: usize = 1024;

/// Items that one reply reports as lacking at the peer; the rest comes in the next round.
pub const HAVE_MAX: usize = 65_536;

/// **Bytes**: smallest budget that is honoured; lower ones count as this.
pub const BUDGET_BYTES_MIN: usize = 512;

/// Own items up to which a range that the peer listed is compared item by item; with more it is split first.
const COMPARED_MAX: u64 = 4096;

/// **Bytes** kept free for what ends a message: a skip (18), the remainder's fingerprint (30), a skip to the end (1).
const TAIL_BYTES: usize = 49;

/// The interval of keys that a reconciliation is about, agreed by both sides before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    lo: Key,
    hi: Key,
}

impl Span {
    /// Everything.
    pub const ALL: Self = Self { lo: Key::MIN, hi: Key::END };

    /// Keys of `lo..hi`; [`Key::END`] is no upper end. `None` when that is empty.
    #[must_use]
    pub fn new(lo: Key, hi: Key) -> Option<Self> {
        (lo < hi).then_some(Self { lo, hi })
    }

    /// First key inside.
    #[must_use]
    pub fn lo(&self) -> Key {
        self.lo
    }

    /// First key above.
    #[must_use]
    pub fn hi(&self) -> Key {
        self.hi
    }
}

/// What is said about a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing to do here (any more).
    Skip,
    /// The sender's set there has this fingerprint (its first bytes).
    Fingerprint([u8; FINGERPRINT_BYTES]),
    /// The sender's set there is exactly this, in any order.
    Items(Vec<u64>),
}

/// One range of a message: begins where the one before it ends, the first at the span's `lo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key above the range; the last range ends at the span's `hi`.
    pub hi: Key,
    /// What is said about it.
    pub mode: Mode,
}

/// A set of items sorted by key, to be read from one snapshot. All ranges are half-open, `lo..hi`, and [`Key::END`] as
/// `hi` means no upper end.
pub trait RangeSource {
    /// Why reading failed.
    type Error: fmt::Display;

    /// Number of items in the range.
    ///
    /// # Errors
    /// Reading failed.
    fn count(&self, lo: Key, hi: Key) -> Result<u64, Self::Error>;

    /// Fingerprint of the items in the range, from their count and the additive sum of their ids.
    ///
    /// # Errors
    /// Reading failed.
    fn fingerprint(&self, lo: Key, hi: Key) -> Result<Fingerprint, Self::Error>;

    /// Key of the `rank`-th item (from 0) at or above `lo`; `None` when there are not so many.
    ///
    /// # Errors
    /// Reading failed.
    fn key_at(&self, lo: Key, rank: u64) -> Result<Option<Key>, Self::Error>;

    /// The first `limit` items of the range in key order.
    ///
    /// # Errors
    /// Reading failed.
    fn items(&self, lo: Key, hi: Key, limit: usize) -> Result<Vec<(Key, u64)>, Self::Error>;
}

/// Answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The next message; covers the span. Nothing to send when [`is_settled`].
    pub ranges: Vec<Range>,
    /// Items held here that the peer showed to lack, in key order.
    pub have: Vec<(Key, u64)>,
    /// Items that the peer has and that are lacking here, in the order of their ranges. May name an item that is found
    /// in another range (same 64 bits): asking for it is harmless.
    pub need: Vec<u64>,
    /// Whether the byte budget or [`HAVE_MAX`] ended the reply early; the rest is a fingerprint range of `ranges`.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError<E: fmt::Display> {
    /// The ranges are not an ordered, bounded cover of the span.
    #[error("the peer's ranges break the protocol ({0}); the peer's fault: end the session")]
    Malformed(Malformed),
    /// The own set could not be read.
    #[error("the local index could not be read: {0}; the fault is local, the peer did nothing wrong")]
    Source(E),
    /// More than [`ITEMS_MAX`] items of the own set share one key, which takes forged ids.
    #[error(
        "{count} ops here share one clock reading and id prefix, which no honest author produces; compare logs instead of ranges"
    )]
    Crowded {
        /// How many.
        count: u64,
    },
}

/// Whether a message leaves nothing to answer.
#[must_use]
pub fn is_settled(ranges: &[Range]) -> bool {
    ranges.iter().all(|range| range.mode == Mode::Skip)
}

/// The first message about `span`, at most 512 bytes.
///
/// # Errors
/// [`RangeError::Source`], [`RangeError::Crowded`].
pub fn initial<S: RangeSource>(source: &S, span: Span) -> Result<Vec<Range>, RangeError<S::Error>> {
    let mut answer = Answer::new(source, span, BUDGET_BYTES_MIN);
    if let Verdict::Cut(at) = answer.split(span.lo, span.hi)? {
        answer.remainder(at, span.hi)?;
    }
    Ok(answer.finish().ranges)
}

/// Answers a message about `span` with at most `budget_bytes` encoded bytes (at least [`BUDGET_BYTES_MIN`]; exceeded only
/// by a list of more than 50 items with one and the same key). Always gets on by at least one range.
///
/// # Errors
/// [`RangeError`].
pub fn respond<S: RangeSource>(
    source: &S,
    span: Span,
    ranges: &[Range],
    budget_bytes: usize,
) -> Result<Reply, RangeError<S::Error>> {
    check(span, ranges).map_err(RangeError::Malformed)?;
    let mut answer = Answer::new(source, span, budget_bytes.max(BUDGET_BYTES_MIN));
    let mut lo = span.lo;
    for (index, range) in ranges.iter().enumerate() {
        let verdict = match &range.mode {
            Mode::Skip => Verdict::Answered,
            Mode::Fingerprint(theirs) if answer.fingerprint(lo, range.hi)? == *theirs => Verdict::Answered,
            Mode::Fingerprint(_) => answer.split(lo, range.hi)?,
            Mode::Items(theirs) => answer.compare(lo, range.hi, theirs)?,
        };
        if let Verdict::Cut(at) = verdict {
            // Ranges that the peer settled stay settled where no unanswered range follows.
            let open = ranges.iter().rposition(|range| range.mode != Mode::Skip).unwrap_or(index).max(index);
            answer.remainder(at, ranges[open].hi)?;
            break;
        }
        answer.settle(range.hi);
        lo = range.hi;
    }
    Ok(answer.finish())
}

/// Whether the ranges are ascending, cover the span and keep the limits.
fn check(span: Span, ranges: &[Range]) -> Result<(), Malformed> {
    if ranges.len() > RANGES_MAX {
        return Err(Malformed::TooLarge("number of ranges"));
    }
    let mut at = span.lo;
    for range in ranges {
        if range.hi <= at {
            return Err(Malformed::NotCanonical("order of ranges"));
        }
        at = range.hi;
        if matches!(&range.mode, Mode::Items(items) if items.len() > ITEMS_MAX) {
            return Err(Malformed::TooLarge("list of items"));
        }
    }
    if at < span.hi {
        return Err(Malformed::Truncated);
    }
    if at > span.hi { Err(Malformed::Trailing) } else { Ok(()) }
}

/// How far an incoming range was answered.
enum Verdict {
    /// Wholly.
    Answered,
    /// Up to this key, which is above or at the range's `lo`.
    Cut(Key),
}

/// A reply in the making. Covers `span.lo..at`; `ranges` may end before `at`, the rest is a skip not yet written.
struct Answer<'a, S> {
    source: &'a S,
    span: Span,
    budget_bytes: usize,
    bytes: usize,
    at: Key,
    reply: Reply,
}

impl<'a, S: RangeSource> Answer<'a, S> {
    fn new(source: &'a S, span: Span, budget_bytes: usize) -> Self {
        let reply = Reply { ranges: Vec::new(), have: Vec::new(), need: Vec::new(), cut: false };
        Self { source, span, budget_bytes, bytes: 0, at: span.lo, reply }
    }

    /// Own fingerprint as it travels.
    fn fingerprint(&self, lo: Key, hi: Key) -> Result<[u8; FINGERPRINT_BYTES], RangeError<S::Error>> {
        let Fingerprint(full) = self.source.fingerprint(lo, hi).map_err(RangeError::Source)?;
        let mut cut = [0; FINGERPRINT_BYTES];
        cut.copy_from_slice(&full[..FINGERPRINT_BYTES]);
        Ok(cut)
    }

    /// Answers a range that differs with own fingerprints of its parts, or own items if they are few.
    fn split(&mut self, lo: Key, hi: Key) -> Result<Verdict, RangeError<S::Error>> {
        let count = self.source.count(lo, hi).map_err(RangeError::Source)?;
        if count <= LEAF_ITEMS_MAX {
            return self.list(lo, hi, count);
        }
        let bounds = self.bounds(lo, hi, count)?;
        if bounds.is_empty() {
            return self.list(lo, hi, count);
        }
        let mut from = lo;
        for to in bounds.into_iter().chain([hi]) {
            let mode = Mode::Fingerprint(self.fingerprint(from, to)?);
            if !self.push(to, mode) {
                return Ok(Verdict::Cut(from));
            }
            from = to;
        }
        Ok(Verdict::Answered)
    }

    /// Keys strictly inside `lo..hi`, ascending, that part its `count` items by rank; none when all have one key.
    fn bounds(&self, lo: Key, hi: Key, count: u64) -> Result<Vec<Key>, RangeError<S::Error>> {
        let key_at = |rank| self.source.key_at(lo, rank).map_err(RangeError::Source);
        let ways = FAN_OUT.min(count);
        let mut bounds: Vec<Key> = Vec::new();
        for part in 1..ways {
            let rank = count / ways * part + count % ways * part / ways;
            let (Some(below), Some(above)) = (key_at(rank - 1)?, key_at(rank)?) else { continue };
            let bound = shortest_above(below, above);
            if below < above && bound < hi && bound > *bounds.last().unwrap_or(&lo) {
                bounds.push(bound);
            }
        }
        if bounds.is_empty()
            && let (Some(first), Some(last)) = (key_at(0)?, key_at(count - 1)?)
            && lo <= first
            && first < last
            && last < hi
        {
            // Nearly all items share one key: part them anywhere.
            bounds.push(shortest_above(first, last));
        }
        Ok(bounds)
    }

    /// Answers a range with all own items.
    fn list(&mut self, lo: Key, hi: Key, count: u64) -> Result<Verdict, RangeError<S::Error>> {
        if count > ITEMS_MAX as u64 {
            return Err(RangeError::Crowded { count });
        }
        let items = self.source.items(lo, hi, ITEMS_MAX).map_err(RangeError::Source)?;
        let fits = self.push(hi, Mode::Items(items.into_iter().map(|(_, item)| item).collect()));
        Ok(if fits { Verdict::Answered } else { Verdict::Cut(lo) })
    }

    /// Answers a range of which the peer listed all items: finds both directions.
    fn compare(&mut self, lo: Key, hi: Key, theirs: &[u64]) -> Result<Verdict, RangeError<S::Error>> {
        let count = self.source.count(lo, hi).map_err(RangeError::Source)?;
        if !theirs.is_empty() && count > COMPARED_MAX {
            return self.split(lo, hi);
        }
        if count > (HAVE_MAX - self.reply.have.len()) as u64 {
            return if self.reply.have.is_empty() { self.hand_over(lo, hi) } else { Ok(Verdict::Cut(lo)) };
        }
        let mine = self.source.items(lo, hi, HAVE_MAX).map_err(RangeError::Source)?;
        let mut theirs = theirs.to_vec();
        theirs.sort_unstable();
        let mut by_item: Vec<u64> = mine.iter().map(|(_, item)| *item).collect();
        by_item.sort_unstable();
        // Items are compared as a multiset: where two ops share an item and only one is known, both are named.
        let times = |sorted: &[u64], item: u64| {
            sorted.partition_point(|other| *other <= item) - sorted.partition_point(|other| *other < item)
        };
        self.reply.have.extend(mine.iter().filter(|(_, item)| times(&by_item, *item) > times(&theirs, *item)));
        let lacking = |item: &u64| times(&theirs, *item) > times(&by_item, *item);
        let before = self.reply.need.len();
        self.reply.need.extend(theirs.iter().copied().filter(lacking));
        self.reply.need[before..].sort_unstable();
        self.reply.need.dedup();
        Ok(Verdict::Answered)
    }

    /// Takes the first [`HAVE_MAX`] items of a range in which the peer has nothing, and cuts there.
    fn hand_over(&mut self, lo: Key, hi: Key) -> Result<Verdict, RangeError<S::Error>> {
        let mut items = self.source.items(lo, hi, HAVE_MAX + 1).map_err(RangeError::Source)?;
        let Some((cut, _)) = items.pop() else { return Ok(Verdict::Answered) };
        items.retain(|(key, _)| *key < cut);
        if items.is_empty() || cut <= lo {
            return Err(RangeError::Crowded { count: HAVE_MAX as u64 });
        }
        self.reply.have = items;
        self.settle(cut);
        Ok(Verdict::Cut(cut))
    }

    /// Marks everything below `hi` as covered: by skips, where nothing was pushed.
    fn settle(&mut self, hi: Key) {
        self.at = self.at.max(hi);
    }

    /// Appends the range `at..hi`, unless that would leave no room for the tail of the message. The first range always
    /// fits, so that every reply gets on.
    fn push(&mut self, hi: Key, mode: Mode) -> bool {
        let written = self.reply.ranges.last().map_or(self.span.lo, |range| range.hi);
        let skip = (written < self.at).then_some(Range { hi: self.at, mode: Mode::Skip });
        let skip_bytes = skip.as_ref().map_or(0, |skip| range_len(self.span, written, skip));
        let range = Range { hi, mode };
        let bytes = skip_bytes + range_len(self.span, self.at, &range);
        // Room for a skip and this range, and for the tail: a skip, the remainder and a skip to the end.
        let full = self.reply.ranges.len() + 5 > RANGES_MAX || self.bytes + bytes + TAIL_BYTES > self.budget_bytes;
        if full && !self.reply.ranges.is_empty() && !self.reply.cut {
            return false;
        }
        self.reply.ranges.extend(skip);
        self.reply.ranges.push(range);
        self.bytes += bytes;
        self.at = hi;
        true
    }

    /// Ends a cut reply: everything in `lo..hi` is unanswered, everything above it settled by the peer.
    fn remainder(&mut self, lo: Key, hi: Key) -> Result<(), RangeError<S::Error>> {
        let mode = Mode::Fingerprint(self.fingerprint(lo, hi)?);
        // From here on the room that was kept free is used.
        self.reply.cut = true;
        self.settle(lo);
        self.push(hi, mode);
        Ok(())
    }

    /// Covers what is left of the span.
    fn finish(mut self) -> Reply {
        let written = self.reply.ranges.last().map_or(self.span.lo, |range| range.hi);
        if written < self.span.hi {
            self.reply.ranges.push(Range { hi: self.span.hi, mode: Mode::Skip });
        }
        self.reply
    }
}

/// The key `k` with `below < k <= above` that has the fewest bytes to write: `above` up to the first byte in which
/// it exceeds `below`. Only called with `below < above`; otherwise returns `above`.
fn shortest_above(below: Key, above: Key) -> Key {
    let shared = (below.0 ^ above.0).leading_zeros();
    if shared < MS_BITS {
        // The milliseconds travel whole.
        return Key(above.0 >> SUFFIX_BITS << SUFFIX_BITS);
    }
    let kept = (shared / 8 + 1) * 8;
    if kept >= 128 { above } else { Key(above.0 >> (128 - kept) << (128 - kept)) }
}

/// Bits of a key that are milliseconds: delta-coded on the wire.
pub(super) const MS_BITS: u32 = 48;

/// The other bits: counter and id, of which trailing zero bytes do not travel.
pub(super) const SUFFIX_BITS: u32 = 128 - MS_BITS;
