//! Fingerprints of sets of ops: additive, so that any range's fingerprint is a difference of sums.
//!
//! A sum of ids mod 2^256 with the count beside it (as in negentropy; never XOR, which linear algebra forges, never
//! 32 bits). Sums only *search*: a member with enough hashing power could forge them, so completeness is proved by
//! [`Proof`], a hash over what the hash chains of all logs commit to.

use crate::{DeviceId, Hlc, LogId, OpId};
use alloc::vec::Vec;
use blake3::hazmat::HasherExt as _;
use core::fmt;

/// The place of an op in display order and in the digest tree: clock reading, then the first 8 bytes of the id.
/// (Display order breaks the remaining ties by the whole id.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u128);

impl Key {
    /// Below every key.
    pub const MIN: Self = Self(0);
    /// Above every key: headers keep readings below 2^63.
    pub const END: Self = Self(u128::MAX);

    /// Joins clock and id.
    #[must_use]
    pub fn new(hlc: Hlc, id: &OpId) -> Self {
        Self(u128::from(hlc.0) << 64 | u128::from(id.prefix()))
    }

    /// The clock reading.
    #[must_use]
    pub fn hlc(self) -> Hlc {
        Hlc((self.0 >> 64) as u64)
    }
}

/// Sum of op ids mod 2^256 together with their number.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Sum {
    /// How many ids.
    pub count: u64,
    limbs: [u64; 4],
}

impl Sum {
    /// Of nothing.
    pub const ZERO: Self = Self { count: 0, limbs: [0; 4] };

    /// Adds one id.
    pub fn add(&mut self, id: &OpId) {
        self.merge(&Self::of(id));
    }

    /// The sum of one id.
    #[must_use]
    pub fn of(id: &OpId) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(id.0.chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            *limb = u64::from_le_bytes(bytes);
        }
        Self { count: 1, limbs }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, add) in self.limbs.iter_mut().zip(other.limbs) {
            let (sum, over_1) = limb.overflowing_add(add);
            let (sum, over_2) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over_1 || over_2;
        }
        self.count = self.count.wrapping_add(other.count);
    }

    /// Subtracts another sum.
    pub fn remove(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, sub) in self.limbs.iter_mut().zip(other.limbs) {
            let (rest, under_1) = limb.overflowing_sub(sub);
            let (rest, under_2) = rest.overflowing_sub(u64::from(borrow));
            *limb = rest;
            borrow = under_1 || under_2;
        }
        self.count = self.count.wrapping_sub(other.count);
    }

    /// The 32 bytes of the sum, little-endian limbs.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Sum::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(count: u64, bytes: &[u8; 32]) -> Self {
        Self { count, ..Self::of(&OpId(*bytes)) }
    }

    /// A short fingerprint of sum and count.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 fingerprint");
        hasher.update(&self.to_bytes());
        hasher.update(&self.count.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Fingerprint(bytes)
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({} of {})", crate::id::hex(&self.to_bytes()[..4]), self.count)
    }
}

/// 16 bytes that stand for a range of ops while searching.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", crate::id::hex(&self.0[..4]))
    }
}

/// What a replica holds of one log: closed intervals of seq, each with the id of its last op. The hash chain makes
/// that id vouch for the whole interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The author.
    pub author: DeviceId,
    /// The log.
    pub log: LogId,
    /// `(first seq, last seq, id of the last)`, ascending, not touching. For a log with equivocation every branch op
    /// is an interval of its own, sorted by (seq, id).
    pub intervals: Vec<(u64, u64, OpId)>,
}

/// Commits to exactly which ops of a conversation a replica holds. Equal if and only if the sets are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Proof(pub [u8; 32]);

/// **Bytes** that are hashed at a time, about.
const PIECE_BYTES: usize = 16 * 1024;

impl Proof {
    /// Hashes what is held of each log; `held` must be sorted by (author, log).
    #[must_use]
    pub fn of<'a>(held: impl Iterator<Item = &'a Held>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 proof");
        // In large pieces: of those several chunks are hashed at once.
        let mut piece = Vec::new();
        for log in held {
            piece.extend_from_slice(&log.author.0);
            piece.extend_from_slice(&log.log.0);
            piece.extend_from_slice(&(log.intervals.len() as u64).to_be_bytes());
            for (first, last, tip) in &log.intervals {
                piece.extend_from_slice(&first.to_be_bytes());
                piece.extend_from_slice(&last.to_be_bytes());
                piece.extend_from_slice(&tip.0);
                if piece.len() >= PIECE_BYTES {
                    hasher.update(&piece);
                    piece.clear();
                }
            }
        }
        hasher.update(&piece);
        Self(*hasher.finalize().as_bytes())
    }

    /// One proof over many: sorted pairs of conversation and its proof.
    #[must_use]
    pub fn over<'a>(conversations: impl Iterator<Item = (&'a crate::ConversationId, &'a Proof)>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 proof of all");
        for (conversation, proof) in conversations {
            hasher.update(&conversation.0);
            hasher.update(&proof.0);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", crate::id::hex(&self.0[..4]))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::id::hex(&self.0))
    }
}

/// What BLAKE3's "derive key" mode makes of "tombolo 1 arrival chain": hashed once, here, and not for every op.
const CHAIN_KEY: [u8; 32] = [
    0xe9, 0xec, 0x2c, 0x41, 0xe9, 0x32, 0x2e, 0x22, 0x0f, 0x27, 0xfd, 0xe9, 0xb9, 0x5f, 0x32, 0x07, 0xe4, 0x4a, 0x83,
    0x8b, 0xc7, 0x06, 0x9a, 0x15, 0xb0, 0x50, 0x0f, 0x67, 0x21, 0x03, 0xc8, 0xa1,
];

/// Running hash over the order in which a replica stored ops: `c' = BLAKE3(c, id)`, cut to 16 bytes. Whoever resumes
/// names it, so that a restored or rewritten replica is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    /// The chain before the first arrival of an incarnation.
    #[must_use]
    pub fn start(incarnation: u64) -> Self {
        Self::default().then(&incarnation.to_be_bytes())
    }

    /// The chain after one more op.
    #[must_use]
    pub fn next(&self, id: &OpId) -> Self {
        self.then(&id.0)
    }

    fn then(&self, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_from_context_key(&CHAIN_KEY);
        hasher.update(&self.0);
        hasher.update(bytes);
        let mut cut = [0; 16];
        cut.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(cut)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", crate::id::hex(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_its_domain() {
        assert_eq!(CHAIN_KEY, blake3::hazmat::hash_derive_key_context("tombolo 1 arrival chain"));
    }
}
