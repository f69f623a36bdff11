//! Frontiers are a lattice; happens-before is what a naive closure says; clocks only go forward.

use proptest::collection::vec;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::frontier::{Readiness, happens_before, readiness};
use tombolo_model::hlc::DRIFT_MS_MAX;
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Frontier, Header, Hlc, LogId, OpId};

fn frontiers() -> impl Strategy<Value = Frontier> {
    vec((0..3u8, 0..3u8, 0..4u64), 0..8).prop_map(|entries| {
        let mut frontier = Frontier::new();
        for (author, log, seq) in entries {
            frontier.raise((DeviceId([author; 32]), LogId([log; 8])), seq);
        }
        frontier
    })
}

fn join(one: &Frontier, two: &Frontier) -> Frontier {
    let mut both = one.clone();
    both.merge(two);
    both
}

/// A random graph of ops: each has some earlier ones as parents, and the previous one of its log as `prev`.
fn graph(seed: &[(u8, u8, u32)]) -> Vec<(OpId, Header)> {
    let mut ops: Vec<(OpId, Header)> = Vec::new();
    let mut tails: BTreeMap<u8, (u64, OpId, Hlc)> = BTreeMap::new();
    for (author, parents, pick) in seed {
        let (seq, prev, mut seen) = tails.get(author).copied().unwrap_or((0, OpId::ZERO, Hlc::ZERO));
        let mut named = BTreeSet::new();
        for number in 0..usize::from(*parents).min(ops.len()) {
            let (id, header) = &ops[(*pick as usize).wrapping_mul(number + 7) % ops.len()];
            if *id != prev {
                named.insert(*id);
                seen = seen.max(header.hlc);
            }
        }
        let header = Header {
            version: 1,
            class: Class::Content,
            conversation: ConversationId([1; 16]),
            author: DeviceId([*author; 32]),
            log: LogId([*author; 8]),
            seq: seq + 1,
            prev,
            hlc: Hlc::tick(seen, u64::from(*pick % 50)),
            epoch: 0,
            expires_ms: 0,
            parents: named.into_iter().collect(),
            erases: vec![],
            extension: vec![],
            body_len: 0,
            body_hash: BodyHash::default(),
        };
        let id = header.id();
        tails.insert(*author, (seq + 1, id, header.hlc));
        ops.push((id, header));
    }
    ops
}

proptest! {
    #[test]
    fn merging_frontiers_is_a_lattice(a in frontiers(), b in frontiers(), c in frontiers()) {
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&a, &join(&b, &c)), join(&join(&a, &b), &c));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&a, &Frontier::new()), a.clone());
        let both = join(&a, &b);
        prop_assert!(both.covers(&a) && both.covers(&b));
        // Least: whatever covers both covers their join.
        if c.covers(&a) && c.covers(&b) {
            prop_assert!(c.covers(&both));
        }
    }

    #[test]
    fn covering_is_a_partial_order(a in frontiers(), b in frontiers(), c in frontiers()) {
        prop_assert!(a.covers(&a));
        prop_assert_eq!(a.covers(&b) && b.covers(&a), a == b);
        if a.covers(&b) && b.covers(&c) {
            prop_assert!(a.covers(&c));
        }
        let expected = match (a.covers(&b), b.covers(&a)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        };
        prop_assert_eq!(a.partial_cmp(&b), expected);
    }

    #[test]
    fn raising_never_lowers(mut a in frontiers(), author in 0..3u8, seq in 0..4u64) {
        let (before, log) = (a.clone(), (DeviceId([author; 32]), LogId([author; 8])));
        a.raise(log, seq);
        prop_assert!(a.covers(&before) && a.height(&log) == before.height(&log).max(seq));
        prop_assert!(a.iter().all(|(log, seq)| seq > 0 && a.height(log) == seq));
    }

    #[test]
    fn happens_before_is_the_closure(seed in vec((0..5u8, 0..4u8, any::<u32>()), 1..40)) {
        let ops = graph(&seed);
        let find: BTreeMap<OpId, &Header> = ops.iter().map(|(id, header)| (*id, header)).collect();
        let mut pasts: BTreeMap<OpId, BTreeSet<OpId>> = BTreeMap::new();
        for (id, header) in &ops {
            let mut past: BTreeSet<OpId> = header.depends_on().copied().collect();
            for before in header.depends_on() {
                past.extend(&pasts[before]);
            }
            pasts.insert(*id, past);
        }
        for (one, _) in &ops {
            for (two, _) in &ops {
                let before = happens_before(one, two, |id| find.get(id).copied());
                prop_assert_eq!(before, pasts[two].contains(one));
                if before {
                    prop_assert!(find[one].hlc < find[two].hlc, "clocks extend causal order");
                }
            }
        }
        prop_assert!(!happens_before(&OpId::ZERO, &ops[0].0, |id| find.get(id).copied()), "unknown ops are before nothing");
    }

    #[test]
    fn readiness_names_exactly_what_is_missing(seed in vec((0..5u8, 0..4u8, any::<u32>()), 1..40), keep: u64) {
        let ops = graph(&seed);
        let delivered: BTreeSet<OpId> =
            ops.iter().enumerate().filter(|(at, _)| keep >> (at % 64) & 1 == 1).map(|(_, (id, _))| *id).collect();
        for (_, header) in &ops {
            let missing: Vec<OpId> = header.depends_on().filter(|id| !delivered.contains(id)).copied().collect();
            let expected = if missing.is_empty() { Readiness::Ready } else { Readiness::Waits(missing) };
            prop_assert_eq!(readiness(header, |id| delivered.contains(id)), expected);
        }
    }

    #[test]
    fn a_clock_never_goes_back(walls in vec(0..1u64 << 47, 1..50)) {
        let mut last = Hlc::ZERO;
        for wall in walls {
            let next = Hlc::tick(last, wall);
            prop_assert!(next > last && next.ms() >= wall);
            last = next;
        }
    }

    #[test]
    fn early_is_more_than_five_minutes_ahead(ms in 0..1u64 << 47, counter: u16, now_ms in 0..1u64 << 47) {
        prop_assert_eq!(Hlc::new(ms, counter).is_early(now_ms), ms > now_ms + DRIFT_MS_MAX);
        prop_assert_eq!((Hlc::new(ms, counter).ms(), Hlc::new(ms, counter).counter()), (ms, counter));
    }
}
