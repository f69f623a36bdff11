//! Sets of small numbers, as bits.

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Whether a number is in it.
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Puts a number in.
    pub(super) fn insert(&mut self, number: usize) {
        self.grow(number / 64 + 1);
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Puts all numbers below `end` in.
    pub(super) fn insert_below(&mut self, end: usize) {
        self.grow(end.div_ceil(64));
        self.0[..end / 64].fill(u64::MAX);
        if !end.is_multiple_of(64) {
            self.0[end / 64] |= (1 << (end % 64)) - 1;
        }
    }

    /// Puts all numbers of another set in.
    pub(super) fn extend(&mut self, other: &Self) {
        self.grow(other.0.len());
        for (word, others) in self.0.iter_mut().zip(&other.0) {
            *word |= others;
        }
    }

    /// Whether every number of another set is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().enumerate().all(|(at, word)| word & !self.0.get(at).copied().unwrap_or(0) == 0)
    }

    /// How many numbers it has.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The numbers that it has and another set lacks, in order.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        self.0.iter().enumerate().flat_map(move |(at, word)| {
            let mut left = word & !other.0.get(at).copied().unwrap_or(0);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }

    fn grow(&mut self, words: usize) {
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(numbers: &BTreeSet<usize>) -> Bits {
        let mut bits = Bits::default();
        numbers.iter().for_each(|number| bits.insert(*number));
        bits
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            a in proptest::collection::btree_set(0usize..200, 0..40),
            b in proptest::collection::btree_set(0usize..200, 0..40),
            below in 0usize..200,
        ) {
            let (bits, other) = (of(&a), of(&b));
            prop_assert!((0..300).all(|number| bits.has(number) == a.contains(&number)));
            prop_assert_eq!(bits.len(), a.len());
            prop_assert_eq!(bits.covers(&other), a.is_superset(&b));
            prop_assert_eq!(bits.without(&other).collect::<Vec<_>>(), a.difference(&b).copied().collect::<Vec<_>>());
            let (mut both, mut filled) = (bits.clone(), bits);
            both.extend(&other);
            prop_assert!(both.without(&Bits::default()).eq(a.union(&b).copied()));
            filled.insert_below(below);
            let all: BTreeSet<usize> = a.iter().copied().chain(0..below).collect();
            prop_assert!(filled.without(&Bits::default()).eq(all));
        }
    }
}
