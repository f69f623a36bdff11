//! Seeded randomness for tests and simulations: the same seed gives the same numbers on every machine, for ever.
//!
//! Responsible for: one small generator (xoshiro256**, its state filled by splitmix64) and the few draws that tests
//! need. Written here instead of taken from a crate so that a seed that once failed never changes its meaning with an
//! upgrade. Not responsible for: keys, nonces or anything secret; this generator is predictable.
//! Read next: `disk.rs`, which draws every power cut from it.

use std::ops::Range;

/// A deterministic generator of random numbers.
///
/// Two generators with the same seed give the same sequence. `Clone` copies the position in the sequence, too.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    state: [u64; 4],
}

/// One step of splitmix64: advances `x` and returns a well mixed value.
fn splitmix64(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A generator at the start of the sequence that belongs to `seed`. Every seed is good, 0 included.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = [splitmix64(&mut x), splitmix64(&mut x), splitmix64(&mut x), splitmix64(&mut x)];
        Self { seed, state }
    }

    /// The seed this generator was made with, for messages about failures.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`, every one equally likely (up to 2^-64 times `bound`).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "Rng::below(0): there is no number below 0");
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number in `range` (its end excluded).
    ///
    /// # Panics
    /// If the range is empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "Rng::range: the range {range:?} is empty");
        range.start + self.below(range.end - range.start)
    }

    /// A number in `0..bound` as an index.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// True in `per_mille` of 1,000 cases; never for 0, always for 1,000 and more.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// Overwrites `out` with random bytes. Draws one number for every started group of 8 bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for group in out.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            group.copy_from_slice(&bytes[..group.len()]);
        }
    }

    /// One element of `items`, every one equally likely.
    ///
    /// # Panics
    /// If `items` is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "Rng::pick: nothing to pick from");
        &items[self.index(items.len())]
    }

    /// Puts `items` in a random order, every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.index(end + 1));
        }
    }

    /// A new generator that depends on this one's *seed* and on `label` alone, not on what was drawn so far.
    ///
    /// So each part of a simulation (network, disks, clocks) has a stream of its own, and one more draw in one of them
    /// does not change the others. The same label gives the same generator again: number the labels of equal parts.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        // FNV-1a over the label; splitmix64 then mixes it with the seed.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut x = self.seed;
        let mut y = splitmix64(&mut x) ^ hash;
        Self::new(splitmix64(&mut y))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Saved seeds of failures stay valid only as long as these numbers do.
    #[test]
    fn sequence_is_pinned() {
        let mut rng = Rng::new(0);
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a, 0x1a5f_849d_4933_e6e0, 0x6aa5_94f1_262d_2d2c]);
        let mut rng = Rng::new(0xdead_beef);
        assert_eq!(rng.next_u64(), 0xc555_5444_a74d_7e83);
        assert_eq!((0..8).map(|_| rng.below(100)).collect::<Vec<_>>(), [39, 33, 26, 98, 61, 95, 33, 90]);
        assert_eq!(rng.bytes::<5>(), [190, 25, 67, 167, 126]);
        assert_eq!(Rng::new(1).fork("net").next_u64(), 0x399b_e1eb_2a72_2aba);
        assert_eq!(Rng::new(1).fork("disk 3").next_u64(), 0x872c_18cf_0afc_635c);
    }

    /// splitmix64 is checked against the published first outputs for seed 0.
    #[test]
    fn splitmix_matches_its_reference() {
        let mut x = 0;
        assert_eq!(splitmix64(&mut x), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(&mut x), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(splitmix64(&mut x), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn draws_stay_in_bounds_and_reach_every_value() {
        let mut rng = Rng::new(7);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[rng.index(10)] += 1;
            let n = rng.range(5..8);
            assert!((5..8).contains(&n));
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
        assert!((0..1_000).all(|_| !rng.chance(0) && rng.chance(1_000)));
        let hits = (0..10_000).filter(|_| rng.chance(250)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
        let mut order: Vec<u32> = (0..50).collect();
        rng.shuffle(&mut order);
        assert!(order.iter().enumerate().any(|(i, &n)| i as u32 != n));
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert!([1, 2, 3].contains(rng.pick(&[1, 2, 3])));
    }

    #[test]
    fn forks_depend_on_seed_and_label_only() {
        let mut rng = Rng::new(3);
        let early = rng.fork("clock").next_u64();
        rng.next_u64();
        assert_eq!(rng.fork("clock").next_u64(), early);
        assert_ne!(rng.fork("network").next_u64(), early);
        assert_ne!(Rng::new(4).fork("clock").next_u64(), early);
    }
}
