//! Finding out which ops two replicas do not share: three pure tools over sets of op ids.
//!
//! Responsible for: the arithmetic and the bytes of set reconciliation (DESIGN section 5.3).
//! * [`estimator`]: 384 bytes from which two replicas learn how many ops differ (the size only).
//! * [`sketch`]: coded symbols from which the differing ids themselves are decoded, about
//!   18 bytes per difference wherever in the history they lie.
//! * [`ranges`]: range splitting by rank, for differences that lie together, for sets too different
//!   for a sketch, and for sketches that do not decode.
//!
//! Not responsible for: choosing the tool, moving ops, or claiming equality. All three only *search*:
//! they work on 8 to 12 byte digests that a member with enough hashing power can collide. "Complete" is
//! said only after the proof of DESIGN section 5.5.
//!
//! An *item* is 64 bits that stand for an op: [`tombolo_model::OpId::prefix`]. Uniform, since ids are hashes. Among `n`
//! ops two share an item with probability about `n^2 / 2^65` (1,000,000 ops: 3 in 10^8). Someone who grinds a collision
//! on purpose (about 2^32 hashes) can hide their own op from the search, not from the proof.
//!
//! Everything here is integer arithmetic, deterministic, without I/O, clock or randomness, and bounded
//! whatever a peer sends. Read next: [`ranges`] for the messages, [`sketch`] for the coded symbols.

pub mod estimator;
pub mod ranges;
pub mod sketch;
pub mod testing;
mod wire;

/// Finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection on 64 bits that is not linear over
/// XOR, which is what keeps a XOR of several of its values from looking like one of them.
/// Not a cryptographic hash; see the heads of the files that use it.
const fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
