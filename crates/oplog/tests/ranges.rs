//! Sums of ranges, ranks and items, against counting by hand.

use crate::oracle::Oracle;
use crate::world::{NOW_MS, Script, Store};
use proptest::prelude::*;
use tombolo_model::{Hlc, Key};

/// A conversation whose clocks crowd in some places and are far apart in others.
fn crowded(gaps: &[u64]) -> Script {
    let mut script = Script::new(3);
    for gap in gaps {
        script.clock_ms += gap;
        let mut draft = script.draft(1, 1, &[], &gap.to_be_bytes());
        draft.hlc = Hlc::new(script.clock_ms, (gap % 7) as u16);
        script.push(draft, None);
    }
    script
}

fn gap() -> impl Strategy<Value = u64> {
    // Many at almost the same moment, a few minutes, hours, days apart.
    prop_oneof![8 => Just(0), 4 => 1..20_u64, 2 => 1_000..60_000_u64, 1 => 3_600_000..90_000_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_range_equals_counting_by_hand(
        gaps in proptest::collection::vec(gap(), 1..500),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3_u8, 0..3_u8), 40),
        seed: u64,
        cut in 1..200_usize,
    ) {
        let script = crowded(&gaps);
        // Late enough that nothing is early.
        let now_ms = script.clock_ms.max(NOW_MS);
        let oracle = Oracle::of(&script.written, now_ms);
        let keys = oracle.keys();
        let mut stores = Vec::new();
        for shuffle in [0, seed] {
            let mut ops = script.written.clone();
            if shuffle != 0 {
                // Not the genesis.
                ops[1..].sort_by_key(|one| one.op.id.prefix().wrapping_mul(shuffle | 1));
            }
            let mut store = Store::new();
            for chunk in ops.chunks(cut) {
                store.append_with(chunk, Some(250), now_ms, &mut tombolo_oplog::NoFold);
            }
            stores.push(store);
        }
        prop_assert_eq!(stores[0].nodes(), stores[1].nodes());
        let store = &stores[1];
        let id = &script.conversation;
        let near = |pick: &prop::sample::Index, shift: u8| {
            let key = keys[pick.index(keys.len())].0;
            Key((key.0 + u128::from(shift)).saturating_sub(1))
        };
        for (a, b, shift_a, shift_b) in &picks {
            let (lo, hi) = (near(a, *shift_a), near(b, *shift_b));
            prop_assert_eq!(store.log.range(id, lo, hi).unwrap(), oracle.sum(lo, hi));
            prop_assert_eq!(store.log.range(id, lo, Key::END).unwrap(), oracle.sum(lo, Key::END));
            prop_assert_eq!(store.log.range(id, Key::MIN, hi).unwrap(), oracle.sum(Key::MIN, hi));
            let inside: Vec<_> = keys.iter().filter(|(key, _)| lo <= *key && *key < hi).copied().collect();
            prop_assert_eq!(&store.log.items(id, lo, hi, usize::MAX).unwrap(), &inside);
            prop_assert_eq!(&store.log.items(id, lo, hi, 3).unwrap(), &inside[..inside.len().min(3)]);
            let above: Vec<_> = keys.iter().filter(|(key, _)| lo <= *key).collect();
            for rank in [0, 1, above.len() / 2, above.len().saturating_sub(1), above.len(), above.len() + 5] {
                let key = above.get(rank).map(|(key, _)| *key);
                prop_assert_eq!(store.log.key_at(id, lo, rank as u64).unwrap(), key);
            }
        }
        prop_assert_eq!(store.log.range(id, Key::MIN, Key::END).unwrap(), oracle.sum(Key::MIN, Key::END));
        prop_assert_eq!(store.log.sum(id).unwrap(), oracle.sum(Key::MIN, Key::END));
        store.assert_healthy();
    }
}

/// A node has children if and only if it is over the limit, and the root is always there.
#[test]
fn the_tree_has_the_shape_that_it_promises() {
    let script = crowded(&[1; 2_000]);
    let mut store = Store::new();
    store.append_with(&script.written, Some(250), script.clock_ms, &mut tombolo_oplog::NoFold);
    let nodes = store.nodes();
    assert_eq!(nodes[0].0, 0);
    assert_eq!(nodes[0].2, 2_001);
    for (depth, prefix, count, _) in &nodes {
        let below: i64 = nodes
            .iter()
            .filter(|(other, name, ..)| *other == depth + 1 && is_below(prefix, name, *depth))
            .map(|(_, _, count, _)| count)
            .sum();
        let wanted = if *count > tombolo_oplog::LEAF_MAX as i64 { *count } else { 0 };
        assert_eq!(below, wanted, "children of a node of {count} at depth {depth}");
    }
    assert!(nodes.len() > 50, "the case is not trivial");
}

fn is_below(parent: &[u8], child: &[u8], depth: i64) -> bool {
    let nibble = |bytes: &[u8], at: i64| bytes[at as usize / 2] >> (4 * (1 - at % 2)) & 0xf;
    (0..depth).all(|at| nibble(parent, at) == nibble(child, at))
}

/// Keys at the far ends of what a clock can say.
#[test]
fn the_ends_of_time_are_in_range() {
    let mut script = Script::new(4);
    for hlc in [Hlc(1), Hlc(i64::MAX as u64)] {
        let mut draft = script.draft(1, 1, &[], b"x");
        draft.hlc = hlc;
        script.push(draft, None);
    }
    let mut store = Store::new();
    store.take(&script.written);
    let id = &script.conversation;
    assert_eq!(store.log.range(id, Key::MIN, Key::END).unwrap().count, 3);
    assert_eq!(store.log.items(id, Key::MIN, Key::END, 9).unwrap().len(), 3);
    let last = Key(u128::from(i64::MAX as u64) << 64);
    assert_eq!(store.log.range(id, last, Key::END).unwrap().count, 1);
    assert_eq!(store.log.range(id, Key::END, Key::END).unwrap().count, 0);
    assert_eq!(store.log.key_at(id, Key::MIN, 2).unwrap().map(Key::hlc), Some(Hlc(i64::MAX as u64)));
    assert_eq!(store.log.key_at(id, Key::MIN, 3).unwrap(), None);
    store.assert_healthy();
}
