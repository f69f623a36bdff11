//! Bytes of a range message. Reached through [`super::ranges`].
//!
//! ```text
//! message = range+                       covers the span; nothing follows
//! range   = head bound body
//! head    = 1 byte: bits 0-1 mode (0 skip, 1 fingerprint, 2 items), bits 2-5 size, bits 6-7 zero
//! bound   = (size 15)       the span's end: the last range, and only it
//!         | (size 0..10)    varint: milliseconds above those of the bound before (at first: of the span's lo),
//!                           then `size` bytes of counter and id; the rest is zero
//! body    = (skip)          nothing
//!         | (fingerprint)   12 bytes
//!         | (items)         varint count, 8 bytes each, big endian
//! ```
//!
//! One message has one encoding: varints are shortest, the last byte of a bound is not zero, bounds ascend. Decoding
//! allocates at most about 20 times the input, and at most [`RANGES_MAX`] ranges; any bytes give a message or an error.

use super::ranges::{FINGERPRINT_BYTES, ITEMS_MAX, MS_BITS, Mode, RANGES_MAX, Range, SUFFIX_BITS, Span};
use alloc::vec::Vec;
use tombolo_model::codec::{Reader, put_varint};
use tombolo_model::{Key, Malformed};

/// Head value of a bound at the span's end.
const SIZE_END: u8 = 15;

/// Most bytes of counter and id.
const SUFFIX_BYTES: usize = SUFFIX_BITS as usize / 8;

/// Encodes a message about `span`: `ranges` as made by [`super::ranges::initial`] and [`super::ranges::respond`].
#[must_use]
pub fn to_bytes(span: Span, ranges: &[Range]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = span.lo();
    for range in ranges {
        put_range(&mut out, span, before, range);
        before = range.hi;
    }
    out
}

/// Decodes a message about `span`.
///
/// # Errors
/// [`Malformed`] when the bytes are not exactly one ordered, bounded cover of the span: the sender's fault.
pub fn from_bytes(span: Span, bytes: &[u8]) -> Result<Vec<Range>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut ranges = Vec::new();
    let mut before = span.lo();
    loop {
        if ranges.len() == RANGES_MAX {
            return Err(Malformed::TooLarge("number of ranges"));
        }
        let head = reader.u8()?;
        let hi = match head >> 2 {
            SIZE_END => span.hi(),
            size => read_bound(&mut reader, usize::from(size), before)?,
        };
        if hi <= before || (hi >= span.hi() && head >> 2 != SIZE_END) {
            return Err(Malformed::NotCanonical("order of ranges"));
        }
        let mode = match head & 0b11 {
            0 => Mode::Skip,
            1 => Mode::Fingerprint(reader.array()?),
            2 => Mode::Items(read_items(&mut reader)?),
            _ => return Err(Malformed::Unknown("range mode")),
        };
        ranges.push(Range { hi, mode });
        before = hi;
        if hi == span.hi() {
            reader.finish()?;
            return Ok(ranges);
        }
    }
}

/// **Bytes** that a range takes after a range that ends at `before`.
pub(super) fn range_len(span: Span, before: Key, range: &Range) -> usize {
    let bound = if range.hi == span.hi() {
        0
    } else {
        varint_len(ms(range.hi).saturating_sub(ms(before))) + suffix(range.hi).1
    };
    let body = match &range.mode {
        Mode::Skip => 0,
        Mode::Fingerprint(_) => FINGERPRINT_BYTES,
        Mode::Items(items) => varint_len(items.len() as u64) + 8 * items.len(),
    };
    1 + bound + body
}

fn put_range(out: &mut Vec<u8>, span: Span, before: Key, range: &Range) {
    let (bytes, len) = suffix(range.hi);
    let end = range.hi == span.hi();
    let mode = match range.mode {
        Mode::Skip => 0,
        Mode::Fingerprint(_) => 1,
        Mode::Items(_) => 2,
    };
    out.push(mode | if end { SIZE_END } else { len as u8 } << 2);
    if !end {
        put_varint(out, ms(range.hi).saturating_sub(ms(before)));
        out.extend_from_slice(&bytes[..len]);
    }
    match &range.mode {
        Mode::Skip => {}
        Mode::Fingerprint(fingerprint) => out.extend_from_slice(fingerprint),
        Mode::Items(items) => {
            put_varint(out, items.len() as u64);
            for item in items {
                out.extend_from_slice(&item.to_be_bytes());
            }
        }
    }
}

fn read_bound(reader: &mut Reader<'_>, size: usize, before: Key) -> Result<Key, Malformed> {
    if size > SUFFIX_BYTES {
        return Err(Malformed::Unknown("size of a range bound"));
    }
    let ms = match ms(before).checked_add(reader.varint()?) {
        Some(ms) if ms >> MS_BITS == 0 => ms,
        _ => return Err(Malformed::TooLarge("range bound")),
    };
    let bytes = reader.take(size)?;
    if bytes.last() == Some(&0) {
        return Err(Malformed::NotCanonical("range bound"));
    }
    let mut suffix = [0; 16];
    suffix[16 - SUFFIX_BYTES..][..size].copy_from_slice(bytes);
    Ok(Key(u128::from(ms) << SUFFIX_BITS | u128::from_be_bytes(suffix)))
}

fn read_items(reader: &mut Reader<'_>) -> Result<Vec<u64>, Malformed> {
    let count = reader.count(ITEMS_MAX, "list of items")?;
    let (items, _) = reader.take(8 * count)?.as_chunks::<8>();
    Ok(items.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect())
}

/// The milliseconds of a key.
fn ms(key: Key) -> u64 {
    (key.0 >> SUFFIX_BITS) as u64
}

/// Counter and id of a key, and how many bytes are left without trailing zeros.
fn suffix(key: Key) -> ([u8; SUFFIX_BYTES], usize) {
    let mut bytes = [0; SUFFIX_BYTES];
    bytes.copy_from_slice(&key.0.to_be_bytes()[16 - SUFFIX_BYTES..]);
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (bytes, len)
}

fn varint_len(value: u64) -> usize {
    (64 - value.leading_zeros()).div_ceil(7).max(1) as usize
}
