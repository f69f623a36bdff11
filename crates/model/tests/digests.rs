//! Sums add up in any order and can be taken apart; proofs are equal if and only if the sets are; chains know order.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::{Chain, ConversationId, DeviceId, Held, LogId, OpId, Proof, Sum};

fn ids() -> impl Strategy<Value = Vec<OpId>> {
    vec(any::<[u8; 32]>().prop_map(OpId), 0..40)
}

fn sum(ids: &[OpId]) -> Sum {
    let mut sum = Sum::ZERO;
    for id in ids {
        sum.add(id);
    }
    sum
}

/// What is held of two logs, from a set of (log, seq): closed intervals, as a log reports them.
fn held(set: &BTreeSet<(u8, u64)>) -> Vec<Held> {
    let mut all: Vec<Held> = Vec::new();
    for (log, seq) in set {
        let (author, name) = (DeviceId([*log; 32]), LogId([*log; 8]));
        let tip = OpId(*blake3::hash(&[&[*log][..], &seq.to_be_bytes()].concat()).as_bytes());
        if all.last().is_none_or(|held| held.log != name) {
            all.push(Held { author, log: name, intervals: vec![] });
        }
        if let Some(held) = all.last_mut() {
            match held.intervals.last_mut() {
                Some(last) if last.1 + 1 == *seq => (last.1, last.2) = (*seq, tip),
                _ => held.intervals.push((*seq, *seq, tip)),
            }
        }
    }
    all
}

fn sets() -> impl Strategy<Value = BTreeSet<(u8, u64)>> {
    btree_set((1..4u8, 1..7u64), 0..12)
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_order(all in ids(), seed: u64) {
        let mut other = all.clone();
        other.sort_by_key(|id| (id.prefix() ^ seed, *id));
        prop_assert_eq!(sum(&all), sum(&other));
        prop_assert_eq!(sum(&all).fingerprint(), sum(&other).fingerprint());
    }

    #[test]
    fn a_range_is_a_difference_of_sums(all in ids(), at in any::<prop::sample::Index>()) {
        let cut = at.index(all.len() + 1);
        let mut left = sum(&all);
        left.remove(&sum(&all[cut..]));
        prop_assert_eq!(left, sum(&all[..cut]));
        left.merge(&sum(&all[cut..]));
        prop_assert_eq!(left, sum(&all));
        prop_assert_eq!(left.count, all.len() as u64);
        prop_assert_eq!(Sum::from_bytes(left.count, &left.to_bytes()), left);
    }

    #[test]
    fn proofs_are_equal_if_and_only_if_the_sets_are(one in sets(), two in sets()) {
        let [a, b] = [&one, &two].map(|set| Proof::of(held(set).iter()));
        prop_assert_eq!(a == b, one == two);
    }

    #[test]
    fn another_branch_is_another_proof(set in sets()) {
        let whole = held(&set);
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at].intervals[0].2.0[0] ^= 1;
            prop_assert_ne!(Proof::of(whole.iter()), Proof::of(other.iter()));
        }
    }

    #[test]
    fn a_proof_of_all_depends_on_every_conversation(proofs in vec(any::<[u8; 32]>(), 1..8), at in any::<prop::sample::Index>()) {
        let named: Vec<(ConversationId, Proof)> =
            proofs.iter().enumerate().map(|(number, proof)| (ConversationId([number as u8; 16]), Proof(*proof))).collect();
        let over = |list: &[(ConversationId, Proof)]| Proof::over(list.iter().map(|(id, proof)| (id, proof)));
        let mut other = named.clone();
        other[at.index(named.len())].1.0[5] ^= 1;
        prop_assert_ne!(over(&named), over(&other));
        prop_assert_ne!(over(&named), over(&named[1..]));
    }

    #[test]
    fn chains_know_what_came_in_which_order(all in ids(), incarnation: u64, swap in any::<prop::sample::Index>()) {
        let chain = |ids: &[OpId], incarnation| ids.iter().fold(Chain::start(incarnation), |chain, id| chain.next(id));
        prop_assert_ne!(chain(&all, incarnation), chain(&all, incarnation ^ 1));
        if all.len() > 1 {
            let at = swap.index(all.len() - 1);
            let mut other = all.clone();
            other.swap(at, at + 1);
            prop_assert_eq!(chain(&all, incarnation) == chain(&other, incarnation), all == other);
            prop_assert_ne!(chain(&all, incarnation), chain(&all[1..], incarnation));
        }
    }
}

/// Why not XOR: with 256 ids of one's own, any fingerprint can be made out of a choice of them (linear algebra over two
/// elements). With sums the same choice misses.
#[test]
fn an_xor_fingerprint_is_forged_by_elimination_and_a_sum_is_not() {
    let id = |number: u64| *blake3::hash(&number.to_be_bytes()).as_bytes();
    let target = id(1_000_000);
    let xor = |a: &[u8; 32], b: &[u8; 32]| -> [u8; 32] { core::array::from_fn(|at| a[at] ^ b[at]) };
    let bit = |bytes: &[u8; 32], at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
    // Rows: an id reduced by earlier ones, and which ids it is made of.
    let mut rows: Vec<([u8; 32], BTreeSet<u64>, usize)> = Vec::new();
    let mut number = 0;
    let reduce = |mut value: [u8; 32], mut made: BTreeSet<u64>, rows: &[([u8; 32], BTreeSet<u64>, usize)]| {
        for (row, of, lead) in rows {
            if bit(&value, *lead) {
                value = xor(&value, row);
                made = made.symmetric_difference(of).copied().collect();
            }
        }
        (value, made)
    };
    while rows.len() < 256 {
        let (value, made) = reduce(id(number), BTreeSet::from([number]), &rows);
        number += 1;
        if let Some(lead) = (0..256).find(|at| bit(&value, *at)) {
            rows.push((value, made, lead));
        }
    }
    let (rest, chosen) = reduce(target, BTreeSet::new(), &rows);
    assert_eq!(rest, [0; 32], "any target is reached");
    let forged = chosen.iter().fold([0; 32], |all, number| xor(&all, &id(*number)));
    assert_eq!(forged, target, "a set of {} own ids has the same XOR as one op that is not there", chosen.len());
    let own: Vec<OpId> = chosen.iter().map(|number| OpId(id(*number))).collect();
    assert_ne!(sum(&own).fingerprint(), sum(&[OpId(target)]).fingerprint());
}

/// However many logs there are, the bytes that are hashed are those of PROTOCOL.md, one after the other.
#[test]
fn a_proof_over_many_logs_hashes_the_same_bytes() {
    for logs in [0_u64, 1, 150, 186, 187, 600, 2_000] {
        let held: Vec<Held> = (0..logs)
            .map(|number| {
                let mut author = [7; 32];
                author[..8].copy_from_slice(&number.to_be_bytes());
                let many = if number % 97 == 5 { 400 } else { 1 };
                let intervals = (0..many).map(|at| (2 * at + 1, 2 * at + 1, OpId([at as u8; 32]))).collect();
                Held { author: DeviceId(author), log: LogId(number.to_le_bytes()), intervals }
            })
            .collect();
        let mut plain = blake3::Hasher::new_derive_key("tombolo 1 proof");
        for log in &held {
            plain.update(&log.author.0).update(&log.log.0).update(&(log.intervals.len() as u64).to_be_bytes());
            for (first, last, tip) in &log.intervals {
                plain.update(&first.to_be_bytes()).update(&last.to_be_bytes()).update(&tip.0);
            }
        }
        assert_eq!(Proof::of(held.iter()).0, *plain.finalize().as_bytes(), "{logs} logs");
    }
}
